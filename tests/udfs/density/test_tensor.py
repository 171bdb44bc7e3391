"""The laws of the tensor model, and the definition beside the fast form."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.densities import follows, marginals
from udfs.density import histogram
from udfs.density.bspline import kernel
from udfs.density.marginal import HALF_CELLS, Marginal
from udfs.density.separable import Separable
from udfs.density.tensor import Tensor

Array = NDArray[np.float64]


@st.composite
def tensors(draw: st.DrawFn, most: int = 3, fewest: int = 1) -> Tensor:
    """A few cells, some of them neighbours, some far apart."""
    axes = draw(st.integers(fewest, most))
    place = st.integers(-4, 4) | st.integers(-300, 300)
    cells = draw(st.lists(st.tuples(*[place] * axes), min_size=1, max_size=8))
    counts = draw(st.lists(st.integers(1, 50), min_size=len(cells), max_size=len(cells)))
    steps = draw(st.lists(st.floats(0.05, 20), min_size=axes, max_size=axes))
    return Tensor(histogram.joint(cells, counts, steps))


def correlated(n: int, axes: int, seed: int = 0) -> Array:
    """Normal points, all pairs of axes with the correlation 0.6."""
    draw = np.random.default_rng(seed).normal(size=(n, axes + 1))
    return np.asarray(math.sqrt(0.4) * draw[:, 1:] + math.sqrt(0.6) * draw[:, :1])


def fitted(points: Array) -> Tensor:
    steps = [histogram.step_of(column) for column in points.T]
    return Tensor(histogram.joint(histogram.cell(points, steps), np.ones(len(points), int), steps))


def by_definition(model: Tensor, points: Array) -> Array:
    """S(t) = Σ p Π_k B(t_k − t_{k,ik}), term by term (paper, eq. 2)."""
    total = np.zeros(len(points))
    for p, centre in zip(model.joint.probabilities, model.joint.centres, strict=True):
        term = np.full(len(points), p)
        for t, middle, step in zip(points.T, centre, model.joint.steps, strict=True):
            term = term * kernel(t - middle, step)
        total += term
    return total


def around(model: Tensor, n: int = 60) -> Array:
    """Points at the model's cells, in its gaps and outside."""
    draw = np.random.default_rng(1)
    near = model.sample(n, draw)
    low, high = near.min(axis=0), near.max(axis=0)
    far = draw.uniform(low - 3 * model.joint.steps, high + 3 * model.joint.steps, near.shape)
    centres = model.joint.centres
    return np.concatenate([near, far, centres, centres + model.joint.steps * [0.5]])


def grid(model: Tensor, nodes: int) -> list[tuple[Array, Array]]:
    """Gauss–Legendre points on the half cells of the whole box, and their weights: of each axis."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    axes = []
    for cells, step in zip(model.joint.cells.T, model.joint.steps, strict=True):
        halves = np.arange(2 * cells.min() - 3, 2 * cells.max() + 3) / 2
        t = (halves[:, None] + 0.25 * (x + 1)) * step
        axes.append((t.ravel(), np.tile(0.25 * step * w, halves.size)))
    return axes


def test_by_hand() -> None:
    """Halves in (0, 0) and (1, 1): S(0, 0) = ½(¾² + ⅛²), S(½, ½) = ½(¼ + ¼), S(0, 1) = ¾·⅛."""
    model = Tensor(histogram.joint([[0, 0], [1, 1]], [5, 5], [1.0, 1.0]))
    found = model.value(np.array([[0, 0], [0.5, 0.5], [0, 1], [9, 9], [0, -1.5]]))
    assert found.tolist() == [0.5 * (0.75**2 + 0.125**2), 0.25, 0.75 * 0.125, 0, 0]
    assert model.mean.tolist() == [0.5, 0.5]
    assert model.covariance.tolist() == [[0.5, 0.25], [0.25, 0.5]]
    assert model.cdf([[0.5, 0.5], [-1.5, 9.0], [9.0, 9.0]]) == pytest.approx(
        [((5 / 6) ** 2 + (1 / 6) ** 2) / 2, 0, 1]
    )


@settings(deadline=None)
@given(tensors())
def test_fast_form_is_the_definition(model: Tensor) -> None:
    points = around(model)
    expected = by_definition(model, points)
    assert np.allclose(model.value(points), expected, atol=1e-12)
    volume = model.joint.steps.prod()
    assert np.allclose(model.density(points) * volume, expected, atol=1e-12)
    inside = expected > 1e-9
    assert np.allclose(
        model.log_density(points)[inside], np.log(expected[inside] / volume), atol=1e-5
    )
    assert (model.log_density(points)[model.value(points) == 0] == -np.inf).all()


@settings(deadline=None)
@given(tensors())
def test_gradient_is_the_slope_of_the_density(model: Tensor) -> None:
    points = around(model)
    volume, small = model.joint.steps.prod(), 1e-5
    gradient = model.gradient(points)
    for k, step in enumerate(model.joint.steps):
        shift = np.zeros(model.axes)
        shift[k] = small * step
        rise = (model.value(points + shift) - model.value(points - shift)) / (2 * small)
        assert np.allclose(gradient[:, k] * volume * step, rise, atol=2e-5)
    density = model.density(points)
    inside = density > 0
    with np.errstate(over="ignore"):
        expected = gradient[inside] / density[inside, None]
    assert np.allclose(model.log_gradient(points)[inside], expected)
    assert np.isnan(model.log_gradient(points)[~inside]).all()


@settings(deadline=None)
@given(st.lists(marginals(), min_size=1, max_size=3), st.integers(0, 2**31))
def test_on_a_product_of_histograms_it_is_the_separable_model(
    axes: list[Marginal], seed: int
) -> None:
    separable = Separable(axes)
    cells = list(product(*(axis.histogram.cells for axis in axes)))
    counts = np.prod(list(product(*(axis.histogram.counts for axis in axes))), axis=1)
    model = Tensor(histogram.joint(cells, counts, [axis.histogram.step for axis in axes]))
    points = np.concatenate([separable.sample(30, seed), model.sample(30, seed)])
    steps = model.joint.steps
    volume = steps.prod()
    assert np.allclose(model.value(points), separable.value(points), atol=1e-12)
    found = model.gradient(points) * volume * steps
    assert np.allclose(found, separable.gradient(points) * volume * steps, atol=1e-11)
    assert np.allclose(model.cdf(points), separable.cdf(points), atol=1e-11)
    assert np.allclose(model.mean / steps, separable.mean / steps)
    expected = np.diag(separable.variance / steps**2)
    assert np.allclose(model.covariance / np.outer(steps, steps), expected, atol=1e-8)
    for axis, marginal in enumerate(axes):
        assert np.array_equal(
            model.marginal(axis).histogram.probabilities, marginal.histogram.probabilities
        )
    if len(axes) <= 2:
        assert model.entropy() == pytest.approx(separable.entropy(), abs=1e-7)
        assert model.kl_from_separable() == pytest.approx(0, abs=1e-7)
    drawn = model.kl_from_separable_sampled(20, seed)
    assert drawn == pytest.approx((0, 0), abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=6),
    st.floats(0.1, 9),
)
def test_integrals(cells: list[tuple[int, int]], step: float) -> None:
    """Of the density, its first two moments, its logarithm and the divergence, on the whole box."""
    model = Tensor(histogram.joint(cells, range(1, len(cells) + 1), [step, 2 * step]))
    (first, of_first), (second, of_second) = grid(model, 6)
    points = np.array(list(product(first, second)))
    weights = np.outer(of_first, of_second).ravel()
    f = by_definition(model, points) / (2 * step**2)
    assert f @ weights == pytest.approx(1)
    mean = (f * weights) @ points
    assert np.allclose(model.mean, mean, atol=1e-9 * step)
    covariance = (f * weights * (points - mean).T) @ (points - mean)
    assert np.allclose(model.covariance, covariance, atol=1e-9 * step**2)
    some = f > 0
    logs = np.log(f[some])
    assert model.entropy() == pytest.approx(-(f * weights)[some] @ logs, abs=1e-5)
    apart = model.separable().log_density(points)[some]
    divergence = (f * weights)[some] @ (logs - apart)
    assert model.kl_from_separable() == pytest.approx(divergence, abs=1e-5)
    along = f.reshape(first.size, -1) @ of_second
    assert np.allclose(along, model.marginal(0).density(first), atol=1e-9 / step)
    along = of_first @ f.reshape(first.size, -1)
    assert np.allclose(along, model.marginal(1).density(second), atol=1e-9 / step)


@settings(deadline=None)
@given(tensors(most=1), st.integers(0, 9))
def test_of_one_axis_it_is_the_marginal(model: Tensor, seed: int) -> None:
    marginal = model.marginal(0)
    points = around(model)
    t = points[:, 0]
    assert np.allclose(model.value(points), marginal.value(t), atol=1e-12)
    assert np.allclose(model.cdf(points), marginal.cdf(t), atol=1e-12)
    assert model.covariance[0, 0] == pytest.approx(marginal.variance)
    assert model.entropy() == pytest.approx(marginal.entropy(), abs=1e-9)
    assert model.kl_from_separable() == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(tensors(most=3), st.integers(-50, 50), st.floats(0.1, 10))
def test_shift_and_scale(model: Tensor, cells: int, scale: float) -> None:
    joint = model.joint
    moved = Tensor(histogram.joint(joint.cells + cells, joint.counts, joint.steps * scale))
    points = around(model)
    again = (points + cells * joint.steps) * scale
    assert np.allclose(moved.value(again), model.value(points), atol=1e-9)
    assert np.allclose(moved.cdf(again), model.cdf(points), atol=1e-9)
    if model.axes <= 2:
        expected = model.entropy() + model.axes * math.log(scale)
        assert moved.entropy() == pytest.approx(expected, abs=1e-9)


def test_samples_follow_the_model() -> None:
    model = fitted(correlated(300, 2))
    drawn = model.sample(20_000, 5)
    assert np.array_equal(drawn, model.sample(20_000, np.random.default_rng(5)))
    for axis in (0, 1):
        assert follows(drawn[:, axis], model.marginal(axis))
    assert np.allclose(np.cov(drawn.T), model.covariance, atol=0.03)
    corners = np.array(list(product([-1.0, -0.3, 0.4, 1.1], repeat=2)))
    shares = (drawn[None] <= corners[:, None]).all(axis=2).mean(axis=1)
    expected = model.cdf(corners)
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected / 20_000)).all()


def test_sampled_entropy_and_divergence_agree_with_the_integrals() -> None:
    model = fitted(correlated(2000, 2))
    for drawn, exact in (
        (model.entropy_sampled(20_000, 0), model.entropy()),
        (model.kl_from_separable_sampled(20_000, 0), model.kl_from_separable()),
    ):
        assert 0 < drawn.error < 0.02
        assert abs(drawn.value - exact) < 4 * drawn.error


def test_the_divergence_shows_dependence() -> None:
    """Of normal coordinates with the correlation ρ it is −½ ln(1 − ρ²): 0.223 for ρ = 0.6."""
    dependent = fitted(correlated(50_000, 2)).kl_from_separable()
    assert dependent == pytest.approx(-0.5 * math.log(1 - 0.36), abs=0.02)
    draw = np.random.default_rng(0).normal(size=(50_000, 2))
    assert fitted(draw).kl_from_separable() < 0.02


def test_entropy_of_three_axes_is_drawn() -> None:
    model = fitted(correlated(200, 3))
    for method in (model.entropy, model.kl_from_separable):
        with pytest.raises(ValueError, match="3 axes are too many to integrate over"):
            method()


def test_what_cannot_be_is_refused_and_nan_stays() -> None:
    model = fitted(correlated(50, 2))
    for wrong in (np.zeros(2), np.zeros((4, 3)), np.zeros((1, 2, 2))):
        for function in (model.value, model.gradient, model.cdf):
            with pytest.raises(ValueError, match="one column an axis"):
                function(wrong)
    points = np.array([[np.nan, 0.0], [0.0, 0.0], [0.0, np.nan], [np.inf, -np.inf]])
    expected = [True, False, True, False]
    for function in (model.value, model.density, model.log_density, model.cdf):
        assert np.isnan(function(points)).tolist() == expected
    assert model.value(np.zeros((0, 2))).shape == (0,)
    assert model.cdf(np.zeros((0, 2))).shape == (0,)
    far = histogram.joint([[0] * 4, [2**20] * 4], [1, 1], [1.0] * 4)
    with pytest.raises(ValueError, match="take larger steps or fewer axes"):
        Tensor(far)


def test_many_points_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(correlated(200, 2))
    points = around(model, 500)

    def everything() -> list[Array]:
        entropy = np.array(model.entropy())
        return [model.value(points), model.cdf(points), model.gradient(points), entropy]

    whole = everything()
    monkeypatch.setattr("udfs.density.tensor.AT_A_TIME", 2000)
    for left, right in zip(whole, everything(), strict=True):
        assert np.allclose(left, right, rtol=1e-12)
    assert HALF_CELLS.size**2 < 2000
