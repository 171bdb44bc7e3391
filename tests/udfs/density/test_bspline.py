"""The quadratic B-spline and the laws of `Spline`, and the definition beside the fast form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.support.densities import (
    assert_is_scipys_spline,
    by_definition,
    integral,
    knots,
    marginals,
    points,
    steps,
)
from udfs.density import histogram
from udfs.density.bspline import kernel, kernel_integral
from udfs.density.marginal import Marginal


def test_kernel_by_hand() -> None:
    """h = 2: B(0) = 3/4, B(1) = 1/2, B(2) = 1/8, B(3) = 0."""
    assert kernel([0, 1, -1, 2, 3, 9], 2).tolist() == [0.75, 0.5, 0.5, 0.125, 0, 0]


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
def test_smooth_at_the_knots(model: Marginal) -> None:
    """Value and first derivative are continuous."""
    h = model.histogram.step
    small = 1e-6 * h
    t = knots(model)
    left, here, right = (model.value(t + shift) for shift in (-small, 0.0, small))
    assert np.allclose(left, here, atol=1e-5)
    assert np.allclose((here - left) / small * h, (right - here) / small * h, atol=1e-4)


def test_cdf_by_hand() -> None:
    """One cell of width 1: F(−3/2) = 0, F(−1/2) = 1/6, F(0) = 1/2, F(1/2) = 5/6, F(3/2) = 1."""
    t = [-np.inf, -1.5, -0.5, 0.0, 0.5, 1.5, np.inf]
    model = Marginal(histogram.Histogram(0.0, 1.0, np.array([7])))
    expected = np.array([0, 0, 1 / 6, 1 / 2, 5 / 6, 1, 1])
    assert np.allclose(model.cdf(t), expected, atol=1e-15)
    assert np.allclose(kernel_integral(np.array(t) * 2, 2.0), expected, atol=1e-15)
    assert np.allclose(model.quantile(expected), [-1.5, -1.5, -0.5, 0.0, 0.5, 1.5, 1.5], atol=1e-14)


@settings(deadline=None)
@given(marginals())
def test_value_gradient_and_cdf_are_those_of_scipys_spline(model: Marginal) -> None:
    assert_is_scipys_spline(model)


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
