"""The kurtosis before and after removal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.evaluation import estimate
from jobs.evaluation.random_removal import Control
from jobs.runtime.run import Run
from jobs.warehouse import tables
from udfs.evaluation import regression


def test_effect_has_kurtosis_as_scipy(finished: Run) -> None:
    from scipy.stats import kurtosis

    projections = {
        row.image_id: row.components for row in finished.warehouse.read("projections").collect()
    }
    selection = finished.warehouse.read("selection").collect()
    for row in finished.warehouse.read("effect").collect():
        every = [s for s in selection if (s.label, s.rule) == (row.label, row.rule)]
        before = [projections[s.image_id][row.component - 1] for s in every]
        after = [projections[s.image_id][row.component - 1] for s in every if s.kept]
        assert (row.n_before, row.n_after) == (len(before), len(after))
        assert row.kurtosis_before == pytest.approx(kurtosis(before), rel=1e-9)
        if len(after) >= 4:
            assert row.kurtosis_after == pytest.approx(kurtosis(after), rel=1e-9)
        else:
            assert row.kurtosis_after is None
        assert row.scale_free_before <= 0.5 * math.log(2 * math.pi * math.e) + 1e-9


SMALL = regression.MINIMUM_IMAGES - 1
# Class: kurtosis before and after removal, threshold, and images left of 100.
CLASSES = {
    "a": (1.0, 1.5, 0.9, 50),
    "b": (2.0, 2.0, 0.9, 50),
    "c": (3.0, 2.5, 0.9, 50),
    "few": (9.0, 90.0, 0.9, SMALL),
    "none": (9.0, None, 0.9, 50),
}


def effect(label: str, component: int = 1) -> tuple[object, ...]:
    """A row of the table `effect`, without entropies and bands."""
    before, after, threshold, left = CLASSES[label]
    names = tables.TABLES["effect"].schema.names
    values = {"label": label, "rule": "keep_share:0.5", "space": "raw", "threshold": threshold}
    values |= {"component": component, "n_before": 100, "n_after": left}
    values |= {"kurtosis_before": before, "kurtosis_after": after}
    return tuple(values.get(name) for name in names)


def test_the_line_is_of_the_classes_that_are_large_enough() -> None:
    rows = [effect(label) for label in CLASSES] + [effect(label, 2) for label in ("a", "b")]
    first, second = estimate.regressions(rows, {})
    names = tables.TABLES["regression"].schema.names
    line = dict(zip(names, first, strict=True))
    assert (line["rule"], line["space"], line["threshold"]) == ("keep_share:0.5", "raw", 0.9)
    assert (line["component"], line["classes"]) == (1, 3)
    assert (line["slope"], line["intercept"]) == (pytest.approx(0.5), pytest.approx(1.0))
    assert (line["control_low"], line["control_high"]) == (None, None)
    assert dict(zip(names, second, strict=True)) == line | {
        "component": 2,
        "classes": 2,
        **dict.fromkeys(("slope", "intercept", "slope_low", "slope_high")),
    }


def test_slopes_stand_beside_those_of_random_removals_where_all_classes_have_some() -> None:
    rows = [effect(label) for label in CLASSES]
    draws = {"a": [1.0, 1.0], "b": [2.0, 1.5], "c": [3.0, 2.0]}  # slopes 1 and 0.5
    controls = {
        (label, "keep_share:0.5", "raw", 1): Control((None,) * 6, np.array(kurtosis))
        for label, kurtosis in draws.items()
    }
    (line,) = estimate.regressions(rows, controls)
    assert line[-3:-1] == (pytest.approx(0.5125), pytest.approx(0.9875))
    controls.pop(("b", "keep_share:0.5", "raw", 1))
    (line,) = estimate.regressions(rows, controls)
    assert line[-3:-1] == (None, None)


def test_thresholds_that_differ_between_classes_are_not_stated() -> None:
    rows = [effect("a"), (*effect("b")[:3], 0.8, *effect("b")[4:])]
    assert tables.TABLES["effect"].schema.names[3] == "threshold"
    (line,) = estimate.regressions(rows, {})
    assert line[2] is None


def test_the_summary_names_the_slopes_of_the_first_component() -> None:
    line = ("raw", 0.9, 1, 0.5, 1.0, 0.4, 0.6, None, None, 3)
    second = (*line[:2], 2, *line[3:])
    lines = [("fixed:0.9", *line), ("pair_rate:0.01", *line), ("fixed:0.8", *second)]
    lines += [("overlap:0.7", *line), ("fixed:0.95", *line)]
    text = estimate.summary(lines)
    assert text == (
        "kurtosis slope 0.50 at overlap ≥ 0.7, 0.50 at 0.95, 0.50 at 0.9, 0.50 at pair_rate:0.01"
    )
    assert estimate.summary([]) == "too few classes for a slope"
