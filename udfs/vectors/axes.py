"""The leading axes of a set of vectors, and evenly spread samples of its rows.

Use `leading_axes` to find the axes that `udfs.vectors.screen` bounds cosines with, `fitting_sample`
to choose the rows that they are found from, and `spread` for any other sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.vectors.cosine import Indices, Matrix

SAMPLE = 2048  # rows that the axes are found from
FEWEST = 4096  # fewer vectors are compared in less time than their axes are found in


def leading_axes(units: Matrix, count: int) -> Matrix:
    """Leading eigenvectors of VᵀV, not centred: (n, width) → (count, width) float32.

    By subspace iteration from a fixed start (Halko, Martinsson & Tropp, SIAM Review 53, 2011). The
    bounds of `screen` hold for any axes; better axes rule out more pairs.
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
    """`count` rows that are evenly spread from the first to the last; all rows if there are fewer.

    >>> spread(np.arange(100), 3).tolist()
    [0, 49, 99]
    """
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def fitting_sample(rows: Indices) -> Indices:
    """The rows that a `Screen` is fitted on: SAMPLE spread rows, or none of fewer than FEWEST."""
    return spread(rows, SAMPLE if len(rows) >= FEWEST else 0)
