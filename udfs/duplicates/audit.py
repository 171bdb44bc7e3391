"""Plain float64 cosines, by which the audit checks a selection without the code that made it.

Use `pairs_above` to check that no two kept images of a class have Sim > T, and `cosines` to check
that every removed image has a kept image with Sim > T (docs/method.md, "Which images stay"). Plain
float64 sums differ from the correctly rounded Sim by less than TOLERANCE, so a violation is a
difference of more than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]
TOLERANCE = 1e-12
_ROWS = 512  # rows that are compared with the whole sample at a time


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> Vector:
    """Cosine of row i of `left` with row i of `right`, for all i: (n, width) × 2 → (n,).

    Each is one float64 dot product of unit vectors; NaN where a row is zero.
    """
    a, b = _unit(left), _unit(right)
    return np.asarray((a * b).sum(axis=1))


def pairs_above(
    sample: NDArray[np.float32], rows: NDArray[np.float32], threshold: float
) -> tuple[Indices, Indices, Vector]:
    """Pairs of a sampled image and a row with cosine > T: (m, width), (n, width) → (pairs,) × 3.

    Returns the sampled images' indices, the rows' indices and the cosines. Cost: all m·n products.
    """
    left = _unit(sample)
    above: list[tuple[Indices, Indices, Vector]] = []
    for first in range(0, max(1, len(rows)), _ROWS):
        cosine = left @ _unit(rows[first : first + _ROWS]).T
        i, j = np.nonzero(cosine > threshold)  # a comparison with NaN is false
        above.append((i, j + first, cosine[i, j]))
    parts = zip(*above, strict=True)
    i, j, cosine = (np.concatenate(part) for part in parts)
    return i, j, cosine


def _unit(rows: NDArray[np.float32]) -> Vector:
    wide = rows.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        return np.asarray(wide / length)
