"""Densities from histograms by quadratic B-splines: marginals and their product (paper, eq. 2).

In cell i, at r = t/h − i from its centre (|r| ≤ ½), three B-splines are above 0: `heights`. Their
derivatives and integrals, `slopes` and `integrals`, give gradient and cdf exactly. SciPy's
`BSpline` and `PPoly` evaluate the same (the tests compare), but search the knots for every point
and have no moments, quantiles or samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, xlogy

from udfs.density.histogram import Cells, Histogram

Array = NDArray[np.float64]
Three = tuple[Array, Array, Array]
Places = NDArray[np.intp]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
# Gauss–Legendre points of a cell, r from −½ to 0 and from 0 to ½, and their shares of it.
HALF_CELLS: Array = np.concatenate([0.25 * (NODES - 1), 0.25 * (NODES + 1)])
SHARES: Array = np.concatenate([0.25 * WEIGHTS, 0.25 * WEIGHTS])

EMPTY = 3  # cells added at each side, so that every point beyond has its three, all empty
MOST_STEPS = 60  # of the search for a quantile
SEARCHED = 8192  # quantiles at a time: their arrays stay in the processor's cache


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


class Marginal(Spline):
    """The density of one coordinate: the spline of c_i = p_i, never negative (paper, eq. 2)."""

    WIDENING = 1 / 4
    FLATTENING = -1 / 40

    def cdf(self, t: ArrayLike) -> Array:
        """F(t) = ∫S/h up to t, in [0, 1]: piecewise cubic, rising where the density is above 0."""
        return np.minimum(super().cdf(t), 1.0)

    def log_density(self, t: ArrayLike) -> Array:
        """ln(S(t)/h); −inf outside the support and in gaps of three empty cells and more."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.value(t)) - np.log(self.histogram.step))

    def log_gradient(self, t: ArrayLike) -> Array:
        """S′(t)/S(t), the derivative of the log-density; NaN where the density is 0."""
        i, r = self._placed(t)
        with np.errstate(invalid="ignore"):
            rises = combined(slopes(r), self._padded, i) / combined(heights(r), self._padded, i)
        return np.asarray(rises / self.histogram.step)

    def quantile(self, q: ArrayLike) -> Array:
        """Q(q) = inf{t : F(t) ≥ q} with |F(Q(q)) − q| ≤ 1e-12; Q(0) is the support's lower end.

        A binary search of the exact cdf at the knots finds the cell, Newton's steps inside a
        bracket, bisected where they leave it, the place in it: at most 60. (Cardano's formula
        fails where the cell is nearly linear.) Like any t, Q(q) is a float64: beyond some thousand
        cells from 0, its own rounding costs more than 1e-12. Raises ValueError where q is not in
        [0, 1]; NaN gives NaN.
        """
        q = np.asarray(q, np.float64)
        if ((q < 0) | (q > 1)).any():
            raise ValueError(
                f"q: must lie in [0, 1], but reaches from {np.nanmin(q)} to {np.nanmax(q)}"
            )
        flat = q.ravel()
        parts = [self._quantile(flat[k : k + SEARCHED]) for k in range(0, flat.size, SEARCHED)]
        return np.concatenate([np.empty(0), *parts]).reshape(q.shape)

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """Values (n,) drawn from the density: cell i with probability p_i, + h(U₁ + U₂ + U₃ − 3/2).

        U are uniform on [0, 1], their sum has the density B. rng: a generator, or its seed.
        """
        rng = np.random.default_rng(rng)
        centres = rng.choice(self.histogram.centres, n, p=self.histogram.probabilities)
        return np.asarray(centres + self.histogram.step * (rng.random((3, n)).sum(axis=0) - 1.5))

    def entropy(self) -> float:
        """−∫ f ln f in nats, by 16 Gauss–Legendre points on each half cell (error < 1e-8)."""
        before, here, after = heights(HALF_CELLS)
        p = self._padded[:, None]
        s = before * p[:-2] + here * p[1:-1] + after * p[2:]
        return float(-(xlogy(s, s) @ SHARES).sum() + np.log(self.histogram.step))

    def scale_free_entropy(self) -> float:
        """Entropy − ln of the model's own standard deviation: at most ½ ln(2πe)."""
        return self.entropy() - 0.5 * float(np.log(self.variance))

    def modes(self) -> Array:
        """Where the density has its maxima, rising: (modes,); of a flat top, its middle.

        At the knots S′ is proportional to the differences of (0, p, 0), and linear between: a mode
        lies where they change from + to −, zeros skipped. So the spline has as many modes as the
        histogram, and chance ones are among them.
        """
        differences = np.diff(self.histogram.counts, prepend=0, append=0)
        knots = np.flatnonzero(differences)
        up, down = knots[:-1], knots[1:]
        tops = (differences[up] > 0) & (differences[down] < 0)
        up, down = up[tops], down[tops]
        rise, fall = differences[up], differences[down]
        share = np.where(down - up == 1, rise / (rise - fall), (down - up) / 2)
        return np.asarray((self.first - 0.5 + up + share) * self.histogram.step)

    def to_uniform(self, t: ArrayLike) -> Array:
        """F(t): uniform on [0, 1] where t follows the model."""
        return self.cdf(t)

    def from_uniform(self, q: ArrayLike) -> Array:
        """Q(q), back from `to_uniform`."""
        return self.quantile(q)

    def to_normal(self, t: ArrayLike) -> Array:
        """Φ⁻¹(F(t)): standard normal where t follows the model; ±inf at the support's ends."""
        return np.asarray(ndtri(self.cdf(t)))

    def from_normal(self, z: ArrayLike) -> Array:
        """Q(Φ(z)), back from `to_normal`; ±inf give the support's ends."""
        return self.quantile(ndtr(np.asarray(z, np.float64)))

    @cached_property
    def _knots(self) -> Array:
        """F at the knots, from the lower end of the support to the upper: from 0 to 1, exactly."""
        counts = np.pad(self.histogram.counts, EMPTY)
        sixths = 6 * np.cumsum(counts)[:-3] + 5 * counts[1:-2] + counts[2:-1]
        return np.asarray(sixths / (6 * self.histogram.n))

    def _quantile(self, q: Array) -> Array:
        """Q of numbers (n,) in [0, 1]: the first knot with F ≥ q ends the cell."""
        knots = self._knots
        end = np.clip(np.searchsorted(knots, q), 1, knots.size - 1)
        before, here, after = (self._padded[end + k] for k in (0, 1, 2))
        rise = q - knots[end - 1]
        share = _climbed(
            rise, (before + here) / 2, (here - before) / 2, (before - 2 * here + after) / 6
        )
        share = np.select([q == knots[end], rise == 0, rise > 0], [1.0, 0.0, share], np.nan)
        return np.asarray((self.first - 2.5 + end + share) * self.histogram.step)


def _climbed(rise: Array, first: Array, second: Array, third: Array) -> Array:
    """The s ∈ [0, 1] with first·s + second·s² + third·s³ = rise, where that rises on [0, 1]."""
    s = np.full_like(rise, 0.5)
    low, high = np.zeros_like(rise), np.ones_like(rise)
    for _ in range(MOST_STEPS):
        excess = s * (first + s * (second + s * third)) - rise
        slope = first + s * (2 * second + 3 * s * third)
        low, high = np.where(excess < 0, s, low), np.where(excess > 0, s, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = excess / slope
        open_ = np.abs(step) > np.finfo(float).eps * s
        if not open_.any():
            break
        nearer = s - step
        inside = (nearer > low) & (nearer < high)
        s = np.where(open_, np.where(inside, nearer, (low + high) / 2), s)
    return s


class Corrected(Spline):
    """The spline of c_i = p_i − δ²p_i/6: its means over cells agree with p to O(h⁴).

    Its coefficients may be negative, and so may its density: the paper's model (`Marginal`) leaves
    the correction out. Offered are value, density, gradient, cdf and moments; the variance is the
    grouped one − h²/12, Sheppard's correction. `coefficients` reach one cell further at each side.
    """

    WIDENING = -1 / 12
    FLATTENING = -83 / 120  # −1/40 of B, −2/3 of δ − δ²/6

    @property
    def first(self) -> int:
        """The number i of the first coefficient's cell: one before the histogram's."""
        return self.histogram.first - 1

    @property
    def _numerators(self) -> Cells:
        counts = np.pad(self.histogram.counts, 2)
        return np.asarray(8 * counts[1:-1] - counts[:-2] - counts[2:], np.int64)

    @property
    def _denominator(self) -> int:
        return 6 * self.histogram.n

    if not TYPE_CHECKING:  # mypy sees no such attributes

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_") or not hasattr(Marginal, name):
                raise AttributeError(f"Corrected has no {name!r}")
            raise AttributeError(
                f"Corrected has no {name!r}: its density may be negative, its cdf falls there and "
                "its logarithm does not exist; take Marginal, the model without the correction"
            )


@dataclass(frozen=True)
class Separable:
    """The product of the marginals on the principal axes, as if they were independent (paper).

    Points are arrays (n, axes), a column a marginal; ValueError where they are not.
    """

    marginals: Sequence[Marginal]

    def value(self, points: ArrayLike) -> Array:
        """Π S_k(t_k): (n,)."""
        return _product([axis.value(t) for axis, t in self._pairs(points)])

    def density(self, points: ArrayLike) -> Array:
        """Π S_k(t_k)/h_k: (n,)."""
        return _product([axis.density(t) for axis, t in self._pairs(points)])

    def log_density(self, points: ArrayLike) -> Array:
        """The sum of the marginals' log-densities: (n,); −inf where one density is 0."""
        return np.asarray(np.sum([axis.log_density(t) for axis, t in self._pairs(points)], axis=0))

    def gradient(self, points: ArrayLike) -> Array:
        """The density's derivatives along each axis: (n, axes)."""
        pairs = self._pairs(points)
        densities = [axis.density(t) for axis, t in pairs]
        columns = []
        for k, (axis, t) in enumerate(pairs):
            columns.append(_product([*densities[:k], axis.gradient(t), *densities[k + 1 :]]))
        return np.stack(columns, axis=1)

    def log_gradient(self, points: ArrayLike) -> Array:
        """The log-density's derivatives along each axis: (n, axes); NaN where its density is 0."""
        return self._each(Marginal.log_gradient, points)

    def cdf(self, points: ArrayLike) -> Array:
        """P(every coordinate ≤ t_k) = Π F_k(t_k): (n,)."""
        return _product([axis.cdf(t) for axis, t in self._pairs(points)])

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """Points (n, axes) drawn from the density. rng: a generator, or its seed."""
        rng = np.random.default_rng(rng)
        return np.stack([axis.sample(n, rng) for axis in self.marginals], axis=1)

    @property
    def mean(self) -> Array:
        """The marginals' means: (axes,)."""
        return np.array([axis.mean for axis in self.marginals])

    @property
    def variance(self) -> Array:
        """The marginals' variances: (axes,); there are no covariances."""
        return np.array([axis.variance for axis in self.marginals])

    def entropy(self) -> float:
        """The sum of the marginals' entropies, in nats."""
        return sum(axis.entropy() for axis in self.marginals)

    def to_uniform(self, points: ArrayLike) -> Array:
        """F_k(t_k) along each axis: (n, axes)."""
        return self._each(Marginal.to_uniform, points)

    def from_uniform(self, points: ArrayLike) -> Array:
        """Q_k(q_k) along each axis, back from `to_uniform`: (n, axes)."""
        return self._each(Marginal.from_uniform, points)

    def to_normal(self, points: ArrayLike) -> Array:
        """Φ⁻¹(F_k(t_k)) along each axis: (n, axes)."""
        return self._each(Marginal.to_normal, points)

    def from_normal(self, points: ArrayLike) -> Array:
        """Q_k(Φ(z_k)) along each axis, back from `to_normal`: (n, axes)."""
        return self._each(Marginal.from_normal, points)

    def _each(self, function: Callable[[Marginal, Array], Array], points: ArrayLike) -> Array:
        return np.stack([function(axis, t) for axis, t in self._pairs(points)], axis=1)

    def _pairs(self, points: ArrayLike) -> list[tuple[Marginal, Array]]:
        columns = np.asarray(points, np.float64)
        if columns.ndim != 2 or columns.shape[1] != len(self.marginals):
            raise ValueError(
                f"points: shape {columns.shape}, must be (n, {len(self.marginals)}): one column a "
                "marginal"
            )
        return list(zip(self.marginals, columns.T, strict=True))


def _product(factors: Sequence[Array]) -> Array:
    return np.asarray(np.prod(factors, axis=0))
