"""Histograms counted by Spark, and the models made of them on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames, tables
from udfs.density import histogram
from udfs.density.marginal import Marginal

GRID = arrow_frames.struct("label string, component int, step double")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Density:
    """One marginal and what it is of."""

    label: str
    rule: str
    space: str | None
    component: int
    marginal: Marginal

    def row(self) -> tuple[Any, ...]:
        """A row of the table `density`."""
        cells = self.marginal.histogram
        return (
            self.label,
            self.rule,
            self.space,
            self.component,
            float(cells.origin),
            float(cells.step),
            int(cells.n),
            float(self.marginal.entropy()),
            float(self.marginal.skewness),
            float(self.marginal.excess_kurtosis),
            [int(count) for count in cells.counts],
        )


def long(projections: DataFrame, *more: str) -> DataFrame:
    """One row an image and existing component: label, component (from 1), value."""
    exploded = projections.select(
        "label", *more, F.posexplode("components").alias("place", "value")
    )
    return exploded.where("value IS NOT NULL").select(
        "label", *more, (F.col("place") + 1).alias("component"), "value"
    )


def quartiles(values: DataFrame) -> dict[tuple[str, int], list[float]]:
    """The exact 25th and 75th percentile of each class's component, as NumPy interpolates them."""
    found = values.groupBy("label", "component").agg(
        F.percentile("value", [0.25, 0.75]).alias("quartiles")
    )
    return {(row.label, row.component): row.quartiles for row in found.collect()}


def grid(spark: SparkSession, steps: Iterable[tuple[str, int, float]]) -> DataFrame:
    """The step of each class's component as a small frame."""
    return arrow_frames.frame(spark, steps, GRID)


def counts(values: DataFrame, steps: DataFrame, keys: Sequence[str]) -> list[tuple[Key, Any]]:
    """Histograms of `value` by `keys` (which hold label and component), counted on the executors.

    Cell i is floor(t/h + 1/2) (spec §5). Integers: exact, whatever the partitioning.
    """
    celled = values.join(F.broadcast(steps), on=["label", "component"], how="inner").select(
        *keys, "step", F.floor(F.col("value") / F.col("step") + 0.5).alias("cell")
    )
    table = celled.groupBy(*keys, "step", "cell").count().orderBy(*keys).toArrow()
    rows = zip(*(table.column(key).to_pylist() for key in keys), strict=True)
    found: dict[Key, list[int]] = {}
    for place, key in enumerate(rows):
        found.setdefault(key, []).append(place)
    cells = table.column("cell").to_numpy()
    numbers = table.column("count").to_numpy()
    widths = table.column("step").to_numpy()
    return [
        (key, histogram.from_cells(cells[places], numbers[places], float(widths[places[0]])))
        for key, places in ((key, np.asarray(places)) for key, places in found.items())
    ]


def rows(densities: Iterable[Density]) -> pa.Table:
    """Rows of the table `density`."""
    ordered = sorted(
        (density.row() for density in densities), key=lambda row: (row[0], row[1], row[3])
    )
    return tables.rows("density", ordered)
