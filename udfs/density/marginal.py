"""One axis: the density of a histogram, its distribution function, quantiles and moments."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, xlogy

from udfs.density.bspline import EMPTY, Array, Spline, combined, heights, slopes

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
# Gauss–Legendre points of a cell, r from −½ to 0 and from 0 to ½, and their shares of it.
HALF_CELLS: Array = np.concatenate([0.25 * (NODES - 1), 0.25 * (NODES + 1)])
SHARES: Array = np.concatenate([0.25 * WEIGHTS, 0.25 * WEIGHTS])


MOST_STEPS = 60  # of the search for a quantile
SEARCHED = 8192  # quantiles at a time: their arrays stay in the processor's cache


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
