"""Contrast normalisation, gradients and the structure tensor of one picture.

Pictures are square arrays of float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.vectors.kernels.compiling import inlined, summed

_ZERO = np.float32(0)


@inlined
def blur(source: Any, kernel: Any, out: Any, columns: Any, row: Any) -> None:
    """Convolve with a symmetric kernel along both axes; pixels outside are mirrored at the edge.

    columns: scratch of the shape of `source`. row: scratch of its side and twice the radius.
    """
    # Rows and slices are taken before the inner loops, so that no index in them can be negative and
    # they become loops of vectors.
    n = source.shape[0]
    radius = len(kernel) // 2
    for y in range(n):
        middle, sums = source[y], columns[y]
        for x in range(n):
            sums[x] = kernel[radius] * middle[x]
        for d in range(1, radius + 1):
            above, below = abs(y - d), y + d
            if below >= n:
                below = 2 * n - 2 - below
            weight, upper, lower = kernel[radius + d], source[above], source[below]
            for x in range(n):
                sums[x] += weight * (upper[x] + lower[x])
    for y in range(n):
        middle, sums = columns[y], out[y]
        for x in range(n):
            row[radius + x] = middle[x]
            sums[x] = kernel[radius] * middle[x]
        for d in range(1, radius + 1):
            row[radius - d] = middle[d]
            row[radius + n - 1 + d] = middle[n - 1 - d]
        for d in range(1, radius + 1):
            weight = kernel[radius + d]
            left, right = row[radius - d : radius - d + n], row[radius + d : radius + d + n]
            for x in range(n):
                sums[x] += weight * (left[x] + right[x])


@inlined
def normalise(grey: Any, near: Any, wide: Any, floor: Any, out: Any, contrast: Any) -> None:
    """Contrast normalisation: out = h/√(G∗h² + floor²) with h = g − G∗g, contrast = G∗h²."""
    n = grey.shape[0]
    columns = np.empty_like(grey)
    row = np.empty(n + len(wide), np.float32)
    squares = np.empty_like(grey)
    blur(grey, near, out, columns, row)
    for y in range(n):
        for x in range(n):
            high = grey[y, x] - out[y, x]
            out[y, x] = high
            squares[y, x] = high * high
    blur(squares, wide, contrast, columns, row)
    for y in range(n):
        for x in range(n):
            out[y, x] /= math.sqrt(max(contrast[y, x], _ZERO) + floor * floor)


@inlined
def gradients(picture: Any, gx: Any, gy: Any) -> None:
    """Central differences along both axes; 0 at the edges."""
    n = picture.shape[0]
    half = np.float32(0.5)
    for y in range(n):
        for x in range(1, n - 1):
            gx[y, x] = half * (picture[y, x + 1] - picture[y, x - 1])
        gx[y, 0] = _ZERO
        gx[y, n - 1] = _ZERO
    for y in range(1, n - 1):
        for x in range(n):
            gy[y, x] = half * (picture[y + 1, x] - picture[y - 1, x])
    for x in range(n):
        gy[0, x] = _ZERO
        gy[n - 1, x] = _ZERO


@summed
def prepare(
    grey: Any, root: Any, near: Any, wide: Any, near_half: Any, wide_half: Any, floor: Any,
    fine: Any, coarse: Any,
) -> None:  # fmt: skip
    """Normalised pictures and gradients of a grey picture (64, 64) in [0, 1].

    root: √(width/height) of the original. near, wide: kernels at full size; near_half, wide_half:
    at half size. fine: (4, 64, 64) to be filled with the normalised picture, its gradients along x
    and y in units of equal length, and the contrast. coarse: (3, 32, 32), the same at half size
    without the contrast.
    """
    half = np.empty((grey.shape[0] // 2, grey.shape[1] // 2), np.float32)
    contrast = np.empty_like(half)
    quarter = np.float32(0.25)
    for y in range(half.shape[0]):
        for x in range(half.shape[1]):
            above = grey[2 * y, 2 * x] + grey[2 * y, 2 * x + 1]
            half[y, x] = quarter * (above + grey[2 * y + 1, 2 * x] + grey[2 * y + 1, 2 * x + 1])
    normalise(grey, near, wide, floor, fine[0], fine[3])
    normalise(half, near_half, wide_half, floor, coarse[0], contrast)
    gradients(fine[0], fine[1], fine[2])
    gradients(coarse[0], coarse[1], coarse[2])
    for level in (fine, coarse):
        for y in range(level.shape[1]):
            for x in range(level.shape[2]):
                level[1, y, x] /= root
                level[2, y, x] *= root


@inlined
def fill_structure(normalised: Any, narrow: Any, broad: Any, out: Any) -> None:
    """Smoothed derivatives of a normalised picture and its structure tensor: out (5, 64, 64)."""
    n = normalised.shape[0]
    columns, smooth = np.empty_like(normalised), np.empty_like(normalised)
    row = np.empty(n + len(broad), np.float32)
    blur(normalised, narrow, smooth, columns, row)
    gradients(smooth, out[0], out[1])
    for part in range(3):
        for y in range(n):
            for x in range(n):
                gx, gy = out[0, y, x], out[1, y, x]
                smooth[y, x] = gx * gx if part == 0 else (gx * gy if part == 1 else gy * gy)
        blur(smooth, broad, out[2 + part], columns, row)


@summed
def structure(normalised: Any, narrow: Any, broad: Any, out: Any) -> None:
    """Fill out (5, 64, 64): derivatives along x and y, and the entries xx, xy, yy of the tensor."""
    fill_structure(normalised, narrow, broad, out)
