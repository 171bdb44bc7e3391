"""Principal axes of a class and the projections on them, bitwise repeatable (spec §4).

Sums are folded in two fixed levels: chunks of 1024 rows into groups of 32 chunks, then the groups
in order. So a class whose groups are summed apart has the axes of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
CHUNK = 1024  # rows a sum is folded over at a time
GROUP = 32  # chunks whose sums are added up before they are added to those of other groups
EXISTS = 1e-12  # of the class's mean squared norm: a smaller eigenvalue is no component
TIE = 1e-12  # relative: entries this close to the largest count as equal to it


@dataclass(frozen=True)
class Axes:
    """Mean (d,), unit axes as rows (k, d), their eigenvalues (k,) falling; all float64."""

    mean: Array
    axes: Array
    eigenvalues: Array


@dataclass(frozen=True)
class Centre:
    """Of a class of n rows: the mean (d,), and what an eigenvalue must exceed to exist."""

    n: int
    mean: Array
    least: float


@dataclass(frozen=True)
class Spread:
    """Of n projections: sums of squares, lowest and highest of each component, all (k,)."""

    n: int
    squares: Array
    lowest: Array
    highest: Array

    @property
    def sigma(self) -> Array:
        """Standard deviations (divisor n): projections are centred, their mean is 0."""
        return np.sqrt(self.squares / self.n)


def principal_axes(latents: NDArray[np.float32], components: int, group: int = GROUP) -> Axes:
    """The leading eigenvectors of the covariance (divisor n−1) of latents (n, d) in image order.

    Each axis's largest-magnitude entry is positive (of equal ones the first). Component k exists
    if k ≤ n−1 and its eigenvalue exceeds 1e-12 of the mean squared norm: fewer than asked may
    come back. group: chunks of a group. n ≥ 1. Cost: n·d² for n ≥ d, else n²·d.
    """
    n, width = latents.shape
    about = centre(added(sums(rows) for rows in groups(latents, group)), n)
    if n < width:
        return _by_rows(latents, about, components)
    return from_products(
        added(products(rows, about.mean) for rows in groups(latents, group)), about, components
    )


def groups(rows: NDArray[Any], group: int = GROUP) -> Iterator[NDArray[Any]]:
    """The rows (n, …) in groups of so many chunks, the last one shorter."""
    size = group * CHUNK
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def added(parts: Iterable[Array]) -> Array:
    """The sum of one or more arrays of a shape, added in their order."""
    return reduce(np.add, parts)


def sums(latents: NDArray[np.float32]) -> Array:
    """Of one group (m, d): the sum of its rows and, last, of their squared norms; (d + 1,)."""
    return added(np.append(rows.sum(axis=0), np.sum(rows * rows)) for rows in _chunks(latents))


def centre(total: Array, n: int) -> Centre:
    """The centre of a class of n rows, from its groups' `sums` (d + 1,) added up in order."""
    return Centre(n, total[:-1] / n, EXISTS * float(total[-1]) / n)


def products(latents: NDArray[np.float32], mean: Array) -> Array:
    """Of one group (m, d): Σ (t − mean)(t − mean)ᵀ, (d, d). Cost: m·d²."""
    with threadpool_limits(1):
        return added(centred.T @ centred for centred in (c - mean for c in _chunks(latents)))


def from_products(total: Array, about: Centre, components: int) -> Axes:
    """The axes of a class of n ≥ d rows, from its groups' `products` (d·d numbers) added in order.

    As `principal_axes`, which takes another way where n < d.
    """
    width = len(about.mean)
    wanted = min(components, about.n - 1, width)
    if wanted < 1:
        return Axes(about.mean, np.empty((0, width)), np.empty(0))
    with threadpool_limits(1):
        values, vectors = scipy.linalg.eigh(
            total.reshape(width, width) / (about.n - 1), subset_by_index=(width - wanted, width - 1)
        )
    return _existing(values[::-1], vectors.T[::-1], about)


def project(latents: NDArray[np.float32], axes: Axes) -> Array:
    """Coordinates (n, k) of latents (n, d) on the axes, centred by the class mean.

    In batches of one size, the last one padded: a row's coordinates do not depend on the others.
    """
    result = np.empty((len(latents), len(axes.axes)))
    batch = np.zeros((CHUNK, latents.shape[1]))
    with threadpool_limits(1):
        for start in range(0, len(latents), CHUNK):
            rows = latents[start : start + CHUNK]
            batch[: len(rows)] = rows
            batch[: len(rows)] -= axes.mean
            batch[len(rows) :] = 0.0
            result[start : start + len(rows)] = (batch @ axes.axes.T)[: len(rows)]
    return result


def spread(projections: Array) -> Spread:
    """The spread of one group of projections (m, k)."""
    squares = added(np.square(rows).sum(axis=0) for rows in _chunks(projections))
    return Spread(len(projections), squares, projections.min(axis=0), projections.max(axis=0))


def merged(parts: Iterable[Spread]) -> Spread:
    """The spread of a class, from those of its groups in order."""
    found = list(parts)
    return Spread(
        sum(part.n for part in found),
        added(part.squares for part in found),
        np.min([part.lowest for part in found], axis=0),
        np.max([part.highest for part in found], axis=0),
    )


def _by_rows(latents: NDArray[np.float32], about: Centre, components: int) -> Axes:
    """The axes of a class of n < d rows, by the singular values of the rows themselves."""
    wanted = min(components, about.n - 1)
    with threadpool_limits(1):
        centred = latents.astype(np.float64) - about.mean
        _, singular, rows = scipy.linalg.svd(centred, full_matrices=False)
    values = singular[:wanted] ** 2 / max(about.n - 1, 1)
    return _existing(values, rows[:wanted], about)


def _existing(values: Array, axes: Array, about: Centre) -> Axes:
    exist = values > about.least
    return Axes(about.mean, _signed(axes[exist]), values[exist])


def _chunks(rows: NDArray[Any]) -> Iterator[Array]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK].astype(np.float64)


def _signed(axes: Array) -> Array:
    """Each axis with its largest-magnitude entry positive."""
    sizes = np.abs(axes)
    largest = sizes.max(axis=1, keepdims=True)
    first = np.argmax(sizes >= largest * (1 - TIE), axis=1)
    signs = np.sign(np.take_along_axis(axes, first[:, None], axis=1))
    return axes * signs
