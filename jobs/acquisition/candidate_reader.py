"""The interface of code that turns candidates into rows of `images` and `rejects` on executors.

A candidate is a file, or a row of a table, that may become an image. `image_reader` implements the
interface for images, `vector_reader` for vectors, and `pair_reader` for both together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from udfs import arrow

_COPIED = ("path", "image_id", "size_bytes", "modified_at")  # from a candidate into `rejects`


class CandidateReader(ABC):
    """Reads candidates in Arrow batches; their columns are those of `sources.CANDIDATE`."""

    @abstractmethod
    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates into rows of `images`.

        Unusable ones are left out; `reject_rows` gives the reason.
        """

    @abstractmethod
    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Yield each candidate's sha256, and None or the reason why it is no image.

        The reason is a pair of error code and message. The hash is "" if there is nothing to hash.
        """

    def reject_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates that `image_rows` left out into rows of `rejects`, with the reason."""
        for batch in batches:
            reasons = [
                reason or ("changed", "it could be used when it was read again: run it once more")
                for _, reason in self.examine(batch)
            ]
            columns = {name: batch.column(name) for name in _COPIED}
            columns |= {
                "stage": ["ingest"] * len(reasons),
                "error_code": [code for code, _ in reasons],
                "error_message": [message for _, message in reasons],
            }
            yield arrow.record_batch(columns, schema)

    def hashed_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Add the columns `_usable` (1: becomes an image, else 0) and `sha256` to candidates."""
        for batch in batches:
            examined = list(self.examine(batch))
            columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
            columns["_usable"] = [int(reason is None) for _, reason in examined]
            columns["sha256"] = [digest for digest, _ in examined]
            yield arrow.record_batch(columns, schema)
