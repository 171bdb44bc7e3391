"""estimate: what removal did to the distribution of each class (spec §6, tables 2 and 3)."""

from __future__ import annotations

import math
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.common import command, densities, schemas
from jobs.common.densities import Density
from jobs.common.run import Run, Work
from udfs import bspline, effect, histogram

VERSION = 1
KEYS = ["label", "rule", "space", "threshold", "component"]
Measures = dict[tuple[Any, ...], Row]


def main(run: Run) -> None:
    """Tables projections, selection and density → density (every rule), effect, regression."""
    with run.stage(
        "estimate",
        reads={
            "projections": "project",
            "density": "project",
            "selection": "prune",
            "audit": "prune",
        },
        writes=("density", "effect", "regression"),
        version=VERSION,
    ) as work:
        if work.finished:
            return
        before = stored(work)
        values = densities.long(work.read("projections"), "image_id")
        kept = values.join(
            work.read("selection").where("kept").select("image_id", "rule", "space", "threshold"),
            on="image_id",
            how="inner",
        )
        after = model(work, kept, before)
        work.write(densities.frame(run.spark, after.values()), "density", where="rule != 'none'")
        rows = effects(before, after, moments(values, KEYS[:1] + KEYS[4:]), moments(kept, KEYS))
        frame = run.spark.createDataFrame(rows, schemas.TABLES["effect"].schema)
        work.write(frame, "effect")
        lines = regressions(rows)
        frame = run.spark.createDataFrame(lines, schemas.TABLES["regression"].schema)
        work.write(frame, "regression")
        work.rows |= {"effect": len(rows), "regression": len(lines)}
        work.summary = summary(lines)


def stored(work: Work) -> dict[tuple[str, int], Density]:
    """The densities before removal, as `project` stored them."""
    rows = work.read("density").where("rule = 'none'").collect()
    return {
        (row.label, row.component): Density(
            row.label,
            row.rule,
            None,
            row.component,
            bspline.Marginal(histogram.Histogram(row.origin, row.step, row.counts)),
        )
        for row in rows
    }


def model(
    work: Work, kept: DataFrame, before: dict[tuple[str, int], Density]
) -> dict[tuple[Any, ...], Density]:
    """The densities of what each rule keeps, on the grid of the class before removal."""
    if not before:
        return {}
    steps = [
        (label, component, density.marginal.histogram.step)
        for (label, component), density in before.items()
    ]
    counted = densities.counts(kept, densities.grid(work.run.spark, steps), KEYS)
    return {
        key: Density(key[0], key[1], key[2], key[4], bspline.Marginal(cells))
        for key, cells in counted
    }


def moments(values: DataFrame, keys: list[str]) -> Measures:
    """Count and population excess kurtosis of the projections themselves, by Spark."""
    rows = values.groupBy(*keys).agg(F.count("*").alias("n"), F.kurtosis("value").alias("kurtosis"))
    return {tuple(row[key] for key in keys): row for row in rows.collect()}


def effects(
    before: dict[tuple[str, int], Density],
    after: dict[tuple[Any, ...], Density],
    moments_before: Measures,
    moments_after: Measures,
) -> list[tuple[Any, ...]]:
    """Rows of the table `effect`."""
    rows = []
    for key in sorted(after, key=lambda key: (key[0], -key[3], key[4])):
        label, rule, space, threshold, component = key
        first, second = before[label, component].marginal, after[key].marginal
        measured = moments_before[label, component], moments_after[key]
        rows.append(
            (
                label,
                rule,
                space,
                threshold,
                component,
                *(int(row["n"]) for row in measured),
                *(_kurtosis(row) for row in measured),
                float(first.entropy()),
                float(second.entropy()),
                float(first.scale_free_entropy()),
                float(second.scale_free_entropy()),
            )
        )
    return rows


def _kurtosis(row: Row) -> float | None:
    """Null below 4 images and where all are equal."""
    value = row["kurtosis"]
    return None if row["n"] < 4 or value is None or not math.isfinite(value) else float(value)


def regressions(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of the table `regression`: the line over the classes that are large enough."""
    names = schemas.TABLES["effect"].schema.names
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in (dict(zip(names, row, strict=True)) for row in rows):
        key = (row["rule"], row["space"], row["threshold"], row["component"])
        found.setdefault(key, []).append(row)
    lines = []
    for key in sorted(found, key=lambda key: (-key[2], key[3])):
        pairs = [
            (row["kurtosis_before"], row["kurtosis_after"])
            for row in found[key]
            if min(row["n_before"], row["n_after"]) >= effect.MINIMUM_IMAGES
            and row["kurtosis_before"] is not None
            and row["kurtosis_after"] is not None
        ]
        line = effect.line([x for x, _ in pairs], [y for _, y in pairs])
        numbers: tuple[float | None, ...] = (None, None, None, None)
        if line:
            numbers = (line.slope, line.intercept, line.slope_low, line.slope_high)
        lines.append((*key, *numbers, len(pairs)))
    return lines


def summary(lines: list[tuple[Any, ...]]) -> str:
    """The slopes of component 1, a threshold each."""
    slopes = [f"{line[4]:.2f} at {line[2]:g}" for line in lines if line[3] == 1 and line[4]]
    return f"kurtosis slope {', '.join(slopes)}" if slopes else "too few classes for a slope"


if __name__ == "__main__":
    command.run("estimate", main)
