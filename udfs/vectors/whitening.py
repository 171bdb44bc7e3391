"""Whitened latents: the leading principal axes of the whole set count alike (after spec §7).

Beyond the spec: axes go through the origin, and small axes count less. Centred, two images are
opposite to each other however alike they are; and with all axes equal, what tells an image's
copies apart counts as much as what tells images apart, as soon as copies are many or images few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors.cosine import Matrix, squared_norms

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
AXES = 256  # at most
LEAST = 1e-6  # of the largest second moment: an axis with less is noise
# Added to the second moments, which add up to 1; chosen by benchmarks/defaults.py.
FLOOR, FEW = 1e-4, 3.0  # of any set; over the number of latents
BATCH = 1024  # rows at a time: of one shape, so that a row's result does not depend on the others
# Moments are of coordinates in units of 2^-18 (a turn of a latent by at most 6e-5): sums of whole
# numbers have no rounding, and so no order. A batch's stay below 2^53, those of 2^26 latents below
# 2^62 even if all lie on one axis.
_UNIT = 2.0**18
_MOST = 2.0**62


@dataclass(frozen=True)
class Moments:
    """Count and sum of products (d, d) of unit latents, exact: added in whatever order, the same.

    products: in units of 2^-36.
    """

    count: int
    products: Whole

    @classmethod
    def of(cls, latents: Matrix) -> Self:
        """Of latents (n, d) float32; zero ones are left out, they have no direction."""
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
        """How many numbers a latent has."""
        return len(self.products)

    @property
    def mean_products(self) -> Array:
        """The second moments, (d, d)."""
        return self.products / (_UNIT**2 * self.count)

    def flat(self) -> Whole:
        """All in a line: the count and one triangle of the products, (1 + d·(d+1)/2,)."""
        return np.concatenate([[self.count], self.products[np.triu_indices(self.width)]])

    @classmethod
    def from_flat(cls, line: Whole) -> Self:
        """From what `flat` gives, or a sum of such lines."""
        width = (math.isqrt(8 * (len(line) - 1) + 1) - 1) // 2
        products = np.zeros((width, width), np.int64)
        products[np.triu_indices(width)] = line[1:]
        return cls(int(line[0]), products + np.triu(products, 1).T)

    def __add__(self, other: Moments) -> Moments:
        # No product is larger than the largest square (Cauchy and Schwarz).
        squares = self.products.diagonal().astype(float) + other.products.diagonal()
        count = self.count + other.count
        if squares.max(initial=0.0) > _MOST:
            raise ValueError(f"the moments of {count:,} latents have no room in 64 bits")
        return Moments(count, self.products + other.products)


@dataclass(frozen=True)
class Whitening:
    """mean (d,), axes (k, d) and what coordinates along them are divided by (k,), all float64.

    mean: zeros; what earlier versions subtracted.
    """

    mean: Array
    axes: Array
    deviations: Array

    @classmethod
    def fitted(cls, moments: Moments, most: int = AXES) -> Self:
        """The leading principal axes of the set, of unit latents as they are, not centred.

        At most `most`, with a second moment λ above 1e-6 of the largest; all of them add up to 1.
        Coordinates are divided by √(λ + ρ), ρ = 1e-4 + 3/n: ridge regularisation, as if each latent
        differed by so much from itself. Raises ValueError where all latents are zero: they have no
        direction.
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
        """Latents (n, d) float32 to whitened vectors (n, k) float32; a zero latent to zeros."""
        result = np.zeros((len(latents), len(self.axes)), np.float32)
        batch = np.zeros((BATCH, len(self.mean)))
        with threadpool_limits(1):
            for start in range(0, len(latents), BATCH):
                rows, units = _directions(latents[start : start + BATCH])
                batch[: len(units)] = units
                batch[: len(units)] -= self.mean
                batch[len(units) :] = 0.0
                found = (batch @ self.axes.T)[: len(units)] / self.deviations
                result[start + rows] = found
        return result


def _directions(latents: Matrix) -> tuple[NDArray[np.int64], Array]:
    """Which latents are not zero, and their unit vectors in float64."""
    squared = squared_norms(latents)
    rows = np.flatnonzero(squared > 0)
    return rows, latents[rows] / np.sqrt(squared[rows])[:, None]
