"""Principal axes of a class and the projections on them, bitwise repeatable (spec §4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
CHUNK = 1024  # rows a sum is folded over at a time
EXISTS = 1e-12  # of the class's mean squared norm: a smaller eigenvalue is no component
TIE = 1e-12  # relative: entries this close to the largest count as equal to it


@dataclass(frozen=True)
class Axes:
    """Mean (d,), unit axes as rows (k, d), their eigenvalues (k,) falling; all float64."""

    mean: Array
    axes: Array
    eigenvalues: Array


def principal_axes(latents: NDArray[np.float32], components: int) -> Axes:
    """The leading eigenvectors of the covariance (divisor n−1) of latents (n, d) in image order.

    Each axis's largest-magnitude entry is positive (of equal ones the first). Component k exists
    if k ≤ n−1 and its eigenvalue exceeds 1e-12 of the mean squared norm: fewer than asked may
    come back. Cost: n·d² for n ≥ d, else n²·d.
    """
    n, width = latents.shape
    with threadpool_limits(1):
        mean = _fold((chunk.sum(axis=0) for chunk in _chunks(latents)), np.zeros(width)) / max(n, 1)
        if n < 2:
            return Axes(mean, np.empty((0, width)), np.empty(0))
        norms = (np.array(np.sum(chunk * chunk)) for chunk in _chunks(latents))
        least = EXISTS * float(_fold(norms, np.zeros(()))) / n
        wanted = min(components, n - 1, width)
        values, axes = _of_class(latents, mean, wanted)
        exist = values > least
        return Axes(mean, _signed(axes[exist]), values[exist])


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


def _of_class(latents: NDArray[np.float32], mean: Array, wanted: int) -> tuple[Array, Array]:
    """Leading eigenvalues and axes: of the covariance, or where n < d by SVD of the rows."""
    n, width = latents.shape
    if n < width:
        centred = latents.astype(np.float64) - mean
        _, singular, rows = scipy.linalg.svd(centred, full_matrices=False)
        return singular[:wanted] ** 2 / (n - 1), rows[:wanted]
    centred_products = ((chunk - mean).T @ (chunk - mean) for chunk in _chunks(latents))
    covariance = _fold(centred_products, np.zeros((width, width))) / (n - 1)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=(width - wanted, width - 1))
    return values[::-1], vectors.T[::-1]


def _chunks(latents: NDArray[np.float32]) -> Iterator[Array]:
    for start in range(0, len(latents), CHUNK):
        yield latents[start : start + CHUNK].astype(np.float64)


def _fold(parts: Iterator[Array], start: Array) -> Array:
    for part in parts:
        start = start + part
    return start


def _signed(axes: Array) -> Array:
    """Each axis with its largest-magnitude entry positive."""
    sizes = np.abs(axes)
    largest = sizes.max(axis=1, keepdims=True)
    first = np.argmax(sizes >= largest * (1 - TIE), axis=1)
    signs = np.sign(np.take_along_axis(axes, first[:, None], axis=1))
    return axes * signs
