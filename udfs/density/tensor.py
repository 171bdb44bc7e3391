"""Densities of several coordinates at once from a joint histogram by B-splines (paper, eq. 2).

The axes may depend on each other here; `bspline.Separable` assumes that they do not. Occupied cells
alone are stored, where SciPy's `NdBSpline` holds the whole box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from udfs.density.bspline import Array, Three, heights, kernel_integral, slopes
from udfs.density.histogram import Cells, Joint
from udfs.density.marginal import HALF_CELLS, SHARES, Marginal
from udfs.density.separable import Separable

AT_A_TIME = 2**18  # numbers of an array worked on: it stays in the processor's cache
MARGIN = 3  # empty cells around the occupied ones: a point there touches one further
INTEGRATED = 2  # axes up to which integrals are computed point by point


class Estimate(NamedTuple):
    """A mean over drawn points and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Tensor:
    """S(t) = Σ p_{i1…in} Π_k B(t_k − t_{k,ik}), density S/(h₁…h_n) (paper, eq. 2).

    Each point touches 3ⁿ cells, so n is small: up to 6, say. Points are arrays (points, axes), in
    the units of the values; ValueError where they are not. Where a coordinate is NaN, so is the
    result. Equal to the separable model where p is the product of its marginals.
    """

    joint: Joint

    def __post_init__(self) -> None:
        if np.prod(self._extents.astype(float)) >= 2.0**62:
            raise ValueError(
                f"joint: reaches over {self._extents} cells, together more than 2⁶²; take larger "
                "steps or fewer axes"
            )

    @property
    def axes(self) -> int:
        """The number n of coordinates."""
        return self.joint.steps.size

    def value(self, points: ArrayLike) -> Array:
        """S(t): (points,)."""
        return self._summed(points, [heights] * self.axes)

    def density(self, points: ArrayLike) -> Array:
        """S(t)/(h₁…h_n): (points,); integrates to 1."""
        return np.asarray(self.value(points) / self.joint.steps.prod())

    def log_density(self, points: ArrayLike) -> Array:
        """The density's logarithm: (points,); −inf where it is 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.value(points)) - np.log(self.joint.steps).sum())

    def gradient(self, points: ArrayLike) -> Array:
        """The density's derivatives along each axis: (points, axes)."""
        columns = []
        for k, step in enumerate(self.joint.steps):
            along = [slopes if axis == k else heights for axis in range(self.axes)]
            columns.append(self._summed(points, along) / step)
        return np.asarray(np.stack(columns, axis=1) / self.joint.steps.prod())

    def log_gradient(self, points: ArrayLike) -> Array:
        """The log-density's derivatives along each axis: (points, axes); NaN where it is −inf."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.gradient(points) / self.density(points)[:, None])

    def cdf(self, points: ArrayLike) -> Array:
        """P(every coordinate ≤ t_k) = Σ p Π_k ∫B/h_k up to t_k: (points,).

        Every point meets all occupied cells: for some thousand points, not for millions.
        """
        points = self._checked(points)
        cells = self.joint.counts.size
        found = [np.empty(0)]
        for part in _parts(points, cells):
            reached = np.ones((len(part), cells))
            for t, centres, step in zip(
                part.T, self.joint.centres.T, self.joint.steps, strict=True
            ):
                reached *= kernel_integral(t[:, None] - centres, float(step))
            found.append(reached @ self.joint.probabilities)
        return np.minimum(np.concatenate(found), 1.0)

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """Points (n, axes) drawn from the density. rng: a generator, or its seed.

        An occupied cell with its probability, + h_k(U₁ + U₂ + U₃ − 3/2), U uniform on [0, 1].
        """
        rng = np.random.default_rng(rng)
        cells = rng.choice(self.joint.counts.size, n, p=self.joint.probabilities)
        within = rng.random((3, n, self.axes)).sum(axis=0) - 1.5
        return np.asarray(self.joint.centres[cells] + self.joint.steps * within)

    @property
    def mean(self) -> Array:
        """The histogram's: (axes,)."""
        return np.asarray(self.joint.probabilities @ self.joint.centres)

    @property
    def covariance(self) -> Array:
        """The grouped covariance, + h_k²/4 on the diagonal: (axes, axes)."""
        centred = self.joint.centres - self.mean
        grouped = (self.joint.probabilities * centred.T) @ centred
        return np.asarray(grouped + np.diag(self.joint.steps**2) / 4)

    def marginal(self, axis: int) -> Marginal:
        """The density of one coordinate (from 0), all others integrated out: again a spline."""
        return Marginal(self.joint.marginal(axis))

    def separable(self) -> Separable:
        """The product of the marginals."""
        return Separable([self.marginal(axis) for axis in range(self.axes)])

    def entropy(self) -> float:
        """−∫ f ln f in nats, by 16 Gauss–Legendre points on each half cell and axis.

        For one and two axes (error < 1e-7); from three on it raises ValueError: see
        `entropy_sampled`.
        """
        if self.axes > INTEGRATED:
            raise ValueError(
                f"{self.axes} axes are too many to integrate over; take entropy_sampled or "
                "kl_from_separable_sampled"
            )
        values = np.stack(heights(HALF_CELLS), axis=-1)
        shares = SHARES
        for _ in range(self.axes - 1):
            shares = np.multiply.outer(shares, SHARES)
        total = 0.0
        for cells in _parts(self._reached, HALF_CELLS.size**self.axes):
            block = self._blocks(cells)
            for _ in range(self.axes):
                block = np.tensordot(block, values, axes=(1, 1))
            total -= float(np.tensordot(xlogy(block, block), shares, axes=self.axes).sum())
        return total + float(np.log(self.joint.steps).sum())

    def entropy_sampled(self, n: int, rng: np.random.Generator | int) -> Estimate:
        """−∫ f ln f in nats for any number of axes: the mean of −ln f over n drawn points."""
        return _mean(-self.log_density(self.sample(n, rng)))

    def kl_from_separable(self) -> float:
        """∫ f ln(f/Π f_k) in nats: 0 where the axes are independent, as the paper assumes.

        The divergence (Kullback & Leibler, Ann. Math. Stat. 22, 1951) of this model from the
        product of its marginals is the sum of their entropies minus its own, to < 1e-7, for one
        and two axes; from three on see `kl_from_separable_sampled`. Chance alone makes it positive:
        of independent normal axes with Scott's steps 0.05 at 300 values, 0.03 at 3,000, 0.02 at
        30,000 (measured).
        """
        return max(self.separable().entropy() - self.entropy(), 0.0)

    def kl_from_separable_sampled(self, n: int, rng: np.random.Generator | int) -> Estimate:
        """The same for any number of axes: the mean of ln f − Σ ln f_k over n drawn points."""
        points = self.sample(n, rng)
        return _mean(self.log_density(points) - self.separable().log_density(points))

    def _checked(self, points: ArrayLike) -> Array:
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != self.axes:
            raise ValueError(
                f"points: shape {points.shape}, must be (points, {self.axes}): one column an axis"
            )
        return points

    def _summed(self, points: ArrayLike, along: Sequence[Callable[[Array], Three]]) -> Array:
        """Σ p Π_k along_k(r_k) over the 3ⁿ cells around each point: (points,).

        Cells are looked up once, however many points lie in them.
        """
        found = [np.empty(0)]
        for part in _parts(self._checked(points), 3**self.axes):
            u = np.clip(part / self.joint.steps, self._lowest - 1.5, self._highest + 1.5)
            places = np.fmax(np.floor(u + 0.5), self._lowest - 1.0)  # of NaN too; r stays NaN
            r, cells = u - places, places.astype(np.int64)
            _, first, which = np.unique(self._keys(cells), return_index=True, return_inverse=True)
            sums = self._blocks(cells[first])[which]
            for k in reversed(range(self.axes)):
                sums = np.einsum("p...k,pk->p...", sums, np.stack(along[k](r[:, k]), axis=-1))
            found.append(sums)
        return np.concatenate(found)

    def _blocks(self, cells: Cells) -> Array:
        """The p of the 3ⁿ cells around each of (m, axes), itself in their middle: (m, 3, …, 3)."""
        wanted = self._keys(cells)[:, None] + self._around @ self._strides
        keys, probabilities = self._sorted
        place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        found = np.where(keys[place] == wanted, probabilities[place], 0.0)
        return found.reshape(-1, *(3,) * self.axes)

    def _keys(self, cells: Cells) -> Cells:
        """One number a cell: distinct and linear in the cell, for all that a point can touch."""
        return np.asarray((cells - self._lowest + MARGIN) @ self._strides, np.int64)

    @property
    def _lowest(self) -> Cells:
        return np.asarray(self.joint.cells.min(axis=0))

    @property
    def _highest(self) -> Cells:
        return np.asarray(self.joint.cells.max(axis=0))

    @property
    def _extents(self) -> Cells:
        return self._highest - self._lowest + 1 + 2 * MARGIN

    @cached_property
    def _strides(self) -> Cells:
        return np.concatenate([[1], np.cumprod(self._extents[:-1])]).astype(np.int64)

    @cached_property
    def _around(self) -> Cells:
        """The steps to the 3ⁿ cells around one."""
        return np.array(list(product((-1, 0, 1), repeat=self.axes)), np.int64)

    @cached_property
    def _sorted(self) -> tuple[Cells, Array]:
        """The occupied cells' keys, rising, and their p."""
        keys = self._keys(self.joint.cells)
        order = np.argsort(keys)
        return keys[order], self.joint.probabilities[order]

    @property
    def _reached(self) -> Cells:
        """The cells where the density is above 0: (cells, axes)."""
        around = self.joint.cells[:, None] + self._around
        return np.unique(around.reshape(-1, self.axes), axis=0)


def _parts(rows: NDArray[Any], width: int) -> Iterator[NDArray[Any]]:
    """Some rows after others, so many that an array of `width` numbers for each stays small."""
    size = max(AT_A_TIME // width, 1)
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _mean(drawn: Array) -> Estimate:
    return Estimate(float(drawn.mean()), float(drawn.std(ddof=1) / np.sqrt(drawn.size)))
