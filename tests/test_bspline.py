"""The laws of the spline model (spec §5), and the definition beside the fast form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad

from udfs import histogram
from udfs.bspline import Marginal, Separable, kernel

counts = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any)
steps = st.floats(0.05, 20)
firsts = st.integers(-30, 30)


@st.composite
def marginals(draw: st.DrawFn) -> Marginal:
    numbers = np.trim_zeros(np.array(draw(counts)))
    step = draw(steps)
    return Marginal(histogram.Histogram(draw(firsts) * step, step, numbers))


def by_definition(model: Marginal, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """S(t) = Σ p_i B(t − t_i), term by term (paper, eq. 2)."""
    cells = model.histogram
    terms = zip(cells.probabilities, cells.centres, strict=True)
    return np.asarray(sum(p * kernel(t - centre, cells.step) for p, centre in terms))


def points(model: Marginal, n: int = 301) -> NDArray[np.float64]:
    low, high = model.support
    return np.linspace(low - model.histogram.step, high + model.histogram.step, n)


def knots(model: Marginal) -> NDArray[np.float64]:
    low, high = model.support
    return np.arange(low, high + model.histogram.step / 2, model.histogram.step)


def integral(model: Marginal, function: object) -> float:
    """∫ function(t) S(t)/h dt, by ten points a knot interval (exact for polynomials)."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = knots(model)
    half = model.histogram.step / 2
    t = (edges[:-1, None] + half) + half * nodes
    values = function(t) * by_definition(model, t) / model.histogram.step  # type: ignore[operator]
    return float((values @ weights).sum() * half)


def test_kernel_by_hand() -> None:
    """h = 2: B(0) = 3/4, B(1) = 1/2, B(2) = 1/8, B(3) = 0."""
    assert kernel([0, 1, -1, 2, 3, 9], 2).tolist() == [0.75, 0.5, 0.5, 0.125, 0, 0]


def test_marginal_by_hand() -> None:
    """Counts 1, 3 at 0 and 1: S(0) = 3/4·1/4 + 1/8·3/4 = 9/32; S(1/2) = 1/2 (1/4 + 3/4) = 1/2."""
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([1, 3])))
    assert model.value([0.0, 0.5, 5.0]).tolist() == [9 / 32, 0.5, 0.0]
    assert model.mean == 0.75
    assert model.variance == 0.1875 + 0.25


@given(steps, st.floats(-5, 5))
def test_partition_of_unity(step: float, t: float) -> None:
    total = sum(float(kernel(t - i * step, step)) for i in range(-150, 151))
    assert total == pytest.approx(1, abs=1e-12)


@given(steps)
def test_kernel_integrates_to_the_step(step: float) -> None:
    value, _ = quad(
        lambda t: float(kernel(t, step)), -1.5 * step, 1.5 * step, points=[-step / 2, step / 2]
    )
    assert value == pytest.approx(step, rel=1e-9)


@given(marginals())
def test_fast_form_is_the_definition(model: Marginal) -> None:
    t = points(model)
    assert np.allclose(model.value(t), by_definition(model, t), atol=1e-13)


@given(marginals())
def test_density_integrates_to_one_with_the_models_moments(model: Marginal) -> None:
    assert integral(model, lambda t: 1.0) == pytest.approx(1, rel=1e-12)
    mean = integral(model, lambda t: t)
    scale = math.sqrt(model.variance)
    assert mean == pytest.approx(model.mean, abs=1e-9 * (scale + abs(mean)))
    central = [integral(model, lambda t, k=k: (t - mean) ** k) for k in (2, 3, 4)]
    assert central[0] == pytest.approx(model.variance, rel=1e-9)
    assert central[1] / scale**3 == pytest.approx(model.skewness, abs=1e-7)
    assert central[2] / scale**4 - 3 == pytest.approx(model.excess_kurtosis, abs=1e-7)


@given(marginals())
def test_cell_means(model: Marginal) -> None:
    """The mean of S over cell i: (p_{i−1} + 4 p_i + p_{i+1})/6 (paper: "in the mean")."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    cells = model.histogram
    halves = [cells.centres[:, None] + cells.step * (nodes / 4 + side) for side in (-0.25, 0.25)]
    means = sum(model.value(t) @ weights / 4 for t in halves)
    p = np.pad(cells.probabilities, 1)
    assert np.allclose(means, (p[:-2] + 4 * p[1:-1] + p[2:]) / 6, atol=1e-12)


@given(marginals())
def test_never_negative_and_at_least_half_of_an_occupied_cell(model: Marginal) -> None:
    assert (model.value(points(model)) >= 0).all()
    cells = model.histogram
    for share in (-0.5, -0.2, 0.0, 0.3, 0.499):
        values = model.value(cells.centres + share * cells.step)
        assert (values >= cells.probabilities / 2 - 1e-12).all()


@given(marginals())
def test_smooth_at_the_knots(model: Marginal) -> None:
    """Value and first derivative are continuous."""
    h = model.histogram.step
    small = 1e-6 * h
    t = knots(model)
    left, here, right = (model.value(t + shift) for shift in (-small, 0.0, small))
    assert np.allclose(left, here, atol=1e-5)
    assert np.allclose((here - left) / small * h, (right - here) / small * h, atol=1e-4)


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


@settings(max_examples=25)
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


@given(st.lists(marginals(), min_size=1, max_size=4), st.integers(0, 2**31))
def test_separable_is_the_product(axes: list[Marginal], seed: int) -> None:
    draw = np.random.default_rng(seed)
    where = np.stack([draw.choice(points(axis), 20) for axis in axes], axis=1)
    model = Separable(axes)
    expected = np.prod([axis.density(where[:, k]) for k, axis in enumerate(axes)], axis=0)
    assert np.allclose(model.density(where), expected, rtol=1e-12)
    inside = expected > 0
    assert np.allclose(model.log_density(where)[inside], np.log(expected[inside]), atol=1e-9)
    assert (model.log_density(where)[~inside] == -np.inf).all()
    with pytest.raises(ValueError, match="one column a marginal"):
        model.density(where[:, :-1])


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), steps, st.integers(1, 5))
def test_counts_do_not_depend_on_the_partitioning(
    values: list[float], step: float, parts: int
) -> None:
    cells = histogram.cell(values, step)
    whole = histogram.from_cells(cells, np.ones(len(cells), np.int64), step)
    merged = [np.unique(cells[part::parts], return_counts=True) for part in range(parts)]
    again = histogram.from_cells(
        np.concatenate([pair[0] for pair in merged]),
        np.concatenate([pair[1] for pair in merged]),
        step,
    )
    assert whole.origin == again.origin
    assert whole.counts.tolist() == again.counts.tolist()
    assert whole.n == len(values)
    low = np.asarray(values) >= (cells - 0.5) * step - 1e-9
    high = np.asarray(values) < (cells + 0.5) * step + 1e-9
    assert (low & high).all()


def test_cells_are_half_open_around_zero() -> None:
    assert histogram.cell([-0.5, -0.51, 0.0, 0.49, 0.5, 1.5], 1.0).tolist() == [0, -1, 0, 0, 1, 2]


def test_steps() -> None:
    assert histogram.step("scott", 1000, 2.0, 10.0) == pytest.approx(0.69816)
    assert histogram.step(0.25, 1000, 2.0, 10.0) == 0.25
    assert histogram.step("scott", 10**9, 1e-3, 4096.0) == 1.0
    assert histogram.step("scott", 5, 0.0, 0.0) == 1.0
    with pytest.raises(ValueError, match="is not a rule"):
        histogram.step("magic", 5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("step", "numbers"), [(0.0, [1]), (-1.0, [1]), (1.0, []), (1.0, [0]), (1.0, [-1, 2])]
)
def test_bad_histograms_are_refused(step: float, numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        histogram.Histogram(0.0, step, np.array(numbers, np.int64))
