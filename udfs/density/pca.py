"""Principal axes of a class and the projections on them, repeatable to the last bit.

Use `principal_axes` and `project` on the latents of a class that fits into memory. The functions
`sums`, `centre`, `products`, `from_products`, `spread` and `merged` do the same group by group, for
a class that is spread over tasks. Sums are folded in two fixed levels, blocks of 1,024 rows into
groups of 32 blocks and then the groups in order, so both ways give equal axes to the last bit
(docs/method.md, "Principal components").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
BLOCK = 1024  # rows that are summed at a time
GROUP = 32  # blocks whose sums are added before those of other groups are
EXISTS = 1e-12  # share of the mean squared norm that an eigenvalue must exceed to be a component
TIE = 1e-12  # relative difference up to which an entry counts as equal to the largest


@dataclass(frozen=True)
class Axes:
    """The mean (d,), the unit axes as rows (k, d), and their eigenvalues (k,), falling; float64."""

    mean: Array
    axes: Array
    eigenvalues: Array


@dataclass(frozen=True)
class Centre:
    """The mean (d,) of a class of n rows, and what the eigenvalue of a component must exceed."""

    n: int
    mean: Array
    least: float


@dataclass(frozen=True)
class Spread:
    """The sums of squares, lowest and highest values of n projections: (k,) each."""

    n: int
    squares: Array
    lowest: Array
    highest: Array

    @property
    def sigma(self) -> Array:
        """The standard deviations, divisor n: (k,). Projections are centred, so their mean is 0."""
        return np.sqrt(self.squares / self.n)


def principal_axes(latents: NDArray[np.float32], components: int, group: int = GROUP) -> Axes:
    """Return the leading eigenvectors of the covariance (divisor n − 1): (n, d) → k axes.

    The entry of largest magnitude of each axis is positive (of equal entries the first one).
    Component k exists if k ≤ n − 1 and its eigenvalue exceeds 1e-12 of the mean squared norm, so
    there may be fewer axes than asked for. Cost: n·d² for n ≥ d, else n²·d.

    Args:
        latents: n ≥ 1 rows, in the order of the images' ids.
        components: the largest number of axes.
        group: blocks of a group, by which sums are folded.

    >>> points = np.array([[1, 1], [-1, -1], [2, 2], [-2, -2]], np.float32)
    >>> axes = principal_axes(points, components=2)  # the second eigenvalue is 0: no component
    >>> axes.axes.round(3).tolist(), axes.eigenvalues.round(3).tolist()
    ([[0.707, 0.707]], [6.667])
    >>> project(points, axes).round(3).ravel().tolist()
    [1.414, -1.414, 2.828, -2.828]

    """
    n, width = latents.shape
    about = centre(added(sums(rows) for rows in groups(latents, group)), n)
    if n < width:
        return _by_rows(latents, about, components)
    return from_products(
        added(products(rows, about.mean) for rows in groups(latents, group)), about, components
    )


def groups(rows: NDArray[Any], group: int = GROUP) -> Iterator[NDArray[Any]]:
    """Yield the rows (n, …) in groups of `group` blocks; the last group may be shorter."""
    size = group * BLOCK
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def added(parts: Iterable[Array]) -> Array:
    """Return the sum of one or more arrays of equal shape, added in their order."""
    return reduce(np.add, parts)


def sums(latents: NDArray[np.float32]) -> Array:
    """Return the sum of a group's rows and, last, of their squared norms: (m, d) → (d + 1,)."""
    return added(np.append(rows.sum(axis=0), np.sum(rows * rows)) for rows in _blocks(latents))


def centre(total: Array, n: int) -> Centre:
    """Return the centre of a class of n rows from its groups' `sums` (d + 1,), added in order."""
    return Centre(n, total[:-1] / n, EXISTS * float(total[-1]) / n)


def products(latents: NDArray[np.float32], mean: Array) -> Array:
    """Return Σ (t − mean)(t − mean)ᵀ over a group's rows: (m, d), (d,) → (d, d). Cost: m·d²."""
    with threadpool_limits(1):
        return added(centred.T @ centred for centred in (c - mean for c in _blocks(latents)))


def from_products(total: Array, about: Centre, components: int) -> Axes:
    """Return the axes of a class of n ≥ d rows from its groups' `products`, added in order.

    The axes are those of `principal_axes`, which computes them in another way if n < d.
    """
    width = len(about.mean)
    count = min(components, about.n - 1, width)
    if count < 1:
        return Axes(about.mean, np.empty((0, width)), np.empty(0))
    with threadpool_limits(1):
        values, vectors = scipy.linalg.eigh(
            total.reshape(width, width) / (about.n - 1), subset_by_index=(width - count, width - 1)
        )
    return _existing(values[::-1], vectors.T[::-1], about)


def project(latents: NDArray[np.float32], axes: Axes) -> Array:
    """Return the coordinates on the axes, centred by the class mean: (n, d) → (n, k).

    Rows are projected in batches of one size, the last one padded, so the coordinates of a row do
    not depend on the other rows.
    """
    result = np.empty((len(latents), len(axes.axes)))
    batch = np.zeros((BLOCK, latents.shape[1]))
    with threadpool_limits(1):
        for start in range(0, len(latents), BLOCK):
            rows = latents[start : start + BLOCK]
            batch[: len(rows)] = rows
            batch[: len(rows)] -= axes.mean
            batch[len(rows) :] = 0.0
            result[start : start + len(rows)] = (batch @ axes.axes.T)[: len(rows)]
    return result


def spread(projections: Array) -> Spread:
    """Return the spread of one group of projections (m, k)."""
    squares = added(np.square(rows).sum(axis=0) for rows in _blocks(projections))
    return Spread(len(projections), squares, projections.min(axis=0), projections.max(axis=0))


def merged(parts: Iterable[Spread]) -> Spread:
    """Return the spread of a class from those of its groups, in order."""
    spreads = list(parts)
    return Spread(
        sum(part.n for part in spreads),
        added(part.squares for part in spreads),
        np.min([part.lowest for part in spreads], axis=0),
        np.max([part.highest for part in spreads], axis=0),
    )


def _by_rows(latents: NDArray[np.float32], about: Centre, components: int) -> Axes:
    """Return the axes of a class of n < d rows, by the singular values of the centred rows."""
    count = min(components, about.n - 1)
    with threadpool_limits(1):
        centred = latents.astype(np.float64) - about.mean
        _, singular, rows = scipy.linalg.svd(centred, full_matrices=False)
    values = singular[:count] ** 2 / max(about.n - 1, 1)
    return _existing(values, rows[:count], about)


def _existing(values: Array, axes: Array, about: Centre) -> Axes:
    """Return the axes whose eigenvalues are large enough, with their signs fixed."""
    exist = values > about.least
    return Axes(about.mean, _signed(axes[exist]), values[exist])


def _blocks(rows: NDArray[Any]) -> Iterator[Array]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK].astype(np.float64)


def _signed(axes: Array) -> Array:
    """Return the axes with the entry of largest magnitude positive in each."""
    sizes = np.abs(axes)
    largest = sizes.max(axis=1, keepdims=True)
    first = np.argmax(sizes >= largest * (1 - TIE), axis=1)
    signs = np.sign(np.take_along_axis(axes, first[:, None], axis=1))
    return axes * signs
