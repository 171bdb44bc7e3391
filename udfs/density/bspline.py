"""Densities from histograms by quadratic B-splines: marginals and their product (paper, eq. 2).

In cell i, at r = t/h − i from its centre (|r| ≤ ½), three B-splines are above 0: `heights`. Their
derivatives and integrals, `slopes` and `integrals`, give gradient and cdf exactly. SciPy's
`BSpline` and `PPoly` evaluate the same (the tests compare), but search the knots for every point
and have no moments, quantiles or samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from udfs.density.histogram import Cells, Histogram

Array = NDArray[np.float64]
Three = tuple[Array, Array, Array]
Places = NDArray[np.intp]

EMPTY = 3  # cells added at each side, so that every point beyond has its three, all empty


def kernel(t: ArrayLike, step: float) -> Array:
    """The quadratic B-spline of step h: B(t), support [−3h/2, 3h/2], Σ B(t − ih) = 1, ∫B = h.

    B(t) = 3/4 − (t/h)² for |t| ≤ h/2; (3/2 − |t|/h)²/2 for h/2 ≤ |t| ≤ 3h/2; 0 beyond.
    """
    u = np.abs(np.asarray(t, np.float64) / step)
    return np.where(u <= 0.5, 0.75 - u * u, 0.5 * np.square(np.clip(1.5 - u, 0.0, None)))


def kernel_integral(t: ArrayLike, step: float) -> Array:
    """∫B/h up to t, in [0, 1]: with u = t/h, ½ + 3u/4 − u³/3 for |u| ≤ ½; 1 − (3/2 − u)³/6 above.

    Below −½, by symmetry, 1 minus that of −u.
    """
    u = np.clip(np.asarray(t, np.float64) / step, -1.5, 1.5)
    tail = (1.5 - np.abs(u)) ** 3 / 6
    middle = 0.5 + u * (0.75 - u * u / 3)
    return np.where(np.abs(u) <= 0.5, middle, np.where(u < 0, tail, 1 - tail))


def heights(r: Array) -> Three:
    """B of the cell before, this one and the next, r ∈ [−½, ½] cells from this one's centre."""
    return 0.5 * np.square(0.5 - r), 0.75 - r * r, 0.5 * np.square(0.5 + r)


def slopes(r: Array) -> Three:
    """h·B′ of the same three."""
    return r - 0.5, -2 * r, r + 0.5


def integrals(r: Array) -> Three:
    """∫B/h up to there of the same three."""
    before, after = 0.5 - r, 0.5 + r
    return (
        1 - before * before * before / 6,
        0.5 + r * (0.75 - r * r / 3),
        after * after * after / 6,
    )


def combined(three: Three, coefficients: Array, i: Places) -> Array:
    """Σ three_k c_{i−1+k}."""
    before, here, after = three
    sums = before * coefficients[i - 1]
    sums += here * coefficients[i]
    sums += after * coefficients[i + 1]
    return sums


@dataclass(frozen=True)
class Spline:
    """S(t) = Σ c_i B(t − t_i), density S/h, over the cells of a histogram (paper, eq. 2).

    Points t are arrays of any shape, in the unit of the values; results have their shape. Where a
    point is NaN, so is the result.
    """

    histogram: Histogram

    WIDENING: ClassVar[float]  # variance minus the grouped one, in h²
    FLATTENING: ClassVar[float]  # fourth cumulant minus the grouped one, in h⁴

    @property
    def coefficients(self) -> Array:
        """c_i from the cell `first` on: they sum to 1."""
        return np.asarray(self._numerators / self._denominator, np.float64)

    @property
    def first(self) -> int:
        """The number i of the first coefficient's cell."""
        return self.histogram.first

    @property
    def support(self) -> tuple[float, float]:
        """The cells of all coefficients, widened by one at each end; outside the density is 0."""
        first, h = self.first, self.histogram.step
        return (first - 1.5) * h, (first + self._numerators.size + 0.5) * h

    def value(self, t: ArrayLike) -> Array:
        """S(t): each point touches three cells."""
        i, r = self._placed(t)
        return combined(heights(r), self._padded, i)

    def density(self, t: ArrayLike) -> Array:
        """S(t)/h: integrates to 1."""
        return np.asarray(self.value(t) / self.histogram.step)

    def gradient(self, t: ArrayLike) -> Array:
        """S′(t)/h, the density's derivative: continuous and piecewise linear."""
        i, r = self._placed(t)
        return np.asarray(combined(slopes(r), self._padded, i) / self.histogram.step**2)

    def cdf(self, t: ArrayLike) -> Array:
        """F(t) = ∫S/h up to t: piecewise cubic; 0 below the support, 1 above."""
        i, r = self._placed(t)
        return np.asarray(self._sums[i - 2] + combined(integrals(r), self._padded, i))

    @property
    def mean(self) -> float:
        """The histogram's: B is symmetric."""
        return float(self.histogram.probabilities @ self.histogram.centres)

    @property
    def variance(self) -> float:
        """The grouped variance + WIDENING·h²."""
        return self._moment(2) + self.WIDENING * self.histogram.step**2

    @property
    def skewness(self) -> float:
        """The third central moment is the grouped one."""
        return float(self._moment(3) / self.variance**1.5)

    @property
    def excess_kurtosis(self) -> float:
        """The fourth cumulant is the grouped one + FLATTENING·h⁴."""
        grouped = self._moment(4) - 3 * self._moment(2) ** 2
        return float((grouped + self.FLATTENING * self.histogram.step**4) / self.variance**2)

    def _moment(self, order: int) -> float:
        """Grouped central moment: Σ p_i (t_i − m)^k."""
        return float(self.histogram.probabilities @ (self.histogram.centres - self.mean) ** order)

    @property
    def _numerators(self) -> Cells:
        """The coefficients times `_denominator`: whole numbers, whose sums are exact."""
        return self.histogram.counts

    @property
    def _denominator(self) -> int:
        return self.histogram.n

    @cached_property
    def _padded(self) -> Array:
        """The coefficients with EMPTY zeros at each side."""
        return np.pad(self.coefficients, EMPTY)

    @cached_property
    def _sums(self) -> Array:
        """The sum of the padded coefficients up to each."""
        return np.asarray(np.cumsum(np.pad(self._numerators, EMPTY)) / self._denominator)

    def _placed(self, t: ArrayLike) -> tuple[Places, Array]:
        """Places i in `_padded`, and r; of points outside the support, those at its ends."""
        u = np.asarray(t, np.float64) / self.histogram.step - (self.first - EMPTY)
        u = np.clip(u, EMPTY - 1.5, self._padded.size - EMPTY + 0.5)
        i = np.fmax(np.floor(u + 0.5), 2.0)  # NaN goes to cell 2, and its r stays NaN
        return i.astype(np.intp), u - i
