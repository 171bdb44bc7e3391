"""The Gauss–Newton steps that raise the correlation of two pictures.

Pictures are square arrays of float32. Coordinates are in pixels from the centre of the picture; a
matrix m of shape (2, 3) takes the pixel (x, y) to (m00·x + m01·y + m02, m10·x + m11·y + m12).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.vectors.kernels.compiling import inlined, summed

FINALISTS = 2  # starts that go on after their first steps
COARSE_TOLERANCE, FINE_TOLERANCE = 0.03, 0.02  # pixels: a smaller step is the last one
LEAST_VARIANCE = 1e-6  # of a picture over the overlap; with less there is no correlation
LEAST_GAIN = 0.3  # the correlation that a step reckons with at least
LONGEST = 0.1  # of the side: no step moves a corner further, so that it stays near the start
OF_OVERLAP = 0.25  # the power of the overlap by which correlations are weighted
_ZERO, _NEXT = np.float32(0), np.uint32(1)


@inlined
def _inside(at: Any, slope: Any, limit: Any, low: Any, high: Any) -> Any:
    """The part of [low, high] in which |at + slope·x| ≤ limit; empty where low > high."""
    if abs(slope) < 1e-6:
        return (low, high) if abs(at) <= limit else (np.float32(1), np.float32(0))
    first, last = (-limit - at) / slope, (limit - at) / slope
    if first > last:
        first, last = last, first
    return max(low, first), min(high, last)


@inlined
def _sums(level: Any, other: Any, m: Any, root: Any, lines: Any, places: Any, sums: Any) -> Any:
    """Sums over the overlap that a Gauss–Newton step needs; returns the number of pixels.

    level: (3, n, n), the normalised picture and its gradients. other: (n, n). lines: (3, n) and
    places: (n,), uint32, scratch.
    sums: (27,), filled with the sums of t, t², w, w², t·w; of d0 … d3; of d0·w …; of d0·t …; of
    the ten products of d0 … d3 with each other, where d0 … d3 are the derivatives of t by the
    scale, the rotation and the shifts.
    """
    n = level.shape[1]
    centre, last = np.float32((n - 1) / 2), np.float32(n - 1)
    line, right, below, flat = lines[0], lines[1], lines[2], other.ravel()
    # Unsigned indices, and slices, cannot be negative, so the loops below become ones of vectors.
    side, corner = np.uint32(n), np.uint32(n - 2)
    count = 0
    for k in range(27):
        sums[k] = 0.0
    for y in range(n):
        dy = np.float32(y) - centre
        at_x, at_y = m[0, 1] * dy + m[0, 2], m[1, 1] * dy + m[1, 2]
        low, high = _inside(at_x, m[0, 0], centre, -centre, centre)
        low, high = _inside(at_y, m[1, 0], centre, low, high)
        if low > high:
            continue
        first, end = max(0, math.ceil(low + centre)), min(n, math.floor(high + centre) + 1)
        if end <= first:
            continue
        pixels, start = end - first, np.float32(first) - centre
        for x in range(pixels):
            dx = np.float32(x) + start
            px = min(max(m[0, 0] * dx + at_x + centre, _ZERO), last)
            py = min(max(m[1, 0] * dx + at_y + centre, _ZERO), last)
            ix, iy = min(np.uint32(px), corner), min(np.uint32(py), corner)
            places[x] = iy * side + ix
            right[x], below[x] = px - np.float32(ix), py - np.float32(iy)
        for x in range(pixels):
            at = places[x]
            under = at + side
            upper, lower = flat[at], flat[under]
            upper += right[x] * (flat[at + _NEXT] - upper)
            lower += right[x] * (flat[under + _NEXT] - lower)
            line[x] = upper + below[x] * (lower - upper)
        s0 = s1 = s2 = s3 = s4 = _ZERO
        j0 = j1 = j2 = j3 = _ZERO
        w0 = w1 = w2 = w3 = _ZERO
        t0 = t1 = t2 = t3 = _ZERO
        h0 = h1 = h2 = h3 = h4 = h5 = h6 = h7 = h8 = h9 = _ZERO
        uy = dy / root
        own, along_x = level[0, y, first:end], level[1, y, first:end]
        along_y = level[2, y, first:end]
        for x in range(pixels):
            ux = (np.float32(x) + start) * root
            t, w, gx, gy = own[x], line[x], along_x[x], along_y[x]
            d0, d1 = gx * ux + gy * uy, gx * uy - gy * ux
            s0 += t
            s1 += t * t
            s2 += w
            s3 += w * w
            s4 += t * w
            j0 += d0
            j1 += d1
            j2 += gx
            j3 += gy
            w0 += d0 * w
            w1 += d1 * w
            w2 += gx * w
            w3 += gy * w
            t0 += d0 * t
            t1 += d1 * t
            t2 += gx * t
            t3 += gy * t
            h0 += d0 * d0
            h1 += d0 * d1
            h2 += d0 * gx
            h3 += d0 * gy
            h4 += d1 * d1
            h5 += d1 * gx
            h6 += d1 * gy
            h7 += gx * gx
            h8 += gx * gy
            h9 += gy * gy
        count += pixels
        of_line = (
            s0, s1, s2, s3, s4, j0, j1, j2, j3, w0, w1, w2, w3, t0, t1, t2, t3,
            h0, h1, h2, h3, h4, h5, h6, h7, h8, h9,
        )  # fmt: skip
        for k in range(27):
            sums[k] += of_line[k]
    return count


@inlined
def _solved(hessian: Any, right: Any, factor: Any, step: Any) -> Any:
    """Solve the 4×4 system by Cholesky, slightly damped; False where it is singular."""
    for i in range(4):
        for k in range(i + 1):
            value = hessian[i, k]
            if i == k:
                value = value * (1 + 1e-4) + 1e-9
            for j in range(k):
                value -= factor[i, j] * factor[k, j]
            if i == k:
                if value <= 0:
                    return False
                factor[i, i] = math.sqrt(value)
            else:
                factor[i, k] = value / factor[k, k]
    for i in range(4):
        value = right[i]
        for j in range(i):
            value -= factor[i, j] * step[j]
        step[i] = value / factor[i, i]
    for back in range(4):
        i = 3 - back
        value = step[i]
        for j in range(i + 1, 4):
            value -= factor[j, i] * step[j]
        step[i] = value / factor[i, i]
    return True


@inlined
def _set_matrix(p: Any, root: Any, other_root: Any, m: Any) -> None:
    """Set m (2, 3) to the matrix in pixels of a transform p (4,), as `climb` describes it."""
    ratio, product = root / other_root, root * other_root
    m[0, 0], m[0, 1], m[0, 2] = p[0] * ratio, p[1] / product, p[2] / other_root
    m[1, 0], m[1, 1], m[1, 2] = -p[1] * product, p[0] / ratio, p[3] * other_root


@inlined
def _overlap(m: Any, n: Any) -> Any:
    """The share of the n×n pixels that m takes into the other picture, as in the evidence."""
    centre, half, count = np.float32((n - 1) / 2), np.float32(n / 2), 0
    for y in range(n):
        dy = np.float32(y) - centre
        low, high = _inside(m[0, 1] * dy + m[0, 2], m[0, 0], half, -centre, centre)
        low, high = _inside(m[1, 1] * dy + m[1, 2], m[1, 0], half, low, high)
        if low <= high:
            count += max(0, math.floor(high + centre) + 1 - math.ceil(low + centre))
    return count / (n * n)


@inlined
def climb(
    level: Any, other: Any, p: Any, m: Any, root: Any, other_root: Any, steps: Any, least: Any,
    largest_scale: Any, tolerance: Any,
) -> Any:  # fmt: skip
    """Raise the correlation by inverse compositional Gauss–Newton; returns it and the overlap.

    p: (4,), a, b and the shifts of v = [[a, b], [−b, a]]·u + t in units of equal length; changed in
    place. m: (2, 3), set to the matrix of the last p in pixels. The correlation is −1 where fewer
    than the share `least` of the pixels overlap, or the scale leaves its range.
    """
    n = level.shape[1]
    sums, lines, places = np.empty(27), np.empty((3, n), np.float32), np.empty(n, np.uint32)
    hessian, factor = np.empty((4, 4)), np.zeros((4, 4))
    right, step = np.empty(4), np.zeros(4)
    done = False
    for iteration in range(steps + 1):
        _set_matrix(p, root, other_root, m)
        count = _sums(level, other, m, root, lines, places, sums)
        share = count / (n * n)
        if share < least:
            return -1.0, share
        mean_t, mean_w = sums[0] / count, sums[2] / count
        var_t, var_w = sums[1] / count - mean_t * mean_t, sums[3] / count - mean_w * mean_w
        if var_t < LEAST_VARIANCE or var_w < LEAST_VARIANCE:
            return -1.0, share
        dev_t, dev_w = math.sqrt(var_t), math.sqrt(var_w)
        correlation = (sums[4] / count - mean_t * mean_w) / (dev_t * dev_w)
        if done or iteration == steps:
            return correlation, share
        at = 17
        for i in range(4):
            for k in range(i, 4):
                hessian[i, k] = sums[at] - sums[5 + i] * sums[5 + k] / count
                hessian[k, i] = hessian[i, k]
                at += 1
        gain = dev_t / max(correlation, LEAST_GAIN)
        for i in range(4):
            by_other = (sums[9 + i] - sums[5 + i] * mean_w) / dev_w
            by_own = (sums[13 + i] - sums[5 + i] * mean_t) / dev_t
            right[i] = gain * (by_other - correlation * by_own)
        if not _solved(hessian, right, factor, step):
            return correlation, share
        moved = n / 2 * (abs(step[0]) + abs(step[1])) + max(abs(step[2]), abs(step[3]))
        shorter = min(1.0, LONGEST * n / max(moved, 1e-12))
        a, b = 1 + shorter * step[0], shorter * step[1]
        norm = a * a + b * b
        ia, ib = a / norm, -b / norm
        sx, sy = shorter * step[2], shorter * step[3]
        tx, ty = -(ia * sx + ib * sy), -(ia * sy - ib * sx)
        p[2] += p[0] * tx + p[1] * ty
        p[3] += p[0] * ty - p[1] * tx
        p[0], p[1] = p[0] * ia - p[1] * ib, p[0] * ib + p[1] * ia
        scale = math.sqrt(p[0] * p[0] + p[1] * p[1])
        if scale > largest_scale or scale * largest_scale < 1:
            return -1.0, share
        done = moved < tolerance
    return -1.0, 0.0


@inlined
def significance(correlation: Any, share: Any) -> Any:
    """By what transforms of unlike overlaps are compared: a large overlap counts for a little."""
    return correlation * max(share, 0.0) ** OF_OVERLAP


@summed
def refine(
    fine: Any, coarse: Any, root: Any, other_fine: Any, other_coarse: Any, other_root: Any,
    starts: Any, first_steps: Any, half_steps: Any, steps: Any, least: Any, largest_scale: Any,
    hopeless_first: Any, hopeless: Any, least_larger: Any,
    m: Any,
) -> Any:  # fmt: skip
    """The best of several starts, refined at half size and then at full size.

    fine, coarse: of the first picture, as `prepare` fills them; root: √aspect of it. other_fine,
    other_coarse: (64, 64) and (32, 32), the second picture, normalised. starts: (k, 4), the
    transforms to start from, shifts in pixels of half size. first_steps: Gauss–Newton steps from
    every start, after which the best two go on for half_steps, and the best one for steps at full
    size. least: the smallest overlap. largest_scale: of the transform, or of its inverse.
    hopeless_first, hopeless: the correlations after the first steps and after those at half size
    below which nothing further is done. least_larger: the same for the larger of both pictures'
    overlaps at the transform with which the steps at half size end. m: (2, 3), set to the matrix of
    the best transform, in pixels of full size.

    Returns the correlation at the last size, at most `hopeless` where the pair was refused at half
    size; the larger overlap after these steps, 0 for a pair that was refused there; and whether the
    pair was refined at full size.
    """
    count = len(starts)
    p = starts.copy()
    reached, overlaps = np.empty(count), np.empty(count)
    half = np.empty((2, 3), np.float32)
    for start in range(count):
        reached[start], overlaps[start] = climb(
            coarse, other_coarse, p[start], half, root, other_root, first_steps, least,
            largest_scale, COARSE_TOLERANCE
        )  # fmt: skip
    highest = -1.0
    for start in range(count):
        highest = max(highest, reached[start])
    if highest < hopeless_first:
        return max(highest, 0.0), 0.0, False
    chosen = p[0]
    best, correlation_of_best = -1.0, -1.0
    for _ in range(min(FINALISTS, count)):
        start = 0
        for each in range(count):
            if significance(reached[each], overlaps[each]) > significance(
                reached[start], overlaps[start]
            ):
                start = each
        correlation, share = climb(
            coarse, other_coarse, p[start], half, root, other_root, half_steps, least,
            largest_scale, COARSE_TOLERANCE
        )  # fmt: skip
        if significance(correlation, share) > best:
            best, correlation_of_best = significance(correlation, share), correlation
            chosen = p[start]
        reached[start] = -2.0
    if correlation_of_best < hopeless:
        return max(correlation_of_best, 0.0), 0.0, False
    chosen[2] *= 2
    chosen[3] *= 2
    _set_matrix(chosen, root, other_root, m)
    share = _overlap(m, fine.shape[1])
    larger = max(share, min(1.0, share * (chosen[0] * chosen[0] + chosen[1] * chosen[1])))
    if larger < least_larger:
        return correlation_of_best, larger, False
    correlation, share = climb(
        fine, other_fine, chosen, m, root, other_root, steps, least, largest_scale, FINE_TOLERANCE
    )
    return correlation, larger, correlation > -1
