"""Split classes into the parts that their modes tell apart, on the executors.

Each class is split in one task by SciPy's k-means (docs/method.md, "Classes of several kinds").
Spark ML's clustering would run a job for each class and iteration, and its sums would depend on the
partitioning, and with them the part of an image that lies between two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime import session
from jobs.settings.duplicates import SUBLABEL
from jobs.warehouse import arrow_frames, partitioning, tables
from udfs import arrow
from udfs.density import modes

SUBLABELS = tables.TABLES["sublabels"].schema


@dataclass(frozen=True)
class Split:
    """How a class is split.

    images: their number. components: those (from 1) that have several modes. leading: the one of
    them whose modes are the parts. positions: the coordinates of these modes.
    """

    images: int
    components: tuple[int, ...]
    leading: int
    positions: tuple[float, ...]


@dataclass(frozen=True)
class SublabelTask:
    """The splits of classes by label, sent to the executors to give their images sub-labels."""

    splits: Mapping[str, Split]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn projections, sorted by class and id, into rows of the table `sublabels`."""
        for label, rows in arrow.groups(batches, "label"):
            split = self.splits[label]
            columns = np.array(split.components) - 1
            values = arrow.matrix(rows.column("components"), nulls=True)[:, columns]
            leading = split.components.index(split.leading)
            parts = modes.parts(values, leading, np.array(split.positions))
            sublabelled = {
                "image_id": rows.column("image_id").combine_chunks(),
                "label": rows.column("label").combine_chunks(),
                SUBLABEL: [f"{label}/{part}" for part in parts],
            }
            yield arrow.record_batch(sublabelled, schema)


def sublabels(projections: DataFrame, splits: Mapping[str, Split]) -> DataFrame:
    """The rows of the table `sublabels`; the images of a class that is not split have its label."""
    of_split = F.col("label").isin(list(splits))
    whole = projections.where(~of_split).select("image_id", "label", F.col("label").alias(SUBLABEL))
    if not splits:
        return whole
    counts = {label: split.images for label, split in splits.items()}
    slots = session.slots(projections.sparkSession)
    tasks = partitioning.repartitioned_by_group(projections, counts, slots, float)
    columns = tasks.select("image_id", "label", "components")
    return whole.unionByName(arrow_frames.mapped(columns, SublabelTask(splits).rows, SUBLABELS))
