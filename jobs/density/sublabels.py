"""Classes split on the executors into the parts that their modes tell apart (spec §5).

A class is one task of SciPy's k-means. Spark ML's clustering would be a job a class and iteration,
and its sums, and with them images between two parts, would depend on the partitioning.
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
    """How a class of `images` is split: the components (from 1) that show several modes.

    positions: where the modes are along the component `leading`, one of them.
    """

    images: int
    components: tuple[int, ...]
    leading: int
    positions: tuple[float, ...]


@dataclass(frozen=True)
class Splitting:
    """The splits of the classes that are split."""

    splits: Mapping[str, Split]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Projections, sorted by class and id, to rows of the table `sublabels`."""
        for label, rows in arrow.groups(batches, "label"):
            split = self.splits[label]
            columns = np.array(split.components) - 1
            values = arrow.matrix(rows.column("components"), nulls=True)[:, columns]
            leading = split.components.index(split.leading)
            parts = modes.parts(values, leading, np.array(split.positions))
            found = {
                "image_id": rows.column("image_id").combine_chunks(),
                "label": rows.column("label").combine_chunks(),
                SUBLABEL: [f"{label}/{part}" for part in parts],
            }
            yield arrow.record_batch(found, schema)


def sublabels(projections: DataFrame, splits: Mapping[str, Split]) -> DataFrame:
    """Rows of the table `sublabels`: of a class that is not split, its label."""
    of_split = F.col("label").isin(list(splits))
    whole = projections.where(~of_split).select("image_id", "label", F.col("label").alias(SUBLABEL))
    if not splits:
        return whole
    counts = {label: split.images for label, split in splits.items()}
    slots = session.slots(projections.sparkSession)
    tasks = partitioning.repartitioned_by_group(projections, counts, slots, float)
    columns = tasks.select("image_id", "label", "components")
    return whole.unionByName(arrow_frames.mapped(columns, Splitting(splits).rows, SUBLABELS))
