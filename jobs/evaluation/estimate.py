"""The stage `estimate`: measures what removal did to the distribution of each class.

The formulas and the paper's tables 2 and 3 stand in docs/method.md, "What removal did".
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.density import marginals
from jobs.density.marginals import Density
from jobs.evaluation.random_removal import (
    BANDS,
    Control,
    Key,
    RandomRemovals,
    Removal,
    measure,
)
from jobs.runtime.concurrently import gather
from jobs.runtime.console import abbreviated
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import Rule
from jobs.settings.evaluation import Estimate
from jobs.warehouse import tables
from udfs.density import histogram, marginal
from udfs.evaluation import random_removal, regression

VERSION = 3
KEYS = ["label", "rule", "space", "component"]
NO_BANDS = (None,) * 2 * len(BANDS)  # where no random removals were drawn
Densities = dict[tuple[Any, ...], Density]
Moments = dict[tuple[Any, ...], Row]


def main(stage_run: StageRun) -> None:
    """Write the densities after removal, and the tables `effect`, `regression`, `dependence`."""
    projections = stage_run.read("projections")
    before = densities_before(stage_run)
    values = marginals.unpivot(projections, "image_id")
    kept = values.join(
        stage_run.read("selection").where("kept").select("image_id", "rule", "space"),
        on="image_id",
        how="inner",
    )
    after, moments_before, moments_after = gather(
        partial(densities_after, stage_run, kept, before),
        partial(moments, values, ["label", "component"]),
        partial(moments, kept, KEYS),
    )
    stage_run.write(marginals.rows(after.values()), "density", where="rule != 'none'")
    removals = random_removals(before, moments_before, moments_after, stage_run.settings.estimate)
    counts = {label: row["n"] for (label, component), row in moments_before.items()}
    measures = measure(projections, counts, removals)
    effect = effects(
        before, after, moments_before, moments_after, thresholds(stage_run), measures.controls
    )
    stage_run.write(tables.rows("effect", effect), "effect")
    lines = regressions(effect, measures.controls)
    stage_run.write(tables.rows("regression", lines), "regression")
    dependence = [(label, counts[label], kl) for label, kl in sorted(measures.divergences.items())]
    stage_run.write(tables.rows("dependence", dependence), "dependence")
    stage_run.rows |= {"effect": len(effect), "regression": len(lines)}
    stage_run.summary = summary(lines)


def densities_before(stage_run: StageRun) -> Densities:
    """Return the densities before removal, as `project` wrote them, by label and component."""
    rows = stage_run.query("density", "SELECT * FROM rows WHERE rule = 'none'")
    return {
        (row["label"], row["component"]): Density(
            row["label"],
            row["rule"],
            None,
            row["component"],
            marginal.Marginal(histogram.Histogram(row["origin"], row["step"], row["counts"])),
        )
        for row in rows
    }


def densities_after(stage_run: StageRun, kept: DataFrame, before: Densities) -> Densities:
    """Return the densities of what each rule keeps, by KEYS.

    The histogram has the cells of that of the class before removal.
    """
    if not before:
        return {}
    steps = [
        (label, component, density.marginal.histogram.step)
        for (label, component), density in before.items()
    ]
    counted = marginals.counts(kept, marginals.grid(stage_run.spark, steps), KEYS)
    return {
        key: Density(key[0], key[1], key[2], key[3], marginal.Marginal(cells))
        for key, cells in counted
    }


def moments(values: DataFrame, keys: list[str]) -> Moments:
    """Return the count and the population excess kurtosis of the projections, by these keys.

    Spark computes them from the projections themselves, not from the model of their density.
    """
    rows = values.groupBy(*keys).agg(F.count("*").alias("n"), F.kurtosis("value").alias("kurtosis"))
    return {tuple(row[key] for key in keys): row for row in rows.collect()}


def effects(
    before: Densities,
    after: Densities,
    moments_before: Moments,
    moments_after: Moments,
    thresholds: dict[tuple[Any, ...], float | None],
    controls: dict[Key, Control],
) -> list[tuple[Any, ...]]:
    """Return the rows of the table `effect`: one for each label, rule, space and component."""
    rows = []
    for key in sorted(after):
        label, rule, space, component = key
        first, second = before[label, component].marginal, after[key].marginal
        both = moments_before[label, component], moments_after[key]
        rows.append(
            (
                label,
                rule,
                space,
                thresholds[label, rule, space],
                component,
                *(int(row["n"]) for row in both),
                *(_kurtosis(row) for row in both),
                float(first.entropy()),
                float(second.entropy()),
                float(first.scale_free_entropy()),
                float(second.scale_free_entropy()),
                *(controls[key].bands if key in controls else NO_BANDS),
            )
        )
    return rows


def random_removals(
    before: Densities, moments_before: Moments, moments_after: Moments, settings: Estimate
) -> RandomRemovals:
    """Return the random removals to draw: of each class as many images as each rule removes."""
    steps: dict[str, list[float]] = {}
    for label, component in sorted(before):
        steps.setdefault(label, []).append(before[label, component].marginal.histogram.step)
    removals: dict[str, list[Removal]] = {}
    for (label, rule, space, component), row in moments_after.items():
        if component == 1:
            count = moments_before[label, 1]["n"] - row["n"]
            removals.setdefault(label, []).append(Removal(rule, space, count))
    return RandomRemovals(removals, steps, settings.control, settings.seed)


def thresholds(stage_run: StageRun) -> dict[tuple[Any, ...], float | None]:
    """Return T by class, rule and space; None if it differs within a class."""
    rows = stage_run.query(
        "selection",
        "SELECT label, rule, space, min(threshold) AS low, max(threshold) AS high "
        "FROM rows GROUP BY label, rule, space",
    )
    return {
        (row["label"], row["rule"], row["space"]): row["low"] if row["low"] == row["high"] else None
        for row in rows
    }


def _kurtosis(row: Row) -> float | None:
    """Return the kurtosis; None for fewer than 4 images and if all values are equal."""
    value = row["kurtosis"]
    return None if row["n"] < 4 or value is None or not math.isfinite(value) else float(value)


def regressions(
    effect: list[tuple[Any, ...]], controls: dict[Key, Control]
) -> list[tuple[Any, ...]]:
    """Return the rows of the table `regression`: a line for each rule, space and component."""
    names = tables.TABLES["effect"].schema.names
    by_key: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in (dict(zip(names, values, strict=True)) for values in effect):
        key = (row["rule"], row["space"], row["component"])
        by_key.setdefault(key, []).append(row)
    return [_regression(key, by_key[key], controls) for key in sorted(by_key)]


def _regression(
    key: tuple[Any, ...], rows: list[dict[str, Any]], controls: dict[Key, Control]
) -> tuple[Any, ...]:
    """Return the line through the kurtoses of the classes that are large enough."""
    rule, space, component = key
    usable = [
        row
        for row in rows
        if min(row["n_before"], row["n_after"]) >= regression.MINIMUM_IMAGES
        and row["kurtosis_before"] is not None
        and row["kurtosis_after"] is not None
    ]
    before = [row["kurtosis_before"] for row in usable]
    line = regression.line(before, [row["kurtosis_after"] for row in usable])
    numbers: tuple[float | None, ...] = (None, None, None, None)
    band: tuple[float | None, float | None] = (None, None)
    if line:
        numbers = (line.slope, line.intercept, line.slope_low, line.slope_high)
        band = _slope_band(before, [(row["label"], *key) for row in usable], controls)
    thresholds = {row["threshold"] for row in rows}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    return (rule, space, threshold, component, *numbers, *band, len(usable))


def _slope_band(
    before: list[float], keys: list[Key], controls: dict[Key, Control]
) -> tuple[float | None, float | None]:
    """Return the middle 95 % of the slopes after random removals; None if a class has no draws."""
    if not all(key in controls for key in keys):
        return None, None
    draws = np.array([controls[key].kurtosis for key in keys]).T
    low, high = random_removal.slope_band(np.array(before), draws)
    return (low, high) if math.isfinite(low) else (None, None)


def summary(lines: list[tuple[Any, ...]]) -> str:
    """Return the slope of component 1 at each rule, for the console."""
    first = [line for line in lines if line[3] == 1 and line[4]]
    first.sort(key=lambda line: (Rule.of(line[0]).sort_key, line[1]))
    several_spaces = len({line[1] for line in first}) > 1
    slopes = [
        f"{line[4]:.2f} at {Rule.of(line[0]).short}" + (f" {line[1]}" if several_spaces else "")
        for line in first
    ]
    return f"kurtosis slope {abbreviated(slopes)}" if slopes else "too few classes for a slope"


def depends(run: RunContext) -> dict[str, Any]:
    """Return how many random removals are drawn, and their seed."""
    settings = run.settings.estimate
    return {
        "control": NamedValues(
            {"estimate.control": settings.control, "estimate.seed": settings.seed},
            hashed=[settings.control, settings.seed],
        )
    }


STAGE = Stage(
    "estimate",
    main,
    reads=lambda run: written_by("projections", "density", "selection", "audit"),
    writes=("density", "effect", "regression", "dependence"),
    depends=depends,
    version=VERSION,
    imports=("scipy.special", "scipy.stats"),
    worker_imports=("scipy.special",),
)
