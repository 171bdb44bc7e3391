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

from udfs.cosine import Matrix, squared_norms

Array = NDArray[np.float64]
AXES = 256  # at most
LEAST = 1e-6  # of the largest second moment: an axis with less is noise
# Added to the second moments, which add up to 1; chosen by benchmarks/defaults.py.
FLOOR, FEW = 1e-4, 3.0  # of any set; over the number of latents
BATCH = 1024  # rows at a time: of one shape, so that a row's result does not depend on the others


@dataclass(frozen=True)
class Moments:
    """Count, sum (d,) and sum of products (d, d) of unit latents, to be added in a fixed order."""

    count: int
    total: Array
    products: Array

    @classmethod
    def of(cls, latents: Matrix) -> Self:
        """Of latents (n, d) float32; zero ones are left out, they have no direction."""
        width = latents.shape[1]
        total, products, count = np.zeros(width), np.zeros((width, width)), 0
        with threadpool_limits(1):
            for start in range(0, len(latents), BATCH):
                units = _directions(latents[start : start + BATCH])[1]
                total, products = total + units.sum(axis=0), products + units.T @ units
                count += len(units)
        return cls(count, total, products)

    def flat(self) -> Array:
        """All in a line, (1 + d + d·d,): lines add up as the moments do."""
        return np.concatenate([[self.count], self.total, self.products.ravel()])

    @classmethod
    def from_flat(cls, line: Array) -> Self:
        """From what `flat` gives."""
        width = round(math.sqrt(len(line) - 0.75) - 0.5)
        return cls(int(line[0]), line[1 : width + 1], line[width + 1 :].reshape(width, width))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )


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
        width = len(moments.total)
        with threadpool_limits(1):
            values, vectors = scipy.linalg.eigh(
                moments.products / n, subset_by_index=(max(0, width - most), width - 1)
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
