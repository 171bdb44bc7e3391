"""Histograms: exact counts from any partitioning, and the rules for the width of a cell."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from udfs.density import histogram
from udfs.density.histogram import Histogram, Joint
from udfs.density.marginal import Marginal

steps = st.floats(0.05, 20)
values_of = st.lists(st.floats(-100, 100), min_size=1, max_size=60)


def same(left: Histogram | Joint, right: Histogram | Joint) -> bool:
    """Equal to the last bit."""
    return all(np.array_equal(getattr(left, name), value) for name, value in vars(right).items())


@settings(deadline=None)
@given(values_of, steps, st.integers(1, 5))
def test_counts_do_not_depend_on_the_partitioning(
    values: list[float], step: float, parts: int
) -> None:
    cells = histogram.cell(values, step)
    whole = histogram.from_values(values, step)
    pairs = [np.unique(cells[part::parts], return_counts=True) for part in range(parts)]
    numbers, counts = (np.concatenate(part) for part in zip(*pairs, strict=True))
    again = histogram.from_cells(numbers, counts, step)
    assert same(whole, again)
    split = [values[part::parts] for part in range(parts)]
    summed = [histogram.from_values(part, step) for part in split if part]
    assert same(whole, reduce(add, summed))
    assert same(whole, reduce(add, summed[::-1]))
    assert whole.n == len(values)
    low = np.asarray(values) >= (cells - 0.5) * step - 1e-9
    high = np.asarray(values) < (cells + 0.5) * step + 1e-9
    assert (low & high).all()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=40),
    st.integers(1, 4),
)
def test_joint_counts_do_not_depend_on_the_partitioning(
    rows: list[tuple[float, float]], parts: int
) -> None:
    widths = np.array([0.7, 2.0])
    cells = histogram.cell(rows, widths)
    whole = histogram.joint(cells, np.ones(len(rows), int), widths)
    assert whole.n == len(rows)
    split = [cells[part::parts] for part in range(parts)]
    summed = [histogram.joint(part, np.ones(len(part), int), widths) for part in split if len(part)]
    assert same(whole, reduce(add, summed))
    for axis, width in enumerate(widths):
        along = histogram.from_values([row[axis] for row in rows], width)
        assert same(whole.marginal(axis), along)
    found = dict(zip(map(tuple, whole.cells.tolist()), whole.counts.tolist(), strict=True))
    keys = [tuple(row) for row in cells.tolist()]
    assert found == {key: keys.count(key) for key in keys}


def test_large_counts_add_up_exactly() -> None:
    large = 2**60 + 1
    both = Histogram(0.0, 1.0, np.array([large])) + Histogram(-2.0, 1.0, np.array([1, 0, 1]))
    assert both.counts.tolist() == [1, 0, large + 1]
    assert both.origin == -2.0
    assert histogram.joint([[5], [5]], [large, 1], [1.0]).counts.tolist() == [large + 1]


def test_cells_are_half_open_around_zero() -> None:
    assert histogram.cell([-0.5, -0.51, 0.0, 0.49, 0.5, 1.5], 1.0).tolist() == [0, -1, 0, 0, 1, 2]
    by_axis = histogram.cell([[0.5, 0.5], [-3.0, 1.0]], [1.0, 2.0])
    assert by_axis.tolist() == [[1, 0], [-3, 1]]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_what_lies_in_no_cell_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="leave them out"):
        histogram.cell([0.0, wrong], 1.0)


@pytest.mark.parametrize(
    ("origin", "step", "numbers", "told"),
    [
        (0.0, 0.0, [1], "positive"),
        (0.0, -1.0, [1], "positive"),
        (0.0, np.nan, [1], "positive"),
        (0.0, np.inf, [1], "positive"),
        (0.0, 1.0, [], "above 0"),
        (0.0, 1.0, [0], "above 0"),
        (0.0, 1.0, [-1, 2], "non-negative"),
        (0.0, 1.0, [[1, 2]], "list of numbers"),
        (0.4, 1.0, [1], "multiple of step"),
        (np.nan, 1.0, [1], "multiple of step"),
    ],
)
def test_bad_histograms_are_refused(
    origin: float, step: float, numbers: list[Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Histogram(origin, step, np.array(numbers, np.int64))


@pytest.mark.parametrize(
    ("cells", "counts", "widths", "told"),
    [
        ([[0, 0]], [1], [1.0], "shapes"),
        ([0, 1], [1, 1], [1.0], "shapes"),
        ([[0], [1]], [1], [1.0], "shapes"),
        ([[0], [1]], [1, 0], [1.0], "one of no value"),
        ([[0], [0]], [1, 1], [1.0], "one twice"),
        ([[0]], [1], [0.0], "positive"),
        ([[0]], [-1], [1.0], "non-negative"),
    ],
)
def test_bad_joint_histograms_are_refused(
    cells: list[Any], counts: list[int], widths: list[float], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Joint(np.array(cells), np.array(counts), np.array(widths))


def test_unlike_grids_do_not_add_up() -> None:
    one = Histogram(0.0, 1.0, np.array([1]))
    with pytest.raises(ValueError, match="must be equal"):
        one + Histogram(0.0, 2.0, np.array([1]))
    joint = histogram.joint([[0, 1]], [1], [1.0, 2.0])
    with pytest.raises(ValueError, match="must be equal"):
        joint + histogram.joint([[0, 1]], [1], [1.0, 3.0])
    with pytest.raises(TypeError):
        one + joint  # type: ignore[operator]
    with pytest.raises(ValueError, match="axis: is 2"):
        joint.marginal(2)
    with pytest.raises(ValueError, match="there are none"):
        histogram.from_values([], 1.0)
    with pytest.raises(ValueError, match="there are none"):
        histogram.step_of([])


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 500), st.sampled_from(["scott", "fd", "sturges"]))
def test_rules_are_numpys(seed: int, n: int, rule: str) -> None:
    """NumPy rounds to whole cells: range/⌈range/h⌉."""
    values = np.random.default_rng(seed).gamma(2.0, 3.0, n)
    cells = np.ptp(values) / histogram.step_of(values, rule)
    assume(abs(cells - round(cells)) > 1e-3)
    assert math.ceil(cells) == len(np.histogram_bin_edges(values, rule)) - 1


def test_steps_by_hand() -> None:
    assert histogram.step("scott", 1000, 2.0, 10.0) == pytest.approx(0.69816)
    assert histogram.step("fd", 1000, 2.0, 10.0, (-1.0, 2.0)) == pytest.approx(0.6)
    assert histogram.step("sturges", 1024, 2.0, 11.0) == pytest.approx(1.0)
    assert histogram.step("normal", 10**5, 2.0, 10.0, (-1.0, 3.0)) == pytest.approx(0.376)
    assert histogram.step("normal", 10**5, 2.0, 10.0, (0, 1.349)) == pytest.approx(0.188)
    assert histogram.step(40, 1000, 2.0, 10.0) == 0.25


@pytest.mark.parametrize("rule", histogram.QUARTILE_RULES)
def test_equal_quartiles_take_scotts_rule(rule: str) -> None:
    scott = histogram.step("scott", 1000, 2.0, 10.0)
    assert histogram.step(rule, 1000, 2.0, 10.0, (1.0, 1.0)) == scott
    found = histogram.step_of([0.0] * 90 + [1.0] * 10, rule)
    assert found == pytest.approx(histogram.step_scott(100, 0.3))


@pytest.mark.parametrize("rule", [*histogram.RULES, 1, 5000])
def test_a_step_is_at_least_a_4096th_of_the_range_and_positive(rule: str | int) -> None:
    assert histogram.step(rule, 10**9, 1e-3, 4096.0, (0.0, 1e-3)) >= 1.0
    assert histogram.step(rule, 5, 0.0, 0.0, (0.0, 0.0)) == 1.0
    assert histogram.step(rule, 1, 0.0, 0.0, (0.0, 0.0)) == 1.0


@pytest.mark.parametrize("rule", ["magic", 0, -3, 0.25, True])
def test_no_other_rule_is_known(rule: Any) -> None:
    with pytest.raises(ValueError, match="use scott, fd, sturges, normal or a number of cells"):
        histogram.step(rule, 5, 1.0, 1.0)


def test_quartiles_must_be_there_where_a_rule_needs_them() -> None:
    with pytest.raises(ValueError, match="needs the quartiles"):
        histogram.step("fd", 5, 1.0, 1.0)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(histogram.RULES), st.floats(-50, 50))
def test_rules_follow_shift_and_scale(seed: int, rule: str, shift: float) -> None:
    values = np.random.default_rng(seed).normal(size=80)
    expected = 3 * histogram.step_of(values, rule)
    assert histogram.step_of(3 * values + shift, rule) == pytest.approx(expected, rel=1e-9)


def test_the_normal_rule_suits_the_spline_on_normal_data() -> None:
    """Its integrated squared error at n = 10⁴ is about 1.9e-4; of half and twice that step more."""
    values = np.random.default_rng(1).normal(size=(40, 10_000))
    t = np.linspace(-6, 6, 2001)

    def error(times: float) -> float:
        found = []
        for draw in values:
            step = times * histogram.step_of(draw, "normal")
            density = Marginal(histogram.from_values(draw, step)).density(t)
            found.append(((density - stats.norm.pdf(t)) ** 2).sum() * (t[1] - t[0]))
        return float(np.median(found))

    assert error(1.0) == pytest.approx(1.9e-4, rel=0.15)
    assert error(1.0) < 0.9 * min(error(0.5), error(2.0))
