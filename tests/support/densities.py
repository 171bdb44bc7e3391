"""What tests of the densities share: random marginals, the definition of a spline, a cloud."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import interpolate, stats

from udfs.density import histogram
from udfs.density.bspline import Spline, kernel
from udfs.density.marginal import Marginal

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


def cloud(seed: int, n: int, width: int) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    spread = np.linspace(3, 0.2, width)
    return (draw.normal(size=(n, width)) * spread + draw.normal(size=width)).astype(np.float32)


def assert_is_scipys_spline(model: Spline) -> None:
    """Value, gradient and cdf are those of SciPy's spline of the same coefficients."""
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
