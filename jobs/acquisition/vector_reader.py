"""Check and hash the vectors of a table on the executors.

Use it for a source that holds vectors (`ingest.vector_column`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.acquisition.candidate_reader import CandidateReader
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.vectors import validation

VECTOR = "_vector"  # the column of a candidate that holds its vector, array<double>
GIVEN = "given"  # the value of latents.encoded_on where vectors came from a table
VECTORS = arrow_frames.struct("image_id string, sha256 string, latent array<float>")
_NOT_COPIED = (
    *("sha256", "width", "height", "pixels_sha256", "levels"),
    *("range_low", "range_high", "pixels"),
)


@dataclass(frozen=True)
class VectorReader(CandidateReader):
    """Accepts the vectors that hold `width` finite numbers."""

    width: int

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates with a usable vector into rows of `images` without pixels."""
        copied = [name for name in schema.names if name not in _NOT_COPIED]
        for batch in batches:
            checked = self._checked(batch)
            usable = batch.take(pa.array(checked.rows))
            columns = {name: usable.column(name) for name in copied}
            columns |= {name: pa.nulls(len(checked.rows)) for name in _NOT_COPIED}
            columns["sha256"] = checked.digests
            yield arrow.record_batch(columns, schema)

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Check and hash each candidate's vector."""
        checked = self._checked(batch)
        digests = dict(zip(checked.rows.tolist(), checked.digests, strict=True))
        for row in range(batch.num_rows):
            usable = row in digests
            yield digests.get(row, ""), None if usable else ("bad_vector", checked.wrong[row])

    def usable(self, batch: pa.RecordBatch) -> tuple[list[int], list[str]]:
        """The rows of candidates with a usable vector, and the sha256 of each of these vectors."""
        checked = self._checked(batch)
        return checked.rows.tolist(), list(checked.digests)

    def latent_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates with a usable vector into rows of VECTORS."""
        for batch in batches:
            checked = self._checked(batch)
            columns = {
                "image_id": batch.column("image_id").take(pa.array(checked.rows)),
                "sha256": checked.digests,
                "latent": arrow.list_column(checked.matrix, checked.rows >= 0),
            }
            yield arrow.record_batch(columns, schema)

    def _checked(self, batch: pa.RecordBatch) -> validation.Checked:
        return validation.checked(*arrow.ragged(batch.column(VECTOR)), self.width)


def common_width(frame: DataFrame, vector: Column) -> int:
    """Return the number of entries that most vectors hold; the larger of two equally frequent.

    It is 0 if there are no vectors.
    """
    lengths = frame.select(F.size(vector).alias("width")).where("width > 0")
    counts = lengths.groupBy("width").agg(F.count("*").alias("rows"))
    most = counts.agg(F.max(F.struct("rows", "width")).alias("most")).collect()[0].most
    return int(most.width) if most else 0
