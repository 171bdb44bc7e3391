"""estimate: what removal did to the distribution of each class (spec §6, tables 2 and 3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.density import marginals
from jobs.density.marginals import Density
from jobs.evaluation.random_removal import BANDS, Control, Drawing, Key, Removed, measured
from jobs.runtime.console import abbreviated
from jobs.runtime.stage import Stage, StageRun, written_by
from jobs.settings.evaluation import Estimate
from jobs.warehouse import tables
from udfs.density import histogram, marginal
from udfs.evaluation import random_removal, regression

VERSION = 3
KEYS = ["label", "rule", "space", "component"]
NO_BANDS = (None,) * 2 * len(BANDS)  # where nothing was drawn
Measures = dict[tuple[Any, ...], Row]


def main(stage_run: StageRun) -> None:
    """Tables projections, selection, density → density (every rule), effect and the others."""
    settings = stage_run.settings.estimate
    before = stored(stage_run)
    values = marginals.unpivot(stage_run.read("projections"), "image_id")
    kept = values.join(
        stage_run.read("selection").where("kept").select("image_id", "rule", "space"),
        on="image_id",
        how="inner",
    )
    after = model(stage_run, kept, before)
    stage_run.write(marginals.rows(after.values()), "density", where="rule != 'none'")
    both = moments(values, ["label", "component"]), moments(kept, KEYS)
    asked = drawing(before, *both, settings)
    counts = {label: row["n"] for (label, component), row in both[0].items()}
    found = measured(stage_run.read("projections"), counts, asked)
    known = thresholds(stage_run)
    rows = effects(before, after, *both, known, found.controls)
    stage_run.write(tables.rows("effect", rows), "effect")
    lines = regressions(rows, found.controls)
    stage_run.write(tables.rows("regression", lines), "regression")
    apart = [(label, counts[label], kl) for label, kl in sorted(found.divergences.items())]
    stage_run.write(tables.rows("dependence", apart), "dependence")
    stage_run.rows |= {"effect": len(rows), "regression": len(lines)}
    stage_run.summary = summary(lines)


def stored(stage_run: StageRun) -> dict[tuple[str, int], Density]:
    """The densities before removal, as `project` stored them."""
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


def model(
    stage_run: StageRun, kept: DataFrame, before: dict[tuple[str, int], Density]
) -> dict[tuple[Any, ...], Density]:
    """The densities of what each rule keeps, on the grid of the class before removal."""
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


def moments(values: DataFrame, keys: list[str]) -> Measures:
    """Count and population excess kurtosis of the projections themselves, by Spark."""
    rows = values.groupBy(*keys).agg(F.count("*").alias("n"), F.kurtosis("value").alias("kurtosis"))
    return {tuple(row[key] for key in keys): row for row in rows.collect()}


def effects(
    before: dict[tuple[str, int], Density],
    after: dict[tuple[Any, ...], Density],
    moments_before: Measures,
    moments_after: Measures,
    thresholds: dict[tuple[Any, ...], float | None],
    controlled: dict[Key, Control],
) -> list[tuple[Any, ...]]:
    """Rows of the table `effect`."""
    rows = []
    for key in sorted(after):
        label, rule, space, component = key
        first, second = before[label, component].marginal, after[key].marginal
        sizes = moments_before[label, component], moments_after[key]
        rows.append(
            (
                label,
                rule,
                space,
                thresholds[label, rule, space],
                component,
                *(int(row["n"]) for row in sizes),
                *(_kurtosis(row) for row in sizes),
                float(first.entropy()),
                float(second.entropy()),
                float(first.scale_free_entropy()),
                float(second.scale_free_entropy()),
                *(controlled[key].bands if key in controlled else NO_BANDS),
            )
        )
    return rows


def drawing(
    before: dict[tuple[str, int], Density],
    moments_before: Measures,
    moments_after: Measures,
    settings: Estimate,
) -> Drawing:
    """The random removals to be made: of each class as many as each rule removes."""
    steps: dict[str, list[float]] = {}
    for label, component in sorted(before):
        steps.setdefault(label, []).append(before[label, component].marginal.histogram.step)
    removed: dict[str, list[Removed]] = {}
    for (label, rule, space, component), row in moments_after.items():
        if component == 1:
            count = moments_before[label, 1]["n"] - row["n"]
            removed.setdefault(label, []).append(Removed(rule, space, count))
    return Drawing(removed, steps, settings.control, settings.seed)


def thresholds(stage_run: StageRun) -> dict[tuple[Any, ...], float | None]:
    """T by class, rule and space; None where it differs within a class."""
    ends = stage_run.query(
        "selection",
        "SELECT label, rule, space, min(threshold) AS low, max(threshold) AS high "
        "FROM rows GROUP BY label, rule, space",
    )
    return {
        (row["label"], row["rule"], row["space"]): row["low"] if row["low"] == row["high"] else None
        for row in ends
    }


def _kurtosis(row: Row) -> float | None:
    """Null below 4 images and where all are equal."""
    value = row["kurtosis"]
    return None if row["n"] < 4 or value is None or not math.isfinite(value) else float(value)


def regressions(
    rows: list[tuple[Any, ...]], controlled: dict[Key, Control]
) -> list[tuple[Any, ...]]:
    """Rows of the table `regression`: the line over the classes that are large enough."""
    names = tables.TABLES["effect"].schema.names
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in (dict(zip(names, row, strict=True)) for row in rows):
        key = (row["rule"], row["space"], row["component"])
        found.setdefault(key, []).append(row)
    lines = []
    for rule, space, component in sorted(found):
        rows_of = found[rule, space, component]
        usable = [
            row
            for row in rows_of
            if min(row["n_before"], row["n_after"]) >= regression.MINIMUM_IMAGES
            and row["kurtosis_before"] is not None
            and row["kurtosis_after"] is not None
        ]
        pairs = [(row["kurtosis_before"], row["kurtosis_after"]) for row in usable]
        line = regression.line([x for x, _ in pairs], [y for _, y in pairs])
        numbers: tuple[float | None, ...] = (None, None, None, None)
        if line:
            numbers = (line.slope, line.intercept, line.slope_low, line.slope_high)
        alike = {row["threshold"] for row in rows_of}
        threshold = alike.pop() if len(alike) == 1 else None
        keys = [(row["label"], rule, space, component) for row in usable]
        ends: tuple[float | None, float | None] = (None, None)
        if line and all(key in controlled for key in keys):
            draws = np.array([controlled[key].kurtosis for key in keys]).T
            low, high = random_removal.slope_band(np.array([x for x, _ in pairs]), draws)
            ends = (low, high) if math.isfinite(low) else ends
        lines.append((rule, space, threshold, component, *numbers, *ends, len(pairs)))
    return lines


def summary(lines: list[tuple[Any, ...]]) -> str:
    """The slopes of component 1, one a rule."""
    first = [line for line in lines if line[3] == 1 and line[4]]
    first.sort(key=lambda line: (line[0].startswith("fixed:"), line[0], line[1]), reverse=True)
    several = len({line[1] for line in first}) > 1
    slopes = [
        f"{line[4]:.2f} at {line[0].removeprefix('fixed:')}" + (f" {line[1]}" if several else "")
        for line in first
    ]
    return f"kurtosis slope {abbreviated(slopes)}" if slopes else "too few classes for a slope"


STAGE = Stage(
    "estimate",
    main,
    reads=lambda run: written_by("projections", "density", "selection", "audit"),
    writes=("density", "effect", "regression", "dependence"),
    depends=lambda run: {"control": [run.settings.estimate.control, run.settings.estimate.seed]},
    version=VERSION,
)
