"""Whitened latents: coordinates on the principal axes of the whole set, scaled to similar size.

Add up the `Moments` of all latents, fit a `Whitening` to them, and call it on latents. Section
"Whitening" of docs/method.md has the formulas and the measurements.

Plain whitening centres the latents and scales all axes to the same variance. Here the axes go
through the origin, and small axes count less. A set of two images shows why it is not centred: they
would be opposite to each other however similar they are. And if all axes counted alike, then the
differences among copies would count as much as the differences among images, as soon as there are
many copies or few images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors.cosine import Matrix, squared_norms

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
AXES = 256  # the most that are kept
LEAST = 1e-6  # share of the largest second moment below which an axis is noise
# FLOOR + FEW / n is added to the second moments of n latents, whose sum is 1. Both numbers were
# chosen by benchmarks/defaults.py.
FLOOR, FEW = 1e-4, 3.0
BATCH = 1024  # rows at a time; one shape of all batches makes a row's result independent of others
# Moments are sums over coordinates that are rounded to units of 2^-18, which turns a latent by at
# most 6e-5. Sums of whole numbers have no rounding errors, so their order does not matter. Those of
# a batch stay below 2^53, those of 2^26 latents below 2^62 even if all lie on one axis.
_UNIT = 2.0**18
_MOST = 2.0**62


@dataclass(frozen=True)
class Moments:
    """How many unit latents there are, and the sums of products of their coordinates.

    products: (d, d), in units of 2^-36. Sums of moments are exact and do not depend on their order.
    """

    count: int
    products: Whole

    @classmethod
    def of(cls, latents: Matrix) -> Self:
        """The moments of latents: (n, d) float32 → (d, d). Zero latents are left out."""
        width = latents.shape[1]
        products, count = np.zeros((width, width), np.int64), 0
        with threadpool_limits(1):
            for start in range(0, len(latents), BATCH):
                units = np.rint(_directions(latents[start : start + BATCH])[1] * _UNIT)
                products += (units.T @ units).astype(np.int64)
                count += len(units)
        return cls(count, products)

    @property
    def width(self) -> int:
        """The number d of a latent's coordinates."""
        return len(self.products)

    @property
    def mean_products(self) -> Array:
        """The second moments (d, d): the mean of u_i·u_j over the unit latents u."""
        return self.products / (_UNIT**2 * self.count)

    def flat(self) -> Whole:
        """The count and one triangle of the products as one array, (1 + d·(d+1)/2,)."""
        return np.concatenate([[self.count], self.products[np.triu_indices(self.width)]])

    @classmethod
    def from_flat(cls, flat: Whole) -> Self:
        """The moments that `flat` describes, also from a sum of several results of `flat`."""
        width = (math.isqrt(8 * (len(flat) - 1) + 1) - 1) // 2
        products = np.zeros((width, width), np.int64)
        products[np.triu_indices(width)] = flat[1:]
        return cls(int(flat[0]), products + np.triu(products, 1).T)

    def __add__(self, other: Moments) -> Moments:
        # No product is larger than the largest square (Cauchy and Schwarz).
        squares = self.products.diagonal().astype(float) + other.products.diagonal()
        count = self.count + other.count
        if squares.max(initial=0.0) > _MOST:
            raise ValueError(f"the moments of {count:,} latents have no room in 64 bits")
        return Moments(count, self.products + other.products)


@dataclass(frozen=True)
class Whitening:
    """A whitening: axes (k, d) and what coordinates on them are divided by, `deviations` (k,).

    mean: (d,), what is subtracted first. It is zero, except in those that earlier versions stored.
    """

    mean: Array
    axes: Array
    deviations: Array

    @classmethod
    def fitted(cls, moments: Moments, most: int = AXES) -> Self:
        """The whitening by the leading principal axes of n unit latents, not centred.

        These are at most `most` axes whose second moment λ is above 1e-6 of the largest; the second
        moments of all axes add up to 1. Coordinates are divided by √(λ + ρ), ρ = 1e-4 + 3/n. This
        is ridge regularisation, as if each latent differed by so much from itself. Raises
        ValueError where all latents are zero, since these have no direction.
        """
        n = moments.count
        if n == 0:
            raise ValueError("all latents are zero: there is no axis to whiten")
        width = moments.width
        with threadpool_limits(1):
            values, vectors = scipy.linalg.eigh(
                moments.mean_products, subset_by_index=(max(0, width - most), width - 1)
            )
        values, axes = values[::-1], vectors.T[::-1]
        exist = values > LEAST * values[0]
        signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
        deviations = np.sqrt(values[exist] + FLOOR + FEW / n)
        return cls(np.zeros(width), (axes * signs)[exist], deviations)

    def __call__(self, latents: Matrix) -> Matrix:
        """Whiten latents: (n, d) float32 → (n, k) float32. A zero latent becomes zeros."""
        result = np.zeros((len(latents), len(self.axes)), np.float32)
        batch = np.zeros((BATCH, len(self.mean)))
        with threadpool_limits(1):
            for start in range(0, len(latents), BATCH):
                rows, units = _directions(latents[start : start + BATCH])
                batch[: len(units)] = units
                batch[: len(units)] -= self.mean
                batch[len(units) :] = 0.0
                result[start + rows] = (batch @ self.axes.T)[: len(units)] / self.deviations
        return result


def _directions(latents: Matrix) -> tuple[NDArray[np.int64], Array]:
    """The indices of the latents that are not zero, and their unit vectors in float64."""
    squared = squared_norms(latents)
    rows = np.flatnonzero(squared > 0)
    return rows, latents[rows] / np.sqrt(squared[rows])[:, None]
