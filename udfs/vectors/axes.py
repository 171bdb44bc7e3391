"""Leading axes of vectors, and how much of them each holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.vectors.cosine import Matrix

Rows = NDArray[np.int64]

SAMPLE = 2048  # rows that the axes are found from
LEAST = 4096  # fewer vectors are compared sooner than axes are found for them


def leading_axes(units: Matrix, count: int) -> Matrix:
    """Leading eigenvectors of V'V, uncentred, of rows (n, width): (count, width) float32.

    By subspace iteration from a fixed start (Halko, Martinsson & Tropp, SIAM Review 53, 2011): the
    bounds hold for any axes, better ones rule out more.
    """
    width = units.shape[1]
    start = np.random.default_rng(0).standard_normal((width, min(count + 8, width)))
    block = start.astype(np.float32)
    for _ in range(2):
        block = np.linalg.qr(units.T @ (units @ block))[0].astype(np.float32)
    basis = np.linalg.qr(block.astype(np.float64))[0]
    on_basis = units.astype(np.float64) @ basis
    _, vectors = np.linalg.eigh(on_basis.T @ on_basis)
    axes = basis @ vectors[:, ::-1][:, :count]
    return np.ascontiguousarray(axes.T, dtype=np.float32)


def spread(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """So many rows, evenly spread over all of them; all where there are no more."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def sample(rows: Rows) -> Rows:
    """Of so many rows with a direction those that a screen is fitted on: none of few."""
    return spread(rows, SAMPLE if len(rows) >= LEAST else 0)
