"""What the coarse search needs: pictures through matrices, products of spectra, largest entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from udfs.vectors.kernels.compiling import inlined, summed

_ZERO = np.float32(0)


@inlined
def at(picture: Any, px: Any, py: Any) -> Any:
    """The picture at a place in pixels from its upper left one: bilinear, clamped."""
    last = picture.shape[0] - 1
    px = min(max(px, _ZERO), np.float32(last))
    py = min(max(py, _ZERO), np.float32(last))
    ix, iy = min(int(px), last - 1), min(int(py), last - 1)
    fx, fy = px - np.float32(ix), py - np.float32(iy)
    above, below = picture[iy, ix], picture[iy + 1, ix]
    above = above + fx * (picture[iy, ix + 1] - above)
    below = below + fx * (picture[iy + 1, ix + 1] - below)
    return above + fy * (below - above)


@summed
def resampled(picture: Any, matrices: Any, out: Any) -> None:
    """Show a picture (n, n) through matrices (m, 2, 2), 0 outside: out (m, n, n)."""
    n = picture.shape[0]
    centre, half = np.float32((n - 1) / 2), np.float32(n / 2)
    for each in range(len(matrices)):
        m = matrices[each]
        for y in range(n):
            dy = np.float32(y) - centre
            for x in range(n):
                dx = np.float32(x) - centre
                px, py = m[0, 0] * dx + m[0, 1] * dy, m[1, 0] * dx + m[1, 1] * dy
                inside = abs(px) <= half and abs(py) <= half
                out[each, y, x] = at(picture, px + centre, py + centre) if inside else _ZERO


@summed
def multiplied(left: Any, left_rows: Any, right: Any, right_rows: Any, out: Any) -> None:
    """Products of spectra: out[j] = left[left_rows[j]] · right[right_rows[j]], complex."""
    for j in range(len(left_rows)):
        a, b = left[left_rows[j]], right[right_rows[j]]
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                out[j, y, x] = a[y, x] * b[y, x]


@summed
def highest(correlation: Any, weights: Any, value: Any, place: Any) -> None:
    """The planes of the largest weighted entries of planes (planes, n, n), one entry a plane.

    value: (k,), the entries, falling. place: (k, 2), their planes and their indices y·n + x.
    """
    planes, n = correlation.shape[0], correlation.shape[1]
    values, places = np.empty(planes, np.float32), np.empty(planes, np.int64)
    for j in range(planes):
        best, row = np.float32(-1e30), 0
        for y in range(n):
            of_row = np.float32(-1e30)
            for x in range(n):
                of_row = max(of_row, correlation[j, y, x] * weights[j, y, x])
            if of_row > best:
                best, row = of_row, y
        values[j], places[j] = np.float32(-1e30), 0
        for x in range(n):
            entry = correlation[j, row, x] * weights[j, row, x]
            if entry > values[j]:
                values[j], places[j] = entry, row * n + x
    for k in range(len(value)):
        best_plane = 0
        for j in range(planes):
            if values[j] > values[best_plane]:
                best_plane = j
        value[k], place[k, 0], place[k, 1] = values[best_plane], best_plane, places[best_plane]
        values[best_plane] = np.float32(-1e30)
