"""What tasks measure of each class: the bands of random removals, and how axes depend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from jobs.evaluation.random_removal import BANDS, MEASURES, RandomRemovals, Removal
from jobs.warehouse.arrow_frames import arrow_schema
from udfs.evaluation import random_removal

STEPS = {"a": [0.5, 0.25], "b": [0.5]}
SIZES = {"a": 40, "b": 30}
POINTS = {
    label: np.random.default_rng(n).normal(size=(n, 2)) * [2, 1] for label, n in SIZES.items()
}
REMOVED = {
    "a": [Removal("one", "raw", 10), Removal("two", "raw", 10), Removal("three", "raw", 3)],
    "b": [Removal("one", "raw", 5)],
}


def rows_of(draws: int, removed: dict[str, list[Removal]]) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(
        [
            {"label": label, "image_id": f"{label}{i:02}", "components": point}
            for label, points in POINTS.items()
            for i, point in enumerate(points.tolist())
        ]
    )
    removals = RandomRemovals(removed, STEPS, draws, 7)
    batches = removals.rows(table.to_batches(max_chunksize=9), arrow_schema(MEASURES))
    return list(pa.Table.from_batches(batches).to_pylist())


def test_bands_are_those_of_as_many_random_removals() -> None:
    rows = rows_of(12, REMOVED)
    measured = [row for row in rows if row["rule"] is not None]
    assert [(row["label"], row["rule"], row["component"]) for row in measured] == [
        (label, removal.rule, k + 1)
        for label in STEPS
        for removal in REMOVED[label]
        for k in range(len(STEPS[label]))
    ]
    for row in measured:
        label, k = row["label"], row["component"] - 1
        (count,) = (removal.count for removal in REMOVED[label] if removal.rule == row["rule"])
        ids = [f"{label}{i:02}" for i in range(SIZES[label])]
        drawn = random_removal.null_distribution(ids, POINTS[label], STEPS[label], [count], 12, 7)
        assert row["kurtosis"] == drawn.kurtosis[:, 0, k].tolist()
        bands = [random_removal.band(getattr(drawn, name)[:, 0, k]) for name in BANDS]
        assert row["bands"] == [end for ends in bands for end in ends]
        assert all(low < high for low, high in bands)


def test_the_dependence_of_two_axes_is_measured_whatever_is_drawn() -> None:
    """A class of one axis has none; no draws are made if there are none to make."""
    rows = rows_of(0, REMOVED)
    assert [(row["label"], row["rule"]) for row in rows] == [("a", None)]
    assert rows[0]["divergence"] > 0
    drawn = [row for row in rows_of(3, {}) if row["rule"] is None]
    assert drawn == rows
