"""The spline with corrected coefficients: its definition, its order, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from benchmarks.corrected import Corrected
from tests.support.densities import (
    assert_is_scipys_spline,
    by_definition,
    integral,
    marginals,
    points,
)
from udfs.density import histogram
from udfs.density.bspline import Spline
from udfs.density.marginal import Marginal


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
@given(marginals())
def test_value_gradient_and_cdf_are_those_of_scipys_spline(model: Marginal) -> None:
    assert_is_scipys_spline(Corrected(model.histogram))
