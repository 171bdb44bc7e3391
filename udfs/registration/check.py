"""Registration once more, for the audit: plain SciPy in float64, without the loops of the engine.

Use `rescored` for the score of a transform that is given, and `registered_anew` to search for one.
Both are slow: some milliseconds, and half a second, for a pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from udfs.registration.kernels.evidence import (
    BLOCK,
    ENOUGH,
    FEW_PIXELS,
    FULL_DEVIATION,
    LEAST_AGREEMENT,
    LEAST_COMMON,
    SHIFTS,
    WORST,
)
from udfs.registration.pictures import FLOOR, NARROW, NEAR, SIDE, Greys

Floats = NDArray[np.float64]

# How far scores and overlaps of two correct implementations may lie apart: the engine computes in
# float32.
TOLERANCE = 0.01
_FLAT = 1e-6  # the deviation below which nothing correlates
_REACH = 10  # pixels, more than any of SHIFTS
_TRIED = 4  # shifts and turns of the grid from which a maximum is sought


@dataclass(frozen=True)
class Score:
    """Of one transform of one pair, as `alignment.Alignments` defines its fields.

    matrix: (2, 3), from pixels of the first picture to those of the other, from their centres.
    """

    registration: float
    agreement: float
    overlap: float
    matrix: Floats


def rescored(grey: Greys, other: Greys, matrix: Floats) -> Score:
    """The score of a transform: pictures (64, 64) uint8, matrix (2, 3) → its score.

    Flat pictures give a registration of 0.
    """
    own, warped = grey / 255.0, _warped(other / 255.0, matrix)
    inside = _inside(matrix)
    t, w = _normalised(own), _normalised(warped)
    agreement = _agreement(t, w, inside)
    return Score(_correlation(t, w, inside), agreement, float(inside.mean()), matrix)


def registered_anew(
    grey: Greys, other: Greys, aspect: float = 1.0, other_aspect: float = 1.0
) -> Score:
    """The best transform that a search finds: a grid with all shifts, then Powell's method.

    aspect, other_aspect: width over height of the originals.
    """
    own, picture = grey / 255.0, other / 255.0
    starts = _grid(own, picture, math.sqrt(aspect), math.sqrt(other_aspect))
    blurred = _normalised(own, 2.5), _normalised(picture, 2.5)
    exact = _normalised(own)

    def rough(p: Floats) -> float:
        matrix = _matrix(p, aspect, other_aspect)
        return -_penalised(blurred[0], _warped(blurred[1], matrix), matrix)

    def fine(p: Floats) -> float:
        matrix = _matrix(p, aspect, other_aspect)
        return -_penalised(exact, _normalised(_warped(picture, matrix)), matrix)

    rough_ends = [_maximum(rough, start, 0.02) for start in starts]
    best = max(rough_ends, key=lambda p: -rough(p))
    found = _matrix(_maximum(fine, best, 0.002), aspect, other_aspect)
    return rescored(grey, other, found)


def _maximum(function: Any, start: Floats, tolerance: float) -> Floats:
    """Where Powell's method finds a function, to be minimised, the lowest."""
    options: Any = {"xtol": tolerance, "ftol": tolerance / 10, "maxfev": 300}
    options["direc"] = np.diag([0.05, 0.05, 1.0, 1.0])
    found = scipy.optimize.minimize(function, start, method="Powell", options=options)
    return np.asarray(found.x)


def _penalised(t: Floats, w: Floats, matrix: Floats) -> float:
    """The correlation, and less than any where too little overlaps or the scale is out of range."""
    inside = _inside(matrix)
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if inside.mean() < 0.25 or not 1 / 1.5 < scale < 1.5:
        return -1.0
    return _correlation(t, w, inside)


def _grid(own: Floats, picture: Floats, root: float, other_root: float) -> list[Floats]:
    """The parameters (log scale, rotation, shifts) of the highest correlations of a grid."""
    found = []
    template = _normalised(own, 2.5)
    normalised = _normalised(picture, 2.5)
    ones = np.ones((SIDE, SIDE))
    for scale in (0.72, 0.8, 0.9, 1.0, 1.11, 1.25, 1.39):
        for degrees in range(-15, 16, 5):
            p = np.array([math.log(scale), math.radians(degrees), 0.0, 0.0])
            matrix = _matrix(p, root**2, other_root**2)
            inside = _inside(matrix).astype(float)
            turned = _warped(normalised, matrix) * inside
            products = scipy.signal.fftconvolve(turned, template[::-1, ::-1])
            area = scipy.signal.fftconvolve(inside, ones)
            value = products / np.sqrt(np.maximum(area, 0.25 * SIDE**2))
            y, x = np.unravel_index(np.argmax(value), value.shape)
            # The template moved by this shift lies on the turned picture.
            shift = matrix[:, :2] @ np.array([x - (SIDE - 1), y - (SIDE - 1)])
            found.append((float(value[y, x]), np.array([p[0], p[1], shift[0], shift[1]])))
    found.sort(key=lambda each: -each[0])
    return [p for _, p in found[:_TRIED]]


def _matrix(p: Floats, aspect: float, other_aspect: float) -> Floats:
    """The matrix of a log scale, a rotation in radians and shifts in pixels of the frame."""
    root, other = math.sqrt(aspect), math.sqrt(other_aspect)
    a, b = math.exp(p[0]) * math.cos(p[1]), math.exp(p[0]) * math.sin(p[1])
    units, inverse = np.diag([root, 1 / root]), np.diag([1 / other, other])
    turn = inverse @ np.array([[a, b], [-b, a]]) @ units
    return np.column_stack([turn, p[2:4]])


def _places(matrix: Floats) -> Floats:
    """Where each pixel falls, from the centre: (2, 64, 64), x before y."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    moved = np.tensordot(matrix[:, :2], np.stack([x, y]), axes=1)
    return np.asarray(moved + matrix[:, 2][:, None, None])


def _inside(matrix: Floats) -> NDArray[np.bool_]:
    return np.asarray((np.abs(_places(matrix)) <= SIDE / 2).all(axis=0))


def _warped(picture: Floats, matrix: Floats) -> Floats:
    x, y = _places(matrix) + (SIDE - 1) / 2
    return np.asarray(scipy.ndimage.map_coordinates(picture, [y, x], order=1, mode="mirror"))


def _normalised(picture: Floats, deviation: float = NEAR) -> Floats:
    high = picture - scipy.ndimage.gaussian_filter(picture, deviation, mode="mirror", truncate=3)
    contrast = scipy.ndimage.gaussian_filter(
        high * high, 1.5 * deviation, mode="mirror", truncate=3
    )
    return np.asarray(high / np.sqrt(contrast + float(FLOOR) ** 2))


def _correlation(t: Floats, w: Floats, inside: NDArray[np.bool_]) -> float:
    return _correlated(t[inside], w[inside])


def _correlated(a: Floats, b: Floats) -> float:
    if len(a) < 2 or a.std() < _FLAT or b.std() < _FLAT:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _agreement(t: Floats, w: Floats, inside: NDArray[np.bool_]) -> float:
    """How much better derivatives along the weaker direction agree here than at other shifts.

    It is at most the correlation of the blocks that agree least.
    """
    smooth_t, smooth_w = (
        scipy.ndimage.gaussian_filter(each, NARROW, mode="mirror", truncate=3) for each in (t, w)
    )

    def gradients(smooth: Floats) -> tuple[Floats, Floats]:
        gx, gy = np.zeros_like(smooth), np.zeros_like(smooth)
        gx[:, 1:-1] = (smooth[:, 2:] - smooth[:, :-2]) / 2
        gy[1:-1] = (smooth[2:] - smooth[:-2]) / 2
        return gx, gy

    own, other = gradients(smooth_t), gradients(smooth_w)
    xx, xy, yy = (
        sum(
            scipy.ndimage.gaussian_filter(g[i] * g[j], 3.0, mode="mirror", truncate=3)
            for g in (own, other)
        )
        for i, j in ((0, 0), (0, 1), (1, 1))
    )
    # The eigenvector of the smaller eigenvalue is at right angles to that of the larger one.
    angle = np.arctan2(2 * xy, xx - yy) / 2
    weaker = -np.sin(angle), np.cos(angle)
    rows, columns = np.indices(inside.shape)
    within = inside & (rows >= 2) & (rows < SIDE - 2) & (columns >= 2) & (columns < SIDE - 2)
    for axis, step in ((0, 2), (0, -2), (1, 2), (1, -2)):
        within &= np.roll(inside, step, axis)
    (best,) = _shifted_agreements(own, other, weaker, within, [(0, 0)])
    if best < LEAST_AGREEMENT:
        return float(best)
    elsewhere = _shifted_agreements(own, other, weaker, within, SHIFTS)
    return min(float(best - elsewhere.max(initial=0)), _worst_blocks(smooth_t, smooth_w, inside))


def _worst_blocks(t: Floats, w: Floats, inside: NDArray[np.bool_]) -> float:
    """The mean correlation of the third of the blocks that agree least, by weight."""
    shown, a, b = (_blocks(field) for field in (inside, t, w))
    shares = np.clip((shown.sum(axis=1) - FEW_PIXELS) / (BLOCK**2 - FEW_PIXELS), 0, None)
    pixels = np.maximum(shown.sum(axis=1), 1)

    def mean(values: Floats) -> Floats:
        return np.asarray((values * shown).sum(axis=1) / pixels)

    a, b = a - mean(a)[:, None], b - mean(b)[:, None]
    deviations = np.sqrt(mean(a * a)), np.sqrt(mean(b * b))
    least = np.minimum(*deviations)
    spread = np.maximum(deviations[0] * deviations[1], _FLAT**2)
    correlations = np.where(least < _FLAT, 0.0, mean(a * b) / spread)
    weights = shares * np.minimum(1.0, least / FULL_DEVIATION)
    found = [each for each in zip(correlations.tolist(), weights.tolist(), strict=True) if each[1]]
    total = sum(weight for _, weight in found)
    remaining, missed = WORST * total, 0.0
    for correlation, weight in sorted(found):
        taken = min(weight, remaining)
        remaining -= taken
        missed += taken * (1 - correlation)
    return float(1 - missed / (WORST * max(total, ENOUGH)))


def _blocks(field: Any) -> Any:
    """The blocks of a picture, each in a row: (64, 64) → (blocks, pixels of one)."""
    count = SIDE // BLOCK
    return field.reshape(count, BLOCK, count, BLOCK).swapaxes(1, 2).reshape(count**2, BLOCK**2)


def _shifted_agreements(
    own: tuple[Floats, Floats],
    other: tuple[Floats, Floats],
    direction: tuple[Floats, Floats],
    within: NDArray[np.bool_],
    shifts: Sequence[tuple[int, int]],
) -> Floats:
    """The correlations of two gradients along directions, the second one shifted: (shifts,).

    Gradients and directions are (right, down), each (64, 64); shifts are (down, right).
    """
    down, right = _REACH + np.array(shifts).T

    def moved(field: Any) -> Any:
        return sliding_window_view(np.pad(field, _REACH), field.shape)[down, right]

    u = (own[0] * direction[0] + own[1] * direction[1]).ravel()
    v = moved(other[0]) * direction[0] + moved(other[1]) * direction[1]
    common = (within & moved(within)).reshape(len(shifts), -1)
    v = np.where(common, v.reshape(common.shape), 0)
    energy = (common @ u**2) * np.sum(v**2, axis=1)
    is_little = (common.sum(axis=1) < LEAST_COMMON) | (energy <= 1e-12)
    return np.where(is_little, 0.0, v @ u / np.sqrt(np.maximum(energy, 1e-12)))
