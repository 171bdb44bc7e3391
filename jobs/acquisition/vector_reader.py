"""Vectors that a table brings along instead of images: what executors do with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.acquisition.candidate_reader import Reading
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.vectors import validation

VECTOR = "_vector"  # of a candidate: its vector, array<double>
GIVEN = "given"  # latents.encoded_on of vectors brought along
VECTORS = arrow_frames.struct("image_id string, sha256 string, latent array<float>")
_MADE = ("sha256", "width", "height", "pixels")


@dataclass(frozen=True)
class Vectors(Reading):
    """How many numbers a vector is to hold."""

    width: int

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates with a usable vector to rows of `images`, without pixels."""
        carried = [name for name in schema.names if name not in _MADE]
        for batch in batches:
            found = self._checked(batch)
            taken = batch.take(pa.array(found.rows))
            columns = {name: taken.column(name) for name in carried}
            columns |= {name: pa.nulls(len(found.rows)) for name in _MADE}
            columns["sha256"] = found.digests
            yield arrow.record_batch(columns, schema)

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Check and hash each candidate's vector."""
        found = self._checked(batch)
        digests = dict(zip(found.rows.tolist(), found.digests, strict=True))
        for row in range(batch.num_rows):
            usable = row in digests
            yield digests.get(row, ""), None if usable else ("bad_vector", found.wrong[row])

    def latent_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates with a usable vector to rows of VECTORS."""
        for batch in batches:
            found = self._checked(batch)
            columns = {
                "image_id": batch.column("image_id").take(pa.array(found.rows)),
                "sha256": found.digests,
                "latent": arrow.list_column(found.matrix, found.rows >= 0),
            }
            yield arrow.record_batch(columns, schema)

    def _checked(self, batch: pa.RecordBatch) -> validation.Checked:
        return validation.checked(*arrow.ragged(batch.column(VECTOR)), self.width)


def common_width(frame: DataFrame, vector: Column) -> int:
    """How many numbers most vectors hold, of equally many the larger; 0 where there are none."""
    lengths = frame.select(F.size(vector).alias("width")).where("width > 0")
    counts = lengths.groupBy("width").agg(F.count("*").alias("rows"))
    most = counts.agg(F.max(F.struct("rows", "width")).alias("most")).collect()[0].most
    return int(most.width) if most else 0
