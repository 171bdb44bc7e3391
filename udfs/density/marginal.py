"""The density of one coordinate: its cdf, quantiles, samples, entropy and modes (paper, eq. 2).

`Marginal` is the first class to use: it takes a histogram (`udfs.density.histogram.from_values`).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import ArrayLike

from udfs.density.bspline import EMPTY, Array, Spline, combined, heights, slopes

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
# Gauss–Legendre points r of the two halves of a cell, from −½ to 0 and from 0 to ½, and weights.
HALF_CELLS: Array = np.concatenate([0.25 * (NODES - 1), 0.25 * (NODES + 1)])
SHARES: Array = np.concatenate([0.25 * WEIGHTS, 0.25 * WEIGHTS])


MOST_STEPS = 60  # of the search for a quantile within its cell
AT_A_TIME = 8192  # quantiles searched together: their arrays stay in the processor's cache


class Marginal(Spline):
    """The density of one coordinate: the spline with c_i = p_i, never negative (paper, eq. 2).

    >>> from udfs.density.histogram import from_values
    >>> model = Marginal(from_values([-1.0, 0.0, 0.0, 1.0], step=1.0))
    >>> model.density([0.0, 9.0]).tolist()
    [0.4375, 0.0]
    >>> model.cdf([-2.5, 0.0, 2.5]).round(12).tolist()
    [0.0, 0.5, 1.0]
    >>> model.quantile([0.0, 0.5]).round(12).tolist()
    [-2.5, 0.0]
    """

    WIDENING = 1 / 4
    FLATTENING = -1 / 40

    def cdf(self, t: ArrayLike) -> Array:
        """Return F(t) = ∫S/h up to t, in [0, 1]; it rises where the density is above 0."""
        return np.minimum(super().cdf(t), 1.0)

    def log_density(self, t: ArrayLike) -> Array:
        """Return ln(S(t)/h); −inf outside the support and in gaps of three or more empty cells."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.value(t)) - np.log(self.histogram.step))

    def log_gradient(self, t: ArrayLike) -> Array:
        """Return S′(t)/S(t), the derivative of the log-density; NaN where the density is 0."""
        i, r = self.locate(t)
        with np.errstate(invalid="ignore"):
            rises = combined(slopes(r), self.padded, i) / combined(heights(r), self.padded, i)
        return np.asarray(rises / self.histogram.step)

    def quantile(self, q: ArrayLike) -> Array:
        """Return Q(q) = inf{t : F(t) ≥ q}, in an array of the shape of q; Q(NaN) is NaN.

        Q(0) is the support's lower end. The error |F(Q(q)) − q| is at most 1e-12, unless the
        support lies some thousand cells from 0, where rounding Q(q) to float64 costs more. A
        binary search of the exact cdf at the knots finds the cell, and at most 60 steps of Newton's
        method the point in it; a step that leaves its bracket is replaced by a bisection.
        (Cardano's formula fails where the cdf is nearly linear in a cell.)

        Raises:
            ValueError: a q lies outside [0, 1].

        """
        q = np.asarray(q, np.float64)
        if ((q < 0) | (q > 1)).any():
            raise ValueError(
                f"q: must lie in [0, 1], but reaches from {np.nanmin(q)} to {np.nanmax(q)}"
            )
        flat = q.ravel()
        parts = [self._quantile(flat[k : k + AT_A_TIME]) for k in range(0, flat.size, AT_A_TIME)]
        return np.concatenate([np.empty(0), *parts]).reshape(q.shape)

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """Draw values (n,) from the density. rng: a generator, or a seed.

        A value is t_i + h(U₁ + U₂ + U₃ − 3/2), where cell i is drawn with the probability p_i and
        the U are uniform on [0, 1]: their sum has the density B/h.
        """
        rng = np.random.default_rng(rng)
        centres = rng.choice(self.histogram.centres, n, p=self.histogram.probabilities)
        return np.asarray(centres + self.histogram.step * (rng.random((3, n)).sum(axis=0) - 1.5))

    def entropy(self) -> float:
        """Return −∫ f ln f in nats, by 16 Gauss–Legendre points on each half cell; error < 1e-8."""
        before, here, after = heights(HALF_CELLS)
        p = self.padded[:, None]
        s = before * p[:-2] + here * p[1:-1] + after * p[2:]
        return float(-(scipy.special.xlogy(s, s) @ SHARES).sum() + np.log(self.histogram.step))

    def scale_free_entropy(self) -> float:
        """Return entropy − ln σ in nats, σ the model's own deviation: at most ½ ln(2πe)."""
        return self.entropy() - 0.5 * float(np.log(self.variance))

    def modes(self) -> Array:
        """Return the positions of the density's maxima, rising: (modes,); of a flat top the middle.

        At the knots S′ is proportional to the differences of (0, p, 0), and linear between them, so
        a mode lies where the differences change from + to −, zeros skipped. The spline has as many
        modes as the histogram, so some may be due to chance (see `udfs.density.modes`).
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
        """Return F(t), which is uniform on [0, 1] if t follows the model."""
        return self.cdf(t)

    def from_uniform(self, q: ArrayLike) -> Array:
        """Return Q(q), the inverse of `to_uniform`."""
        return self.quantile(q)

    def to_normal(self, t: ArrayLike) -> Array:
        """Return Φ⁻¹(F(t)), standard normal if t follows the model; ±inf at the support's ends."""
        return np.asarray(scipy.special.ndtri(self.cdf(t)))

    def from_normal(self, z: ArrayLike) -> Array:
        """Return Q(Φ(z)), the inverse of `to_normal`; ±inf give the support's ends."""
        return self.quantile(scipy.special.ndtr(np.asarray(z, np.float64)))

    @cached_property
    def _knots(self) -> Array:
        """F at the knots from the lower end of the support to the upper: rising from 0 to 1."""
        counts = np.pad(self.histogram.counts, EMPTY)
        sixths = 6 * np.cumsum(counts)[:-3] + 5 * counts[1:-2] + counts[2:-1]
        return np.asarray(sixths / (6 * self.histogram.n))

    def _quantile(self, q: Array) -> Array:
        """Return Q of numbers (n,) in [0, 1]; the first knot with F ≥ q ends the cell."""
        knots = self._knots
        end = np.clip(np.searchsorted(knots, q), 1, knots.size - 1)
        before, here, after = (self.padded[end + k] for k in (0, 1, 2))
        rise = q - knots[end - 1]
        share = _solve_cubic(
            rise, (before + here) / 2, (here - before) / 2, (before - 2 * here + after) / 6
        )
        share = np.select([q == knots[end], rise == 0, rise > 0], [1.0, 0.0, share], np.nan)
        return np.asarray((self.first - 2.5 + end + share) * self.histogram.step)


def _solve_cubic(rise: Array, first: Array, second: Array, third: Array) -> Array:
    """Return the s ∈ [0, 1] with first·s + second·s² + third·s³ = rise, all of the shape (n,).

    The cubic must rise on [0, 1].
    """
    s = np.full_like(rise, 0.5)
    low, high = np.zeros_like(rise), np.ones_like(rise)
    for _ in range(MOST_STEPS):
        excess = s * (first + s * (second + s * third)) - rise
        slope = first + s * (2 * second + 3 * s * third)
        low, high = np.where(excess < 0, s, low), np.where(excess > 0, s, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = excess / slope
        moving = np.abs(step) > np.finfo(float).eps * s
        if not moving.any():
            break
        nearer = s - step
        inside = (nearer > low) & (nearer < high)
        s = np.where(moving, np.where(inside, nearer, (low + high) / 2), s)
    return s
