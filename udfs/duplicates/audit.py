"""The promises of a selection, recomputed plainly: float64 cosines and nothing of what pruned.

Spec, section 3: (a) no two kept images of a class have Sim > T; (b) every removed one has a kept
representative with Sim > T. Plain float64 sums differ from the correctly rounded Sim by less than
TOLERANCE; a violation is one by more than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
TOLERANCE = 1e-12
_ROWS = 512  # compared at a time with the whole sample


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> Array:
    """Cosine of row i of `left` with row i of `right`, (n, width) twice: (n,); NaN for a zero row.

    By one float64 dot product a pair.
    """
    a, b = _unit(left), _unit(right)
    return np.asarray((a * b).sum(axis=1))


def resembling(
    sample: NDArray[np.float32], rows: NDArray[np.float32], threshold: float
) -> tuple[Indices, Indices, Array]:
    """Pairs of a sampled image and a row, (m, width) and (n, width), with cosine > threshold.

    The sample's indices, the rows' and the cosines, (pairs,) each. All m·n are computed.
    """
    left = _unit(sample)
    found: list[tuple[Indices, Indices, Array]] = []
    for first in range(0, max(1, len(rows)), _ROWS):
        cosine = left @ _unit(rows[first : first + _ROWS]).T
        i, j = np.nonzero(cosine > threshold)  # a comparison with NaN is false
        found.append((i, j + first, cosine[i, j]))
    parts = zip(*found, strict=True)
    i, j, cosine = (np.concatenate(part) for part in parts)
    return i, j, cosine


def _unit(rows: NDArray[np.float32]) -> Array:
    wide = rows.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        return np.asarray(wide / length)
