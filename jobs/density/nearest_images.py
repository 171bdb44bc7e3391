"""Find the real image that each generated image resembles most, on the executors.

Use `nearest` on the table `latents` and the generated latents of each class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames
from jobs.warehouse.broadcasts import broadcast
from udfs import arrow
from udfs.vectors.cosine import Matrix
from udfs.vectors.nearest import Nearest

NEAREST = arrow_frames.struct("label string, number int, image_id string, similarity double")
# The image_id and the cosine similarity of the nearest real image, by label and number.
NearestImages = dict[tuple[str, int], tuple[str, float]]


@dataclass(frozen=True)
class NearestImageTask:
    """The generated latents of each class, (n, d) by label, sent to the executors."""

    drawn: Broadcast[dict[str, Matrix]]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows of `latents` into rows of NEAREST: the most similar of this task's rows."""
        drawn = self.drawn.value
        classes: dict[str, Nearest] = {}
        for batch in batches:
            labels = batch.column("label")
            for label in labels.unique().to_pylist():
                if label not in drawn:
                    continue
                if label not in classes:
                    classes[label] = Nearest(drawn[label])
                rows = batch.filter(pa.compute.equal(labels, label))
                latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
                classes[label].update(rows.column("image_id").to_pylist(), latents)
        for label, nearest in classes.items():
            indices = [i for i, name in enumerate(nearest.ids) if name is not None]
            columns = {
                "label": [label] * len(indices),
                "number": [i + 1 for i in indices],
                "image_id": [nearest.ids[i] for i in indices],
                "similarity": nearest.similarity[indices],
            }
            yield arrow.record_batch(columns, schema)


def nearest(latents: DataFrame, drawn: dict[str, Matrix]) -> NearestImages:
    """Return the real image of the same class that each generated latent is most similar to.

    Of equally similar images it is the one with the smallest id; a generated latent of zeros has
    none.

    Args:
        latents: rows of the table `latents`.
        drawn: the generated latents (n, d) of each class, by label; they are numbered from 1.
    """
    sent = broadcast(latents.sparkSession.sparkContext, drawn)
    try:
        of_classes = latents.where(F.col("label").isin(list(drawn)))
        rows = of_classes.select("image_id", "label", "latent")
        parts = arrow_frames.mapped(rows, NearestImageTask(sent).rows, NEAREST)
        first = F.min(F.struct((-F.col("similarity")).alias("distance"), "image_id"))
        best = parts.groupBy("label", "number").agg(first.alias("best")).collect()
    finally:
        sent.destroy()
    return {(row.label, row.number): (row.best.image_id, -row.best.distance) for row in best}
