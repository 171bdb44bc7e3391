"""What executors do for generated images: find the real image of the class each resembles most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.vectors.cosine import Matrix
from udfs.vectors.nearest import Nearest

FOUND = arrow_frames.struct("label string, number int, image_id string, similarity double")
Found = dict[tuple[str, int], tuple[str, float]]  # id and Sim by label and number


@dataclass(frozen=True)
class Searching:
    """The generated latents of each class, on their way to the executors."""

    drawn: Broadcast[dict[str, Matrix]]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `latents` to rows of FOUND: the most similar of this part of the table."""
        drawn = self.drawn.value
        found: dict[str, Nearest] = {}
        for batch in batches:
            labels = batch.column("label")
            for label in labels.unique().to_pylist():
                if label not in drawn:
                    continue
                if label not in found:
                    found[label] = Nearest(drawn[label])
                rows = batch.filter(pa.compute.equal(labels, label))
                latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
                found[label].update(rows.column("image_id").to_pylist(), latents)
        for label, nearest in found.items():
            seen = [i for i, name in enumerate(nearest.ids) if name is not None]
            columns = {
                "label": [label] * len(seen),
                "number": [i + 1 for i in seen],
                "image_id": [nearest.ids[i] for i in seen],
                "similarity": nearest.similarity[seen],
            }
            yield arrow.record_batch(columns, schema)


def nearest(latents: DataFrame, drawn: dict[str, Matrix]) -> Found:
    """Of each class's generated latents, numbered from 1, the most similar real ones.

    Of equally similar ones the smallest id. A generated latent of zeros has none.
    """
    held = latents.sparkSession.sparkContext.broadcast(drawn)
    try:
        of_class = latents.where(F.col("label").isin(list(drawn)))
        rows = of_class.select("image_id", "label", "latent")
        parts = arrow_frames.mapped(rows, Searching(held).rows, FOUND)
        first = F.min(F.struct((-F.col("similarity")).alias("distance"), "image_id"))
        best = parts.groupBy("label", "number").agg(first.alias("best")).collect()
    finally:
        held.destroy()
    return {(row.label, row.number): (row.best.image_id, -row.best.distance) for row in best}
