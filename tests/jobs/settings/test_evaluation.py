"""Sections [estimate] and [calibrate]."""

from __future__ import annotations

import pytest

from jobs.errors import SettingsError
from jobs.settings.load import build
from udfs.density import histogram


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("estimate.step=-1", "number of cells"),
        ("estimate.step=0.25", "number of cells"),
        ("estimate.step=1.0", "number of cells"),
        ("estimate.step=5000", "whole one up to 4096"),
        ("estimate.step=inf", "number of cells"),
        ("estimate.step=true", "number of cells"),
        ("estimate.step=[7]", "number of cells"),
        ("estimate.step=foo", "must be scott, fd, sturges, normal or a number of cells"),
        ("estimate.basis=after", "must be one of before"),
        ("calibrate.precision=1.5", "must lie between 0.5 and 1"),
        ("calibrate.pairs=0", "must lie between 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])


@pytest.mark.parametrize("step", [*histogram.RULES, 1, histogram.MOST_CELLS])
def test_a_step_is_a_rule_or_a_number_of_cells(step: str | int) -> None:
    found = build({}, [f"estimate.step={step}"]).estimate.step
    assert (found, type(found)) == (step, type(step))
