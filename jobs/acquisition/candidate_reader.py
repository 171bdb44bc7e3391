"""What executors make of candidates, whatever these hold: rows of `images`, else of `rejects`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from udfs import arrow

_KEPT = ("path", "image_id", "size_bytes", "modified_at")  # of a candidate in `rejects`


class Reading(ABC):
    """How candidates are read; in batches of Arrow."""

    @abstractmethod
    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of `images`; unusable ones are left out (reject_rows tells why)."""

    @abstractmethod
    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Each candidate's sha256, and code and message of why it is no image, None where it is.

        The hash is "" where there is nothing to hash.
        """

    def reject_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of `rejects`, with the reason that image_rows met."""
        for batch in batches:
            reasons = [
                reason or ("changed", "it changed while it was read: run it again")
                for _, reason in self.examine(batch)
            ]
            columns = {name: batch.column(name) for name in _KEPT}
            columns |= {
                "stage": ["ingest"] * len(reasons),
                "error_code": [code for code, _ in reasons],
                "error_message": [message for _, message in reasons],
            }
            yield arrow.record_batch(columns, schema)

    def hashed_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates with `_usable` (1: becomes an image) and `sha256` beside them."""
        for batch in batches:
            found = list(self.examine(batch))
            columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
            columns["_usable"] = [int(reason is None) for _, reason in found]
            columns["sha256"] = [digest for digest, _ in found]
            yield arrow.record_batch(columns, schema)
