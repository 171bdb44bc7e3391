"""Whitened latents: every leading principal axis of the whole set counts the same (spec §7)."""

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
IMAGES = 2  # for each axis, at least: fewer, and a copy lies as far from its original as any image
LEAST = 1e-6  # of the largest eigenvalue: an axis with less is noise
EXISTS = 1e-12  # of the mean squared norm, which is 1: a smaller eigenvalue is no component
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
    """mean (d,), axes (k, d) and standard deviations (k,) along them, all float64."""

    mean: Array
    axes: Array
    deviations: Array

    @classmethod
    def fitted(cls, moments: Moments, most: int = AXES) -> Self:
        """The leading axes of the set: at most `most`, eigenvalue above 1e-6 of the largest.

        And at most half as many as latents (beyond the spec): along the last axes of a small set
        lies little but what sets a copy apart, which would count as much as all else. Divisor n−1.
        Raises ValueError for fewer than two latents that have a direction, or where all are the
        same: there is no axis then.
        """
        n = moments.count
        if n < 2:
            raise ValueError(f"{n} latents are not zero: whitening needs two or more")
        most = min(most, n // IMAGES)
        mean = moments.total / n
        covariance = (moments.products - n * np.outer(mean, mean)) / (n - 1)
        width = len(mean)
        with threadpool_limits(1):
            values, vectors = scipy.linalg.eigh(
                covariance, subset_by_index=(max(0, width - most), width - 1)
            )
        values, axes = values[::-1], vectors.T[::-1]
        # As with principal axes: less than this of the mean squared norm is rounding.
        noise = EXISTS * float(np.trace(moments.products)) / n
        exist = values > max(LEAST * values[0], noise)
        if not exist.any():
            raise ValueError("all latents have one direction: there is no axis to whiten")
        signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
        return cls(mean, (axes * signs)[exist], np.sqrt(values[exist]))

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
