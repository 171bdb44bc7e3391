"""The density of one coordinate: logarithm, quantiles, samples, entropy and modes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from tests.support.densities import (
    follows,
    knots,
    marginals,
    points,
)
from udfs.density import histogram, marginal
from udfs.density.marginal import Marginal


def test_marginal_by_hand() -> None:
    """Counts 1, 3 at 0 and 1: S(0) = 3/4·1/4 + 1/8·3/4 = 9/32; S(1/2) = 1/2 (1/4 + 3/4) = 1/2."""
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([1, 3])))
    assert model.value([0.0, 0.5, 5.0]).tolist() == [9 / 32, 0.5, 0.0]
    assert model.mean == 0.75
    assert model.variance == 0.1875 + 0.25


@settings(deadline=None)
@given(marginals())
def test_never_negative_and_at_least_half_of_an_occupied_cell(model: Marginal) -> None:
    assert (model.value(points(model)) >= 0).all()
    cells = model.histogram
    for share in (-0.5, -0.2, 0.0, 0.3, 0.499):
        values = model.value(cells.centres + share * cells.step)
        assert (values >= cells.probabilities / 2 - 1e-12).all()


@settings(deadline=None)
@given(marginals(), st.integers(-20, 20), st.floats(0.1, 10))
def test_shift_and_scale(model: Marginal, cells: int, scale: float) -> None:
    h = model.histogram
    moved = Marginal(histogram.Histogram(h.origin + cells * h.step, h.step, h.counts))
    wider = Marginal(histogram.Histogram(h.origin * scale, h.step * scale, h.counts))
    t = points(model, 50)
    assert np.allclose(moved.value(t + cells * h.step), model.value(t), atol=1e-9)
    assert np.allclose(wider.density(t * scale) * scale, model.density(t), atol=1e-9)
    assert wider.entropy() == pytest.approx(model.entropy() + math.log(scale), abs=1e-9)
    assert wider.scale_free_entropy() == pytest.approx(model.scale_free_entropy(), abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(marginals())
def test_entropy(model: Marginal) -> None:
    def integrand(t: float) -> float:
        f = float(model.density(t))
        return -f * math.log(f) if f > 0 else 0.0

    edges = knots(model)
    pieces = [quad(integrand, a, b, limit=200, epsabs=1e-11)[0] for a, b in pairwise(edges)]
    assert model.entropy() == pytest.approx(sum(pieces), abs=1e-8)
    assert model.scale_free_entropy() <= 0.5 * math.log(2 * math.pi * math.e)


def test_outside_the_support_the_log_density_is_minus_infinity() -> None:
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([1, 0, 2])))
    assert model.support == (-1.5, 3.5)
    assert model.log_density([-1.5, 3.5, 99.0, np.inf, -np.inf]).tolist() == [-np.inf] * 5
    assert np.isfinite(model.log_density([-1.4, 1.0, 3.4])).all()


@settings(deadline=None)
@given(marginals())
def test_log_gradient(model: Marginal) -> None:
    t = points(model)
    density = model.density(t)
    inside = density > 0
    assert np.isnan(model.log_gradient(t)[~inside]).all()
    expected = model.gradient(t)[inside] / density[inside]
    assert np.allclose(model.log_gradient(t)[inside], expected, rtol=1e-9)


@settings(deadline=None)
@given(
    marginals(),
    st.lists(st.floats(0, 1) | st.floats(0, 1e-9), min_size=1, max_size=30),
)
def test_quantile_is_the_inverse_of_the_cdf(model: Marginal, shares: list[float]) -> None:
    """|F(Q(q)) − q| ≤ 1e-12, and F < q below Q(q): Q(q) = inf{t : F(t) ≥ q}."""
    low, high = model.support
    q = np.array([*shares, *(1 - np.array(shares)), *model.cdf(knots(model))])
    t = model.quantile(q)
    assert np.abs(model.cdf(t) - q).max() <= 1e-12
    assert ((low <= t) & (t <= high)).all()
    small = 1e-3 * model.histogram.step
    inside = t - small > low
    assert (model.cdf(t - small) < q)[inside].all()
    order = np.argsort(q)
    assert (np.diff(t[order]) >= -1e-12 * (abs(low) + abs(high))).all()
    assert model.quantile([0.0, 1.0]).tolist() == [low, high]


def test_quantile_where_cells_are_empty() -> None:
    """Halves around a gap: F = 1/2 from 1.5 to 8.5, and Q(1/2) is where it begins."""
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([5, *[0] * 9, 5])))
    assert model.cdf([1.5, 5.0, 8.5]).tolist() == [0.5] * 3
    assert model.quantile([0.5, np.nextafter(0.5, 1)]) == pytest.approx([1.5, 8.5], abs=1e-4)
    assert model.quantile(0.5) == 1.5
    assert model.density(5.0) == 0
    assert model.log_density(5.0) == -np.inf


def test_the_search_for_a_quantile_bisects_where_newtons_step_leads_out() -> None:
    """4(s − ½)³ + ½ = 3s − 6s² + 4s³: flat where the search begins."""
    rise = np.linspace(0, 1, 101)
    cubic = (np.full_like(rise, c) for c in (3.0, -6.0, 4.0))
    found = marginal._solve_cubic(rise, *cubic)
    assert np.abs(4 * (found - 0.5) ** 3 + 0.5 - rise).max() < 1e-12


def test_quantiles_out_of_range_are_refused_and_nan_stays() -> None:
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([1, 4])))
    for wrong in (-1e-300, 1.0000001, [0.5, np.nan, 2.0]):
        with pytest.raises(ValueError, match=r"q: must lie in \[0, 1\]"):
            model.quantile(wrong)
    assert np.isnan(model.quantile([np.nan, 0.5])).tolist() == [True, False]
    for function in ("value", "density", "log_density", "gradient", "log_gradient", "cdf"):
        found = getattr(model, function)(np.array([[np.nan, 0.0]]))
        assert np.isnan(found).tolist() == [[True, False]], function
    assert model.quantile(np.full((2, 3, 4), 0.3)).shape == (2, 3, 4)
    assert model.quantile([]).shape == (0,)


@pytest.mark.parametrize("numbers", [[1], [5, 0, 0, 0, 1], [1, 2, 9, 4, 0, 0, 30, 2]])
def test_samples_follow_the_cdf(numbers: list[int]) -> None:
    model = Marginal(histogram.Histogram(-4.0, 2.0, np.array(numbers)))
    drawn = model.sample(20_000, 7)
    assert follows(drawn, model)
    assert drawn.var() == pytest.approx(model.variance, rel=0.04)
    assert (drawn == model.sample(20_000, np.random.default_rng(7))).all()
    assert stats.kstest(model.to_normal(drawn), "norm").pvalue > 0.01


@settings(deadline=None)
@given(marginals())
def test_there_and_back(model: Marginal) -> None:
    t = points(model)
    t = t[model.value(t) > 1e-3]  # where it is flat, many t have one F
    h = model.histogram.step
    assert np.allclose(model.from_uniform(model.to_uniform(t)) / h, t / h, atol=1e-10)
    assert np.allclose(model.from_normal(model.to_normal(t)) / h, t / h, atol=1e-7)
    low, high = model.support
    assert model.to_normal([low - h, high + h]).tolist() == [-np.inf, np.inf]
    assert model.from_normal([-np.inf, np.inf]).tolist() == [low, high]


def test_modes_by_hand() -> None:
    """Counts 1, 3: S' = 2 at 1/2 and −3 at 3/2, so 0 at 9/10. A flat top: its middle."""

    def modes(*numbers: int) -> list[float]:
        found = Marginal(histogram.Histogram(0.0, 1.0, np.array(numbers))).modes()
        return [float(t) for t in found]

    assert modes(1, 3) == pytest.approx([0.9])
    assert modes(2, 2) == [0.5]
    assert modes(1, 2, 2, 2, 1) == [2.0]
    assert modes(3, 0, 0, 0, 1) == [0.0, 4.0]
    assert modes(1, 1, 2, 2, 1, 1, 5) == pytest.approx([2.5, 5.5 + 4 / 9])


@settings(deadline=None)
@given(marginals())
def test_there_are_as_many_modes_as_in_the_histogram(model: Marginal) -> None:
    counts = model.histogram.counts.tolist()
    runs = [0, *(n for n, before in zip(counts, [None, *counts[:-1]], strict=True) if n != before)]
    peaks = sum(a < b > c for a, b, c in zip(runs, runs[1:], [*runs[2:], 0], strict=False))
    modes, h = model.modes(), model.histogram.step
    assert len(modes) == peaks
    assert np.allclose(model.gradient(modes) * h**2, 0, atol=1e-12)
    for shift in (-1e-3 * h, 1e-3 * h):
        assert (model.value(modes + shift) <= model.value(modes) + 1e-15).all()


@settings(deadline=None)
@given(marginals(), st.integers(-20, 20), st.floats(0.1, 10))
def test_shift_and_scale_of_quantiles_modes_and_samples(
    model: Marginal, cells: int, scale: float
) -> None:
    cells_of = model.histogram
    moved = Marginal(
        histogram.Histogram(
            scale * (cells_of.origin + cells * cells_of.step),
            scale * cells_of.step,
            cells_of.counts,
        )
    )
    shift, h = cells * cells_of.step, cells_of.step * scale
    q = np.linspace(0, 1, 21)
    for found, expected in (
        (moved.quantile(q), model.quantile(q)),
        (moved.modes(), model.modes()),
        (moved.sample(5, 0), model.sample(5, 0)),
        (moved.mean, model.mean),
    ):
        assert np.allclose(found / h, (expected + shift) * scale / h, atol=1e-10)
    assert moved.skewness == pytest.approx(model.skewness, abs=1e-9)
    assert moved.excess_kurtosis == pytest.approx(model.excess_kurtosis, abs=1e-9)
