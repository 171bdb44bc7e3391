"""Histograms of the directions of a picture's gradients, in overlapping windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.registration.kernels.contrast import blur
from udfs.vectors.kernels.compiling import inlined, summed

DIRECTIONS = 8  # bins of a histogram
CELLS = 4  # histograms of a window along each side
STEP = 4  # pixels between neighbouring histograms
# A window in which all gradients add up to less is taken for flat, more or less: that of a picture
# in [0, 1] whose neighbouring pixels differ by 0.00001.
FLAT_WINDOW = 1e-3
_ZERO, _ONE, _TWO, _FOUR, _EIGHT = (np.float32(number) for number in (0, 1, 2, 4, 8))
_TINY = np.float32(1e-30)
_EIGHTHS = np.float32(4 / math.pi)  # of a turn, in a radian
# Of z², in the polynomial of (arctan z)/z − 1 for z in [0, 1].
_ARC_TANGENT = np.array(
    [
        *(-0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393),
        *(-0.0752896400, 0.0429096138, -0.0161657367, 0.0028662257),
    ],
    np.float32,
)


@summed
def windows(grey: Any, smoothing: Any, pooling: Any, out: Any) -> None:
    """The windows of a picture (n, n) in [0, 1]: out (w·w, 128), w = (n − 16)/4 + 1.

    The gradients of the smoothed picture are entered, by their length, in the two bins next to
    their direction; each bin is smoothed by `pooling`, and read at every fourth pixel from the
    third on. A window holds the histograms of 4×4 such places: down, then across, then the bins.
    What it holds is divided by its sum, and of the quotients the roots are taken.

    smoothing, pooling: weights of Gaussians, as `pictures.gaussian` gives them.
    """
    n = grey.shape[0]
    columns, smooth = np.empty_like(grey), np.empty_like(grey)
    row = np.empty(n + max(len(smoothing), len(pooling)), np.float32)
    blur(grey, smoothing, smooth, columns, row)
    bins = np.zeros((DIRECTIONS, n, n), np.float32)
    lengths, directions = np.empty(n, np.float32), np.empty(n, np.float32)
    for y in range(1, n - 1):
        middle, above, below = smooth[y], smooth[y - 1], smooth[y + 1]
        for x in range(n - 2):
            gx, gy = middle[x + 2] - middle[x], below[x + 1] - above[x + 1]
            lengths[x] = math.sqrt(gx * gx + gy * gy)
            directions[x] = _direction(gx, gy)
        for x in range(n - 2):
            low = math.floor(directions[x])
            part = directions[x] - np.float32(low)
            first = int(low) % DIRECTIONS
            bins[first, y, x + 1] = lengths[x] * (_ONE - part)
            bins[(first + 1) % DIRECTIONS, y, x + 1] = lengths[x] * part
    radius = len(pooling) // 2
    places = n // STEP
    start = STEP // 2
    histograms = np.empty((places, places, DIRECTIONS), np.float32)
    line = np.empty(n, np.float32)
    for b in range(DIRECTIONS):
        for py in range(places):
            y = start + STEP * py
            middle, weight = bins[b, y], pooling[radius]
            for x in range(n):
                line[x] = weight * middle[x]
            for d in range(1, radius + 1):
                up, down = abs(y - d), y + d
                if down >= n:
                    down = 2 * n - 2 - down
                weight, upper, lower = pooling[radius + d], bins[b, up], bins[b, down]
                for x in range(n):
                    line[x] += weight * (upper[x] + lower[x])
            for px in range(places):
                x = start + STEP * px
                value = pooling[radius] * line[x]
                for d in range(1, radius + 1):
                    left, right = abs(x - d), x + d
                    if right >= n:
                        right = 2 * n - 2 - right
                    value += pooling[radius + d] * (line[left] + line[right])
                histograms[py, px, b] = value
    sums, roots = np.empty((places, places), np.float32), np.empty_like(histograms)
    for py in range(places):
        for px in range(places):
            total = _ZERO
            for b in range(DIRECTIONS):
                total += histograms[py, px, b]
                roots[py, px, b] = math.sqrt(max(histograms[py, px, b], _ZERO))
            sums[py, px] = total
    across = places - CELLS + 1
    for wy in range(across):
        for wx in range(across):
            total = np.float32(FLAT_WINDOW)
            for cy in range(CELLS):
                for cx in range(CELLS):
                    total += sums[wy + cy, wx + cx]
            scale = _ONE / math.sqrt(total)
            window = out[wy * across + wx]
            at = 0
            for cy in range(CELLS):
                for cx in range(CELLS):
                    place = roots[wy + cy, wx + cx]
                    for b in range(DIRECTIONS):
                        window[at + b] = place[b] * scale
                    at += DIRECTIONS


@inlined
def _direction(gx: Any, gy: Any) -> Any:
    """The direction of a gradient in eighths of a turn, in [0, 8]; 0 where there is none.

    The arc tangent is the polynomial 4.4.49 of Abramowitz and Stegun, "Handbook of Mathematical
    Functions" (1964), which is off by 2e-8 at most, less than float32 is. It is computed without
    branches, so that many pixels are computed at once.
    """
    wide, high = abs(gx), abs(gy)
    longer, shorter = max(wide, high), min(wide, high)
    z = shorter / max(longer, _TINY)
    square = z * z
    value = _ARC_TANGENT[7]
    for k in range(6, -1, -1):
        value = value * square + _ARC_TANGENT[k]
    eighths = z * (_ONE + square * value) * _EIGHTHS
    eighths = _TWO - eighths if high > wide else eighths
    eighths = _FOUR - eighths if gx < 0 else eighths
    return _EIGHT - eighths if gy < 0 else eighths
