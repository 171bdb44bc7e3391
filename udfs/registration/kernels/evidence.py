"""The score of a transform, and its evidence.

Pictures are square arrays of float32. Coordinates are in pixels from the centre of the picture; a
matrix m of shape (2, 3) takes the pixel (x, y) to (m00·x + m01·y + m02, m10·x + m11·y + m12).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.registration.kernels.contrast import blur, fill_structure, normalise
from udfs.registration.kernels.grid import at
from udfs.vectors.kernels.compiling import inlined, summed

LEAST_AGREEMENT = 0.1  # below it, neither other shifts nor blocks are looked at
LEAST_COMMON = 200  # pixels that a shift must leave of the overlap
# Every second shift (down, right) by 3 to 9 pixels of a half-plane, at which a pair must agree
# less: what repeats does so on both sides.
SHIFTS = tuple(
    (dy, dx)
    for dy in range(10)
    for dx in range(-9, 10)
    if (dy + dx) % 2 == 0 and (dy > 0 or dx > 0) and 9 <= dy * dy + dx * dx <= 81
)
# Blocks of the first picture's frame are compared each by itself. A block's weight rises from 0 to
# 1 with its pixels inside, and with the smaller deviation of both pictures.
BLOCK = 8  # pixels of a block's side
FEW_PIXELS = 48  # with no more of its 64 pixels inside, a block has no weight
FULL_DEVIATION = 0.2  # of a normalised picture that is smoothed as for derivatives
WORST = 1 / 3  # the share of all weight that the blocks have that agree least
ENOUGH = 4.0  # weight of all blocks; what is missing to it counts as agreeing
_ZERO, _HALF, _ONE, _FOUR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(4)
_TINY = np.float32(1e-30)  # in place of a length of 0
_SHIFTS = np.array(SHIFTS)


@inlined
def _laid_over(picture: Any, m: Any, out: Any, inside: Any) -> Any:
    """The picture through m, mirrored outside; returns how many pixels are `inside`."""
    n = out.shape[0]
    centre, half, last = np.float32((n - 1) / 2), np.float32(n / 2), np.float32(n - 1)
    count = 0
    for y in range(n):
        dy = np.float32(y) - centre
        for x in range(n):
            dx = np.float32(x) - centre
            px = m[0, 0] * dx + m[0, 1] * dy + m[0, 2]
            py = m[1, 0] * dx + m[1, 1] * dy + m[1, 2]
            within = abs(px) <= half and abs(py) <= half
            inside[y, x] = within
            count += within
            px, py = abs(px + centre), abs(py + centre)
            if px > last:
                px = 2 * last - px
            if py > last:
                py = 2 * last - py
            out[y, x] = at(picture, px, py)
    return count


@inlined
def _agreement(own: Any, other: Any, ranges: Any, dy: Any, dx: Any) -> Any:
    """The correlation of two pictures' derivatives along directions, the other one shifted.

    own: (3, n, n), the first picture's derivative, and the direction along which it is taken, x
    before y. other: (2, n, n), the gradient of the other picture. ranges: (2, n), in each row the
    first pixel at which both are known, and the end of these pixels. 0 where too little is left.
    """
    n = ranges.shape[1]
    product = energy = other_energy = _ZERO
    common = 0
    for y in range(n - dy):
        low = max(ranges[0, y], ranges[0, y + dy] - dx)
        count = min(ranges[1, y], ranges[1, y + dy] - dx) - low
        if count <= 0:
            continue
        common += count
        # Slices from 0 on, so that no index can be negative and the loop becomes one of vectors.
        first, second = slice(low, low + count), slice(low + dx, low + dx + count)
        derivative, x_part, y_part = own[0, y, first], own[1, y, first], own[2, y, first]
        gx, gy = other[0, y + dy, second], other[1, y + dy, second]
        for x in range(count):
            u, v = derivative[x], x_part[x] * gx[x] + y_part[x] * gy[x]
            product += u * v
            energy += u * u
            other_energy += v * v
    spread = energy * other_energy
    return product / math.sqrt(spread) if common >= LEAST_COMMON and spread > 1e-12 else 0.0


@inlined
def _derivatives(own: Any, other: Any, inside: Any, along: Any, ranges: Any) -> None:
    """What `_agreement` compares, of two structures (5, n, n); fills `along` and `ranges`.

    along: (3, n, n), the first picture's derivative along the direction in which the two pictures
    together vary least, and that direction. ranges: (2, n), the pixels of each row that lie well
    inside. What is inside is convex, so these follow each other.
    """
    n = inside.shape[0]
    for y in range(n):
        ranges[0, y], ranges[1, y] = n, 0
    for y in range(2, n - 2):
        for x in range(2, n - 2):
            if (
                inside[y, x] and inside[y - 2, x] and inside[y + 2, x]
                and inside[y, x - 2] and inside[y, x + 2]
            ):  # fmt: skip
                ranges[0, y], ranges[1, y] = min(ranges[0, y], x), x + 1
        first, count = ranges[0, y], max(0, ranges[1, y] - ranges[0, y])
        for x in range(count):
            at = first + x
            xx = own[2, y, at] + other[2, y, at]
            xy = own[3, y, at] + other[3, y, at]
            yy = own[4, y, at] + other[4, y, at]
            # Cosine and sine of the direction of largest variation; the derivatives are taken at
            # right angles to it. The smaller one is no root, which would lose half of its digits.
            length = math.sqrt((xx - yy) * (xx - yy) + _FOUR * xy * xy)
            double = (xx - yy) / length if length > _ZERO else _ONE
            larger = math.sqrt(_HALF * (_ONE + abs(double)))
            divisor = length if length > _TINY else _TINY
            smaller = abs(xy) / (divisor * larger)
            cosine = larger if double >= _ZERO else smaller
            sine = math.copysign(smaller if double >= _ZERO else larger, xy)
            along[1, y, at], along[2, y, at] = -sine, cosine
            along[0, y, at] = own[1, y, at] * cosine - own[0, y, at] * sine


@inlined
def _worst_blocks(own: Any, other: Any, inside: Any) -> Any:
    """The mean correlation of the third of the blocks that agree least, by weight.

    own, other: (n, n), both normalised pictures, smoothed. Weight that is missing to ENOUGH counts
    as a correlation of 1: a few blocks alone do not decide.
    """
    n = inside.shape[0]
    side = n // BLOCK
    correlations, weights = np.zeros(side * side), np.zeros(side * side)
    total = 0.0
    for block in range(side * side):
        top, left = block // side * BLOCK, block % side * BLOCK
        st = sw = stt = sww = stw = 0.0
        pixels = 0
        for y in range(top, top + BLOCK):
            for x in range(left, left + BLOCK):
                if inside[y, x]:
                    t, w = own[y, x], other[y, x]
                    st += t
                    sw += w
                    stt += t * t
                    sww += w * w
                    stw += t * w
                    pixels += 1
        if pixels > FEW_PIXELS:
            var_t = max(stt / pixels - st * st / (pixels * pixels), 0.0)
            var_w = max(sww / pixels - sw * sw / (pixels * pixels), 0.0)
            spread = math.sqrt(var_t * var_w)
            if spread > 1e-6:
                correlations[block] = (stw / pixels - st * sw / (pixels * pixels)) / spread
            share = (pixels - FEW_PIXELS) / (BLOCK * BLOCK - FEW_PIXELS)
            deviation = math.sqrt(min(var_t, var_w))
            weights[block] = share * min(deviation / FULL_DEVIATION, 1.0)
            total += weights[block]
    left_over = WORST * total
    missed = 0.0
    for block in np.argsort(correlations):
        taken = min(weights[block], left_over)
        left_over -= taken
        missed += taken * (1 - correlations[block])
    return 1 - missed / (WORST * max(total, ENOUGH))


@summed
def judge(
    fine: Any, own_structure: Any, other_grey: Any, m: Any, near: Any, wide: Any, floor: Any,
    narrow: Any, broad: Any, unproved: Any, out: Any,
) -> None:  # fmt: skip
    """The score of a transform and its evidence.

    fine: of the first picture, as `prepare` fills it. own_structure: its `structure`. other_grey:
    the second picture in [0, 1]. unproved: with a lower registration no pair is proved, and the
    agreement is not computed but 0. out: (5,), registration, agreement, blocks, overlap, and the
    share of the overlap that has contrast in both pictures; `alignment.Alignments` defines them.
    """
    n = other_grey.shape[0]
    warped, normalised = np.empty_like(other_grey), np.empty_like(other_grey)
    contrast = np.empty_like(other_grey)
    inside = np.empty((n, n), np.bool_)
    count = _laid_over(other_grey, m, warped, inside)
    normalise(warped, near, wide, floor, normalised, contrast)
    st = sw = stt = sww = stw = 0.0
    textured = 0
    limit = floor * floor
    for y in range(n):
        for x in range(n):
            if inside[y, x]:
                t, w = fine[0, y, x], normalised[y, x]
                st += t
                sw += w
                stt += t * t
                sww += w * w
                stw += t * w
                textured += fine[3, y, x] > limit and contrast[y, x] > limit
    pixels = max(count, 1)
    var_t, var_w = stt - st * st / pixels, sww - sw * sw / pixels
    spread = math.sqrt(max(var_t, 0.0) * max(var_w, 0.0))
    out[0] = (stw - st * sw / pixels) / spread if spread > 1e-6 else 0.0
    blocks = 0
    for by in range(0, n, 8):
        for bx in range(0, n, 8):
            contrasts = 0
            for y in range(by, by + 8):
                for x in range(bx, bx + 8):
                    contrasts += inside[y, x] and fine[3, y, x] > limit and contrast[y, x] > limit
            blocks += contrasts >= 32
    out[1], out[2], out[3], out[4] = 0.0, blocks, count / (n * n), textured / pixels
    if out[0] < unproved:
        return
    other_structure = np.empty((5, n, n), np.float32)
    fill_structure(normalised, narrow, broad, other_structure)
    along, ranges = np.empty((3, n, n), np.float32), np.empty((2, n), np.int64)
    _derivatives(own_structure, other_structure, inside, along, ranges)
    agreement = _agreement(along, other_structure, ranges, 0, 0)
    out[1] = agreement
    if agreement < LEAST_AGREEMENT:
        return
    elsewhere = 0.0
    for k in range(len(_SHIFTS)):
        dy, dx = _SHIFTS[k]
        elsewhere = max(elsewhere, _agreement(along, other_structure, ranges, dy, dx))
    own_smooth, columns = np.empty_like(other_grey), np.empty_like(other_grey)
    row = np.empty(n + len(narrow), np.float32)
    blur(fine[0], narrow, own_smooth, columns, row)
    blur(normalised, narrow, warped, columns, row)
    out[1] = min(agreement - elsewhere, _worst_blocks(own_smooth, warped, inside))
