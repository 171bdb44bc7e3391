"""Count histograms of projections with Spark, for the marginal densities of classes.

`project` uses it for the densities before removal, `estimate` for those of the images that a rule
keeps. A count is small, so the models are made of the counts on the driver.
"""

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
    """The marginal density of one component of a class, of the images that a rule keeps.

    rule is "none" and space None before removal.
    """

    label: str
    rule: str
    space: str | None
    component: int
    marginal: Marginal

    def row(self) -> tuple[Any, ...]:
        """The marginal as a row of the table `density`."""
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


def unpivot(projections: DataFrame, *keys: str) -> DataFrame:
    """Turn the column `components` into rows: label, `keys`, component (from 1) and value.

    There is no row for a component that does not exist.
    """
    exploded = projections.select(
        "label", *keys, F.posexplode("components").alias("index", "value")
    )
    return exploded.where("value IS NOT NULL").select(
        "label", *keys, (F.col("index") + 1).alias("component"), "value"
    )


def quartiles(values: DataFrame) -> dict[tuple[str, int], list[float]]:
    """The exact 25th and 75th percentile of each component of a class, interpolated as by NumPy.

    values: rows of `unpivot`. The keys are label and component.
    """
    grouped = values.groupBy("label", "component").agg(
        F.percentile("value", [0.25, 0.75]).alias("quartiles")
    )
    return {(row.label, row.component): row.quartiles for row in grouped.collect()}


def grid(spark: SparkSession, steps: Iterable[tuple[str, int, float]]) -> DataFrame:
    """A small frame of label, component and the step of the component's histogram."""
    return arrow_frames.frame(spark, steps, GRID)


def counts(values: DataFrame, steps: DataFrame, keys: Sequence[str]) -> list[tuple[Key, Any]]:
    """Count a histogram of `value` for each combination of `keys`, on the executors.

    A value t of a component with step h falls into cell floor(t/h + 1/2) (docs/method.md, "The
    spline density"). Counts are integers, so they are exact whatever the partitioning.

    Args:
        values: rows with label, component, value and the keys.
        steps: rows of `grid`.
        keys: columns, with label and component among them.
    """
    celled = values.join(F.broadcast(steps), on=["label", "component"], how="inner").select(
        *keys, "step", F.floor(F.col("value") / F.col("step") + 0.5).alias("cell")
    )
    table = celled.groupBy(*keys, "step", "cell").count().orderBy(*keys).toArrow()
    rows = zip(*(table.column(key).to_pylist() for key in keys), strict=True)
    indices: dict[Key, list[int]] = {}
    for index, key in enumerate(rows):
        indices.setdefault(key, []).append(index)
    cells = table.column("cell").to_numpy()
    numbers = table.column("count").to_numpy()
    widths = table.column("step").to_numpy()
    return [
        (key, histogram.from_cells(cells[of_key], numbers[of_key], float(widths[of_key[0]])))
        for key, of_key in ((key, np.asarray(of_key)) for key, of_key in indices.items())
    ]


def rows(densities: Iterable[Density]) -> pa.Table:
    """The rows of the table `density`, sorted by label, rule and component."""
    ordered = sorted(
        (density.row() for density in densities), key=lambda row: (row[0], row[1], row[3])
    )
    return tables.rows("density", ordered)
