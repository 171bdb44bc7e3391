"""The quadratic B-spline over the cells of a histogram, on which all densities here are built.

Use `udfs.density.marginal.Marginal` for the density of one coordinate; this module holds what every
spline of a histogram has in common (paper, eq. 2). In cell i, at r = t/h − i from its centre
(|r| ≤ ½), three B-splines are above 0: `heights` gives their values, `slopes` their derivatives and
`integrals` their integrals, from which density, gradient and cdf follow exactly. SciPy's `BSpline`
and `PPoly` give the same values (the tests compare them), but search the knots for every point, and
have no moments, quantiles or samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from udfs.density.histogram import Cells, Histogram

Array = NDArray[np.float64]
BasisValues = tuple[Array, Array, Array]  # of the B-splines of the cell before, this one, the next
Indices = NDArray[np.intp]

EMPTY = 3  # empty cells at each side, so that a point beyond the support has three cells as well


def kernel(t: ArrayLike, step: float) -> Array:
    """Return the quadratic B-spline B(t) of step h, in an array of the shape of t.

    B(t) = 3/4 − (t/h)² for |t| ≤ h/2; (3/2 − |t|/h)²/2 for h/2 ≤ |t| ≤ 3h/2; 0 beyond (paper, after
    eq. 2). Σ_i B(t − ih) = 1 and ∫B = h.

    >>> kernel([0.0, 0.5, 1.0, 1.5], step=1.0).tolist()
    [0.75, 0.5, 0.125, 0.0]
    """
    u = np.abs(np.asarray(t, np.float64) / step)
    return np.where(u <= 0.5, 0.75 - u * u, 0.5 * np.square(np.clip(1.5 - u, 0.0, None)))


def kernel_integral(t: ArrayLike, step: float) -> Array:
    """Return ∫B/h up to t, in [0, 1] and of the shape of t.

    With u = t/h it is ½ + 3u/4 − u³/3 for |u| ≤ ½, 1 − (3/2 − u)³/6 above, and by symmetry
    (3/2 + u)³/6 below.
    """
    u = np.clip(np.asarray(t, np.float64) / step, -1.5, 1.5)
    tail = (1.5 - np.abs(u)) ** 3 / 6
    middle = 0.5 + u * (0.75 - u * u / 3)
    return np.where(np.abs(u) <= 0.5, middle, np.where(u < 0, tail, 1 - tail))


def heights(r: Array) -> BasisValues:
    """Return B of the cell before, this one and the next at r ∈ [−½, ½] cells from the centre."""
    return 0.5 * np.square(0.5 - r), 0.75 - r * r, 0.5 * np.square(0.5 + r)


def slopes(r: Array) -> BasisValues:
    """Return h·B′ of the B-splines of the cell before, this one and the next at r."""
    return r - 0.5, -2 * r, r + 0.5


def integrals(r: Array) -> BasisValues:
    """Return ∫B/h up to r of the B-splines of the cell before, this one and the next."""
    before, after = 0.5 - r, 0.5 + r
    return (
        1 - before * before * before / 6,
        0.5 + r * (0.75 - r * r / 3),
        after * after * after / 6,
    )


def combined(basis: BasisValues, coefficients: Array, i: Indices) -> Array:
    """Return Σ_k basis_k·c_{i−1+k} over the cell before, this one and the next."""
    before, here, after = basis
    sums = before * coefficients[i - 1]
    sums += here * coefficients[i]
    sums += after * coefficients[i + 1]
    return sums


@dataclass(frozen=True)
class Spline:
    """The function S(t) = Σ c_i B(t − t_i) over a histogram; S/h is a density (paper, eq. 2).

    Points t are arrays of any shape, in the unit of the values, and results have their shape. If a
    point is NaN, so is the result. A subclass says which coefficients c_i the histogram gives.
    """

    histogram: Histogram

    WIDENING: ClassVar[float]  # the variance is the grouped one + WIDENING·h²
    FLATTENING: ClassVar[float]  # the fourth cumulant is the grouped one + FLATTENING·h⁴

    @property
    def coefficients(self) -> Array:
        """The coefficients c_i from the cell `first` on, which sum to 1: (coefficients,)."""
        return np.asarray(self._numerators / self._denominator, np.float64)

    @property
    def first(self) -> int:
        """The number i of the first coefficient's cell."""
        return self.histogram.first

    @property
    def support(self) -> tuple[float, float]:
        """The ends of the support: the cells of all coefficients and one more at each side."""
        first, h = self.first, self.histogram.step
        return (first - 1.5) * h, (first + self._numerators.size + 0.5) * h

    def value(self, t: ArrayLike) -> Array:
        """Return S(t), from the three cells around each point."""
        i, r = self.locate(t)
        return combined(heights(r), self.padded, i)

    def density(self, t: ArrayLike) -> Array:
        """Return the density S(t)/h, which integrates to 1."""
        return np.asarray(self.value(t) / self.histogram.step)

    def gradient(self, t: ArrayLike) -> Array:
        """Return the derivative S′(t)/h of the density: continuous and piecewise linear."""
        i, r = self.locate(t)
        return np.asarray(combined(slopes(r), self.padded, i) / self.histogram.step**2)

    def cdf(self, t: ArrayLike) -> Array:
        """Return F(t) = ∫S/h up to t: piecewise cubic, 0 below the support and 1 above."""
        i, r = self.locate(t)
        return np.asarray(self._sums[i - 2] + combined(integrals(r), self.padded, i))

    @property
    def mean(self) -> float:
        """The mean, which is the histogram's since B is symmetric."""
        return float(self.histogram.probabilities @ self.histogram.centres)

    @property
    def variance(self) -> float:
        """The variance Σ p_i (t_i − m)² + WIDENING·h²."""
        return self._moment(2) + self.WIDENING * self.histogram.step**2

    @property
    def skewness(self) -> float:
        """The skewness: the third central moment is the grouped one."""
        return float(self._moment(3) / self.variance**1.5)

    @property
    def excess_kurtosis(self) -> float:
        """The excess kurtosis: the fourth cumulant is the grouped one + FLATTENING·h⁴."""
        grouped = self._moment(4) - 3 * self._moment(2) ** 2
        return float((grouped + self.FLATTENING * self.histogram.step**4) / self.variance**2)

    def _moment(self, order: int) -> float:
        """Return the grouped central moment Σ p_i (t_i − m)^k."""
        return float(self.histogram.probabilities @ (self.histogram.centres - self.mean) ** order)

    @property
    def _numerators(self) -> Cells:
        """The coefficients times `_denominator`: whole numbers, which add up without rounding."""
        return self.histogram.counts

    @property
    def _denominator(self) -> int:
        return self.histogram.n

    @cached_property
    def padded(self) -> Array:
        """The coefficients with EMPTY zeros at each side, as `locate` counts them."""
        return np.pad(self.coefficients, EMPTY)

    @cached_property
    def _sums(self) -> Array:
        """The sums of the padded coefficients up to each one."""
        return np.asarray(np.cumsum(np.pad(self._numerators, EMPTY)) / self._denominator)

    def locate(self, t: ArrayLike) -> tuple[Indices, Array]:
        """Return the index i of each point's cell in `padded`, and r, its distance from the centre.

        Points outside the support are moved to its ends.
        """
        u = np.asarray(t, np.float64) / self.histogram.step - (self.first - EMPTY)
        u = np.clip(u, EMPTY - 1.5, self.padded.size - EMPTY + 0.5)
        i = np.fmax(np.floor(u + 0.5), 2.0)  # NaN goes to cell 2, and its r stays NaN
        return i.astype(np.intp), u - i
