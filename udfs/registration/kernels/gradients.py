"""Histograms of the directions of a picture's gradients, in overlapping windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.registration.kernels.contrast import blur
from udfs.vectors.kernels.compiling import summed

DIRECTIONS = 8  # bins of a histogram
CELLS = 4  # histograms of a window along each side
STEP = 4  # pixels between neighbouring histograms
# A window in which all gradients add up to less is taken for flat, more or less: that of a picture
# in [0, 1] whose neighbouring pixels differ by 0.00001.
FLAT_WINDOW = 1e-3
_ZERO = np.float32(0)


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
    turn = np.float32(DIRECTIONS / (2 * math.pi))
    for y in range(1, n - 1):
        for x in range(1, n - 1):
            gx = smooth[y, x + 1] - smooth[y, x - 1]
            gy = smooth[y + 1, x] - smooth[y - 1, x]
            length = math.sqrt(gx * gx + gy * gy)
            place = np.float32(math.atan2(gy, gx)) * turn
            low = math.floor(place)
            part = np.float32(place - low)
            first = int(low) % DIRECTIONS
            bins[first, y, x] += length * (1 - part)
            bins[(first + 1) % DIRECTIONS, y, x] += length * part
    radius = len(pooling) // 2
    places = n // STEP
    start = STEP // 2
    histograms = np.empty((places, places, DIRECTIONS), np.float32)
    line = np.empty(n, np.float32)
    for b in range(DIRECTIONS):
        for py in range(places):
            y = start + STEP * py
            for x in range(n):
                line[x] = pooling[radius] * bins[b, y, x]
            for d in range(1, radius + 1):
                above, below = abs(y - d), y + d
                if below >= n:
                    below = 2 * n - 2 - below
                for x in range(n):
                    line[x] += pooling[radius + d] * (bins[b, above, x] + bins[b, below, x])
            for px in range(places):
                x = start + STEP * px
                value = pooling[radius] * line[x]
                for d in range(1, radius + 1):
                    left, right = abs(x - d), x + d
                    if right >= n:
                        right = 2 * n - 2 - right
                    value += pooling[radius + d] * (line[left] + line[right])
                histograms[py, px, b] = value
    across = places - CELLS + 1
    for wy in range(across):
        for wx in range(across):
            total = _ZERO
            for cy in range(CELLS):
                for cx in range(CELLS):
                    for b in range(DIRECTIONS):
                        total += histograms[wy + cy, wx + cx, b]
            scale = 1 / (total + np.float32(FLAT_WINDOW))
            at = 0
            for cy in range(CELLS):
                for cx in range(CELLS):
                    for b in range(DIRECTIONS):
                        value = histograms[wy + cy, wx + cx, b]
                        out[wy * across + wx, at] = math.sqrt(max(value, _ZERO) * scale)
                        at += 1
