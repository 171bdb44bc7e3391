"""The separable model of the paper: the product of the marginals on the principal axes.

Use it for the density of points with several coordinates that are taken for independent; where they
are not, see `udfs.density.tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from udfs.density.bspline import Array
from udfs.density.marginal import Marginal


@dataclass(frozen=True)
class Separable:
    """The density Π_k S_k(t_k)/h_k of coordinates that are taken for independent (paper).

    Points are arrays (n, axes) with one column for each marginal; another shape raises ValueError.
    """

    marginals: Sequence[Marginal]

    def value(self, points: ArrayLike) -> Array:
        """Return Π S_k(t_k): (n, axes) → (n,)."""
        return _product([axis.value(t) for axis, t in self._columns(points)])

    def density(self, points: ArrayLike) -> Array:
        """Return the density Π S_k(t_k)/h_k: (n, axes) → (n,)."""
        return _product([axis.density(t) for axis, t in self._columns(points)])

    def log_density(self, points: ArrayLike) -> Array:
        """Return the sum of the marginals' log-densities: (n, axes) → (n,); −inf if one is 0."""
        return np.asarray(
            np.sum([axis.log_density(t) for axis, t in self._columns(points)], axis=0)
        )

    def gradient(self, points: ArrayLike) -> Array:
        """Return the density's derivatives along each axis: (n, axes) → (n, axes)."""
        columns = self._columns(points)
        densities = [axis.density(t) for axis, t in columns]
        partial = []
        for k, (axis, t) in enumerate(columns):
            partial.append(_product([*densities[:k], axis.gradient(t), *densities[k + 1 :]]))
        return np.stack(partial, axis=1)

    def log_gradient(self, points: ArrayLike) -> Array:
        """Return the log-density's derivatives along each axis: (n, axes); NaN where S_k is 0."""
        return self._each(Marginal.log_gradient, points)

    def cdf(self, points: ArrayLike) -> Array:
        """Return P(every coordinate ≤ t_k) = Π F_k(t_k): (n, axes) → (n,)."""
        return _product([axis.cdf(t) for axis, t in self._columns(points)])

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """Draw points (n, axes) from the density. rng: a generator, or a seed."""
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
        """Return the sum of the marginals' entropies, in nats."""
        return sum(axis.entropy() for axis in self.marginals)

    def to_uniform(self, points: ArrayLike) -> Array:
        """Return F_k(t_k) along each axis: (n, axes) → (n, axes)."""
        return self._each(Marginal.to_uniform, points)

    def from_uniform(self, points: ArrayLike) -> Array:
        """Return Q_k(q_k) along each axis, the inverse of `to_uniform`: (n, axes) → (n, axes)."""
        return self._each(Marginal.from_uniform, points)

    def to_normal(self, points: ArrayLike) -> Array:
        """Return Φ⁻¹(F_k(t_k)) along each axis: (n, axes) → (n, axes)."""
        return self._each(Marginal.to_normal, points)

    def from_normal(self, points: ArrayLike) -> Array:
        """Return Q_k(Φ(z_k)) along each axis, the inverse of `to_normal`: (n, axes) → (n, axes)."""
        return self._each(Marginal.from_normal, points)

    def _each(self, function: Callable[[Marginal, Array], Array], points: ArrayLike) -> Array:
        return np.stack([function(axis, t) for axis, t in self._columns(points)], axis=1)

    def _columns(self, points: ArrayLike) -> list[tuple[Marginal, Array]]:
        """Return each marginal with its column of the points."""
        columns = np.asarray(points, np.float64)
        if columns.ndim != 2 or columns.shape[1] != len(self.marginals):
            raise ValueError(
                f"points: shape {columns.shape}, must be (n, {len(self.marginals)}): one column a "
                "marginal"
            )
        return list(zip(self.marginals, columns.T, strict=True))


def _product(factors: Sequence[Array]) -> Array:
    return np.asarray(np.prod(factors, axis=0))
