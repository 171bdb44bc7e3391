"""The laws of the spline model (spec §5), and the definition beside the fast form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import interpolate, stats
from scipy.integrate import quad

from udfs.density import histogram, marginal
from udfs.density.bspline import Spline, kernel, kernel_integral
from udfs.density.corrected import Corrected
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable

counts = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any)
steps = st.floats(0.05, 20)
firsts = st.integers(-30, 30)


@st.composite
def marginals(draw: st.DrawFn) -> Marginal:
    numbers = np.trim_zeros(np.array(draw(counts)))
    step = draw(steps)
    return Marginal(histogram.Histogram(draw(firsts) * step, step, numbers))


def by_definition(model: Spline, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """S(t) = Σ c_i B(t − t_i), term by term (paper, eq. 2)."""
    h = model.histogram.step
    terms = enumerate(model.coefficients, model.first)
    return np.asarray(sum(c * kernel(t - i * h, h) for i, c in terms))


def points(model: Spline, n: int = 301) -> NDArray[np.float64]:
    low, high = model.support
    return np.linspace(low - model.histogram.step, high + model.histogram.step, n)


def knots(model: Spline) -> NDArray[np.float64]:
    low, high = model.support
    return np.linspace(low, high, model.coefficients.size + 3)


def follows(drawn: NDArray[np.float64], model: Marginal) -> bool:
    """Whether values are drawn from the model, by Kolmogorov and Smirnov's test at 1 %."""
    uniform = model.cdf(drawn)
    return bool(stats.kstest(uniform, "uniform").pvalue > 0.01)


def integral(model: Spline, function: object) -> float:
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


@settings(deadline=None)
@given(steps, st.floats(-5, 5))
def test_partition_of_unity(step: float, t: float) -> None:
    total = sum(float(kernel(t - i * step, step)) for i in range(-150, 151))
    assert total == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(steps)
def test_kernel_integrates_to_the_step(step: float) -> None:
    value, _ = quad(
        lambda t: float(kernel(t, step)), -1.5 * step, 1.5 * step, points=[-step / 2, step / 2]
    )
    assert value == pytest.approx(step, rel=1e-9)


@settings(deadline=None)
@given(marginals())
def test_fast_form_is_the_definition(model: Marginal) -> None:
    t = points(model)
    assert np.allclose(model.value(t), by_definition(model, t), atol=1e-13)


@settings(deadline=None)
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


@settings(deadline=None)
@given(marginals())
def test_cell_means(model: Marginal) -> None:
    """The mean of S over cell i: (p_{i−1} + 4 p_i + p_{i+1})/6 (paper: "in the mean")."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    cells = model.histogram
    halves = [cells.centres[:, None] + cells.step * (nodes / 4 + side) for side in (-0.25, 0.25)]
    means = sum(model.value(t) @ weights / 4 for t in halves)
    p = np.pad(cells.probabilities, 1)
    assert np.allclose(means, (p[:-2] + 4 * p[1:-1] + p[2:]) / 6, atol=1e-12)


@settings(deadline=None)
@given(marginals())
def test_never_negative_and_at_least_half_of_an_occupied_cell(model: Marginal) -> None:
    assert (model.value(points(model)) >= 0).all()
    cells = model.histogram
    for share in (-0.5, -0.2, 0.0, 0.3, 0.499):
        values = model.value(cells.centres + share * cells.step)
        assert (values >= cells.probabilities / 2 - 1e-12).all()


@settings(deadline=None)
@given(marginals())
def test_smooth_at_the_knots(model: Marginal) -> None:
    """Value and first derivative are continuous."""
    h = model.histogram.step
    small = 1e-6 * h
    t = knots(model)
    left, here, right = (model.value(t + shift) for shift in (-small, 0.0, small))
    assert np.allclose(left, here, atol=1e-5)
    assert np.allclose((here - left) / small * h, (right - here) / small * h, atol=1e-4)


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


def test_cdf_by_hand() -> None:
    """One cell of width 1: F(−3/2) = 0, F(−1/2) = 1/6, F(0) = 1/2, F(1/2) = 5/6, F(3/2) = 1."""
    t = [-np.inf, -1.5, -0.5, 0.0, 0.5, 1.5, np.inf]
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([7])))
    expected = np.array([0, 0, 1 / 6, 1 / 2, 5 / 6, 1, 1])
    assert np.allclose(model.cdf(t), expected, atol=1e-15)
    assert np.allclose(kernel_integral(np.array(t) * 2, 2.0), expected, atol=1e-15)
    assert np.allclose(model.quantile(expected), [-1.5, -1.5, -0.5, 0.0, 0.5, 1.5, 1.5], atol=1e-14)


@settings(deadline=None)
@given(marginals(), st.booleans())
def test_value_gradient_and_cdf_are_those_of_scipys_spline(model: Spline, corrected: bool) -> None:
    model = Corrected(model.histogram) if corrected else model
    h = model.histogram.step
    low, high = model.support
    wide = np.pad(model.coefficients, 2) / h  # SciPy's is a spline where three bases are above 0
    spline = interpolate.BSpline(low + h * np.arange(-2, wide.size + 1), wide, 2)
    t = points(model)
    t = t[(t > low) & (t < high)]
    scale = 1e-9 * (1 + abs(low) / h)  # the knots are rounded
    assert np.allclose(model.density(t) * h, spline(t) * h, atol=scale)
    assert np.allclose(model.gradient(t) * h**2, spline.derivative()(t) * h**2, atol=scale)
    integral = spline.antiderivative()
    assert np.allclose(model.cdf(t), integral(t) - integral(low), atol=scale)


@settings(deadline=None)
@given(marginals())
def test_cdf_is_the_definition(model: Marginal) -> None:
    t, cells = points(model), model.histogram
    terms = zip(cells.probabilities, cells.centres, strict=True)
    expected = sum(p * kernel_integral(t - centre, cells.step) for p, centre in terms)
    assert np.allclose(model.cdf(t), expected, atol=1e-13)
    assert (np.diff(model.cdf(t)) >= -1e-15).all()
    low, high = model.support
    assert model.cdf([low, high]) == pytest.approx([0, 1], abs=1e-15)
    assert model.cdf([-np.inf, low - 1, high + 1, np.inf]).tolist() == [0, 0, 1, 1]


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
    found = marginal._climbed(rise, *cubic)
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


@settings(deadline=None)
@given(marginals())
def test_corrected(model: Marginal) -> None:
    """Integral 1, the stated moments, and means over cells of p − δ⁴p/36: p to O(h⁴)."""
    cells, h = model.histogram, model.histogram.step
    corrected = Corrected(cells)
    p = np.pad(cells.probabilities, 1)
    assert np.allclose(corrected.coefficients, p - np.diff(np.pad(p, 1), 2) / 6, atol=1e-15)
    low, high = model.support
    assert corrected.support == pytest.approx((low - h, high + h), abs=1e-9 * h)
    t = points(corrected)
    assert np.allclose(corrected.value(t), by_definition(corrected, t), atol=1e-13)
    assert integral(corrected, lambda t: 1.0) == pytest.approx(1, rel=1e-12)
    assert corrected.cdf(corrected.support) == pytest.approx([0, 1], abs=1e-12)
    mean = integral(corrected, lambda t: t)
    assert corrected.mean == model.mean == pytest.approx(mean, abs=1e-9 * (h + abs(mean)))
    second, third, fourth = (integral(corrected, lambda t, k=k: (t - mean) ** k) for k in (2, 3, 4))
    assert corrected.variance == pytest.approx(second, rel=1e-7, abs=1e-9 * h**2)
    grouped = model.variance - h**2 / 4
    assert corrected.variance == pytest.approx(grouped - h**2 / 12, abs=1e-9 * h**2)
    if second > 0.01 * h**2:
        assert corrected.skewness == pytest.approx(third / second**1.5, abs=1e-5)
        assert corrected.excess_kurtosis == pytest.approx(fourth / second**2 - 3, abs=1e-5)
    edges = h * (np.arange(cells.first - 1, cells.first + cells.counts.size + 2) - 0.5)
    means = np.diff(corrected.cdf(edges))
    assert np.allclose(means, p - np.diff(np.pad(p, 2), 4) / 36, atol=1e-12)


def test_cell_means_agree_to_the_second_and_the_fourth_order() -> None:
    """Halving h divides the difference by 4 without the correction, by 16 with it."""

    def difference(kind: type[Spline], step: float) -> float:
        cells = np.arange(-round(6 / step), round(6 / step) + 1)
        counts = np.diff(stats.norm.cdf(step * (np.append(cells, cells[-1] + 1) - 0.5))) * 1e15
        model = kind(histogram.from_cells(cells, counts.astype(np.int64), step))
        middle = step * (np.arange(-2, 4) - 0.5)
        means, p = np.diff(model.cdf(middle)), np.diff(stats.norm.cdf(middle))
        return float(np.abs(means / p - 1)[2])

    for kind, order in ((Marginal, 2), (Corrected, 4)):
        ratio = difference(kind, 0.4) / difference(kind, 0.2)
        assert math.log2(ratio) == pytest.approx(order, abs=0.25)


def test_what_the_correction_does_not_allow_is_refused_with_the_reason() -> None:
    model = Corrected(histogram.Histogram(0.0, 1.0, np.array([9, 0, 9])))
    assert model.density(-2.0) < 0 < model.density(0.0)
    for name in ("log_density", "quantile", "sample", "entropy", "to_normal"):
        with pytest.raises(AttributeError, match="its density may be negative"):
            getattr(model, name)
    with pytest.raises(AttributeError, match=r"has no 'qantile'$"):
        getattr(model, "qantile")  # noqa: B009


@settings(deadline=None)
@given(st.lists(marginals(), min_size=1, max_size=4), st.integers(0, 2**31))
def test_separable_has_what_its_marginals_have(axes: list[Marginal], seed: int) -> None:
    model = Separable(axes)
    where = model.sample(50, seed)
    assert where.shape == (50, len(axes))
    columns = list(zip(axes, where.T, strict=True))
    steps = np.array([axis.histogram.step for axis in axes])
    assert np.allclose(model.cdf(where), np.prod([a.cdf(t) for a, t in columns], axis=0))
    expected = model.density(where)[:, None] * model.log_gradient(where)
    scale = (model.density(where).max() / steps.min()) * 1e-12
    assert np.allclose(model.gradient(where), expected, rtol=1e-9, atol=scale)
    back = model.from_uniform(model.to_uniform(where))
    again = model.from_normal(model.to_normal(where))
    dense = np.stack([a.value(t) > 1e-3 for a, t in columns], axis=1)
    assert np.allclose((back / steps)[dense], (where / steps)[dense], atol=1e-8)
    assert np.allclose((again / steps)[dense], (where / steps)[dense], atol=1e-6)
    assert model.mean.tolist() == [axis.mean for axis in axes]
    assert model.variance.tolist() == [axis.variance for axis in axes]
    assert model.entropy() == pytest.approx(sum(axis.entropy() for axis in axes))


def test_the_columns_of_a_separable_sample_are_independent() -> None:
    axis = Marginal(histogram.Histogram(0.0, 1.0, np.array([3, 0, 0, 1])))
    drawn = Separable([axis, axis]).sample(20_000, 3)
    assert abs(np.cov(drawn.T)[0, 1]) < 0.03 * axis.variance
    assert follows(drawn[:, 1], axis)
