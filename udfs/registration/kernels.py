"""Loops over pixels that registration needs, compiled by Numba.

`udfs.registration.pictures`, `coarse` and `registrar` call them; other code calls those. All
pictures are square arrays of float32. Coordinates are in pixels from the centre of the picture; a
matrix m of shape (2, 3) takes the pixel (x, y) to (m00·x + m01·y + m02, m10·x + m11·y + m12).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from udfs.registration.limits import LEAST_AGREEMENT, LEAST_COMMON, SHIFTS
from udfs.vectors.kernels.compiling import inlined, summed

_ZERO = np.float32(0)
_SHIFTS = np.array(SHIFTS)


@inlined
def _blur(source: Any, kernel: Any, out: Any, columns: Any, row: Any) -> None:
    """Convolve with a symmetric kernel along both axes; pixels outside are mirrored at the edge.

    columns: scratch of the shape of `source`. row: scratch of its side and twice the radius.
    """
    n = source.shape[0]
    radius = len(kernel) // 2
    for y in range(n):
        for x in range(n):
            columns[y, x] = kernel[radius] * source[y, x]
        for d in range(1, radius + 1):
            above, below = abs(y - d), y + d
            if below >= n:
                below = 2 * n - 2 - below
            weight = kernel[radius + d]
            for x in range(n):
                columns[y, x] += weight * (source[above, x] + source[below, x])
    for y in range(n):
        for x in range(n):
            row[radius + x] = columns[y, x]
        for d in range(1, radius + 1):
            row[radius - d] = columns[y, d]
            row[radius + n - 1 + d] = columns[y, n - 1 - d]
        for x in range(n):
            out[y, x] = kernel[radius] * row[radius + x]
        for d in range(1, radius + 1):
            weight = kernel[radius + d]
            for x in range(n):
                out[y, x] += weight * (row[radius + x - d] + row[radius + x + d])


@inlined
def _normalise(grey: Any, near: Any, wide: Any, floor: Any, out: Any, contrast: Any) -> None:
    """Contrast normalisation: out = h/√(G∗h² + floor²) with h = g − G∗g, contrast = G∗h²."""
    n = grey.shape[0]
    columns = np.empty_like(grey)
    row = np.empty(n + len(wide), np.float32)
    squares = np.empty_like(grey)
    _blur(grey, near, out, columns, row)
    for y in range(n):
        for x in range(n):
            high = grey[y, x] - out[y, x]
            out[y, x] = high
            squares[y, x] = high * high
    _blur(squares, wide, contrast, columns, row)
    for y in range(n):
        for x in range(n):
            out[y, x] /= math.sqrt(max(contrast[y, x], _ZERO) + floor * floor)


@inlined
def _gradients(picture: Any, gx: Any, gy: Any) -> None:
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


@inlined
def _at(picture: Any, px: Any, py: Any) -> Any:
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
    _normalise(grey, near, wide, floor, fine[0], fine[3])
    _normalise(half, near_half, wide_half, floor, coarse[0], contrast)
    _gradients(fine[0], fine[1], fine[2])
    _gradients(coarse[0], coarse[1], coarse[2])
    for level in (fine, coarse):
        for y in range(level.shape[1]):
            for x in range(level.shape[2]):
                level[1, y, x] /= root
                level[2, y, x] *= root


@inlined
def _structure(normalised: Any, narrow: Any, broad: Any, out: Any) -> None:
    """Smoothed derivatives of a normalised picture and its structure tensor: out (5, 64, 64)."""
    n = normalised.shape[0]
    columns, smooth = np.empty_like(normalised), np.empty_like(normalised)
    row = np.empty(n + len(broad), np.float32)
    _blur(normalised, narrow, smooth, columns, row)
    _gradients(smooth, out[0], out[1])
    for part in range(3):
        for y in range(n):
            for x in range(n):
                gx, gy = out[0, y, x], out[1, y, x]
                smooth[y, x] = gx * gx if part == 0 else (gx * gy if part == 1 else gy * gy)
        _blur(smooth, broad, out[2 + part], columns, row)


@summed
def structure(normalised: Any, narrow: Any, broad: Any, out: Any) -> None:
    """Fill out (5, 64, 64): derivatives along x and y, and the entries xx, xy, yy of the tensor."""
    _structure(normalised, narrow, broad, out)


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
                out[each, y, x] = _at(picture, px + centre, py + centre) if inside else _ZERO


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
    places: (n,), int32, scratch.
    sums: (27,), filled with the sums of t, t², w, w², t·w; of d0 … d3; of d0·w …; of d0·t …; of
    the ten products of d0 … d3 with each other, where d0 … d3 are the derivatives of t by the
    scale, the rotation and the shifts.
    """
    n = level.shape[1]
    centre, last = np.float32((n - 1) / 2), np.float32(n - 1)
    line, right, below, flat = lines[0], lines[1], lines[2], other.ravel()
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
        for x in range(first, end):
            dx = np.float32(x) - centre
            px = min(max(m[0, 0] * dx + at_x + centre, _ZERO), last)
            py = min(max(m[1, 0] * dx + at_y + centre, _ZERO), last)
            ix, iy = min(np.int32(px), n - 2), min(np.int32(py), n - 2)
            places[x] = iy * n + ix
            right[x], below[x] = px - np.float32(ix), py - np.float32(iy)
        for x in range(first, end):
            at = places[x]
            upper, lower = flat[at], flat[at + n]
            upper += right[x] * (flat[at + 1] - upper)
            lower += right[x] * (flat[at + n + 1] - lower)
            line[x] = upper + below[x] * (lower - upper)
        s0 = s1 = s2 = s3 = s4 = _ZERO
        j0 = j1 = j2 = j3 = _ZERO
        w0 = w1 = w2 = w3 = _ZERO
        t0 = t1 = t2 = t3 = _ZERO
        h0 = h1 = h2 = h3 = h4 = h5 = h6 = h7 = h8 = h9 = _ZERO
        uy = dy / root
        for x in range(first, end):
            ux = (np.float32(x) - centre) * root
            t, w, gx, gy = level[0, y, x], line[x], level[1, y, x], level[2, y, x]
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
        count += end - first
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
def _climb(
    level: Any, other: Any, p: Any, m: Any, root: Any, other_root: Any, steps: Any, least: Any,
    largest_scale: Any, tolerance: Any,
) -> Any:  # fmt: skip
    """Raise the correlation by inverse compositional Gauss–Newton; returns it and the overlap.

    p: (4,), a, b and the shifts of v = [[a, b], [−b, a]]·u + t in units of equal length; changed in
    place. m: (2, 3), set to the matrix of the last p in pixels. The correlation is −1 where fewer
    than the share `least` of the pixels overlap, or the scale leaves its range.
    """
    n = level.shape[1]
    sums, lines, places = np.empty(27), np.empty((3, n), np.float32), np.empty(n, np.int32)
    hessian, factor = np.empty((4, 4)), np.zeros((4, 4))
    right, step = np.empty(4), np.zeros(4)
    ratio, product = root / other_root, root * other_root
    done = False
    for iteration in range(steps + 1):
        m[0, 0], m[0, 1], m[0, 2] = p[0] * ratio, p[1] / product, p[2] / other_root
        m[1, 0], m[1, 1], m[1, 2] = -p[1] * product, p[0] / ratio, p[3] * other_root
        count = _sums(level, other, m, root, lines, places, sums)
        share = count / (n * n)
        if share < least:
            return -1.0, share
        mean_t, mean_w = sums[0] / count, sums[2] / count
        var_t, var_w = sums[1] / count - mean_t * mean_t, sums[3] / count - mean_w * mean_w
        if var_t < 1e-6 or var_w < 1e-6:
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
        gain = dev_t / max(correlation, 0.3)
        for i in range(4):
            by_other = (sums[9 + i] - sums[5 + i] * mean_w) / dev_w
            by_own = (sums[13 + i] - sums[5 + i] * mean_t) / dev_t
            right[i] = gain * (by_other - correlation * by_own)
        if not _solved(hessian, right, factor, step):
            return correlation, share
        # A step moves no corner by more than a tenth of the side, so that it stays near the start.
        moved = n / 2 * (abs(step[0]) + abs(step[1])) + max(abs(step[2]), abs(step[3]))
        shorter = min(1.0, 0.1 * n / max(moved, 1e-12))
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
def _significance(correlation: Any, share: Any) -> Any:
    """By what transforms of unlike overlaps are compared: a large overlap counts for a little."""
    return correlation * max(share, 0.0) ** 0.25


@summed
def refine(
    fine: Any, coarse: Any, root: Any, other_fine: Any, other_coarse: Any, other_root: Any,
    starts: Any, first_steps: Any, half_steps: Any, steps: Any, least: Any, largest_scale: Any,
    hopeless_first: Any, hopeless: Any,
    m: Any,
) -> Any:  # fmt: skip
    """The best of several starts, refined at half size and then at full size.

    fine, coarse: of the first picture, as `prepare` fills them; root: √aspect of it. other_fine,
    other_coarse: (64, 64) and (32, 32), the second picture, normalised. starts: (k, 4), the
    transforms to start from, shifts in pixels of half size. first_steps: Gauss–Newton steps from
    every start, after which the best two go on for half_steps, and the best one for steps at full
    size. least: the smallest overlap. largest_scale: of the transform, or of its inverse.
    hopeless_first, hopeless: the correlations after the first steps and after those at half size
    below which nothing further is done. m: (2, 3), set to the matrix of the best transform, in
    pixels of full size.

    Returns the correlation at the last size, at most `hopeless` where that was not reached, and
    whether the pair was refined at full size.
    """
    count = len(starts)
    p = starts.copy()
    reached, overlaps = np.empty(count), np.empty(count)
    half = np.empty((2, 3), np.float32)
    for start in range(count):
        reached[start], overlaps[start] = _climb(
            coarse, other_coarse, p[start], half, root, other_root, first_steps, least,
            largest_scale, 0.03
        )  # fmt: skip
    highest = -1.0
    for start in range(count):
        highest = max(highest, reached[start])
    if highest < hopeless_first:
        return max(highest, 0.0), False
    chosen = p[0]
    best, correlation_of_best = -1.0, -1.0
    for _ in range(min(2, count)):
        start = 0
        for each in range(count):
            if _significance(reached[each], overlaps[each]) > _significance(
                reached[start], overlaps[start]
            ):
                start = each
        correlation, share = _climb(
            coarse, other_coarse, p[start], half, root, other_root, half_steps, least,
            largest_scale, 0.03
        )  # fmt: skip
        if _significance(correlation, share) > best:
            best, correlation_of_best = _significance(correlation, share), correlation
            chosen = p[start]
        reached[start] = -2.0
    if correlation_of_best < hopeless:
        return max(correlation_of_best, 0.0), False
    chosen[2] *= 2
    chosen[3] *= 2
    correlation, share = _climb(
        fine, other_fine, chosen, m, root, other_root, steps, least, largest_scale, 0.02
    )
    return correlation, correlation > -1


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
            out[y, x] = _at(picture, px, py)
    return count


@inlined
def _agreement(own: Any, other: Any, within: Any, dy: Any, dx: Any) -> Any:
    """The correlation of two pictures' derivatives along directions, the other one shifted.

    own: (3, n, n), the first picture's derivative, and the direction along which it is taken, x
    before y. other: (2, n, n), the gradient of the other picture. within: (n, n), 1 where both are
    known, and 0 elsewhere. 0 where too little is left of them.
    """
    n = within.shape[0]
    product = energy = other_energy = common = _ZERO
    for y in range(n - dy):
        for x in range(max(0, -dx), n - max(0, dx)):
            both = within[y, x] * within[y + dy, x + dx]
            u = both * own[0, y, x]
            v = own[1, y, x] * other[0, y + dy, x + dx] + own[2, y, x] * other[1, y + dy, x + dx]
            product += u * v
            energy += u * u
            other_energy += both * v * v
            common += both
    spread = energy * other_energy
    return product / math.sqrt(spread) if common >= LEAST_COMMON and spread > 1e-12 else 0.0


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
    _normalise(warped, near, wide, floor, normalised, contrast)
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
    _structure(normalised, narrow, broad, other_structure)
    own, within = np.zeros((3, n, n), np.float32), np.zeros((n, n), np.float32)
    for y in range(2, n - 2):
        for x in range(2, n - 2):
            if (
                inside[y, x] and inside[y - 2, x] and inside[y + 2, x]
                and inside[y, x - 2] and inside[y, x + 2]
            ):  # fmt: skip
                xx = own_structure[2, y, x] + other_structure[2, y, x]
                xy = own_structure[3, y, x] + other_structure[3, y, x]
                yy = own_structure[4, y, x] + other_structure[4, y, x]
                # The sine and cosine of the direction of largest variation. The derivatives are
                # taken at right angles to it.
                length = math.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)
                double = (xx - yy) / length if length > 0 else 1.0
                cosine = math.sqrt(max(0.5 * (1 + double), 0.0))
                sine = math.copysign(math.sqrt(max(0.5 * (1 - double), 0.0)), xy)
                within[y, x] = 1
                own[1, y, x], own[2, y, x] = -sine, cosine
                gx, gy = own_structure[0, y, x], own_structure[1, y, x]
                own[0, y, x] = gy * cosine - gx * sine
    agreement = _agreement(own, other_structure, within, 0, 0)
    out[1] = agreement
    if agreement < LEAST_AGREEMENT:
        return
    elsewhere = 0.0
    for k in range(len(_SHIFTS)):
        dy, dx = _SHIFTS[k]
        elsewhere = max(elsewhere, _agreement(own, other_structure, within, dy, dx))
    out[1] = agreement - elsewhere
