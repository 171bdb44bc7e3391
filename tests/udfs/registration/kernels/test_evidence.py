"""The score of a transform and its evidence beside NumPy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from tests.support.registration import OWN, Floats, blurred, normalised, picture, places
from tests.support.scenes import composed, scene, similarity, view
from udfs.registration.kernels import evidence
from udfs.registration.kernels.evidence import SHIFTS
from udfs.registration.limits import UNPROVED
from udfs.registration.pictures import (
    FLOOR,
    NEAR,
    Greys,
    Prepared,
    kernels_of_contrast,
    kernels_of_structure,
    structure_of,
)

TRUTH = similarity(1.06, 4, (5, -7))


def judged(own: Prepared, other: Prepared, matrix: Floats, unproved: float = UNPROVED) -> Floats:
    out = np.empty(5)
    evidence.judge(
        own.fine, structure_of(own), other.grey, matrix.astype(np.float32),
        *kernels_of_contrast(NEAR), FLOOR, *kernels_of_structure(), unproved, out,
    )  # fmt: skip
    return out


def test_the_score_is_the_correlation_over_the_overlap() -> None:
    grey = view(scene(10), composed(OWN, TRUTH))
    other = picture(10)
    grey[:, :20] = 80
    matrix = similarity(1.05, 5, (5, -7))  # some way off
    registration, _, blocks, overlap, share = judged(Prepared.of(grey), Prepared.of(other), matrix)
    x, y = places(matrix)
    inside = (abs(x) <= 32) & (abs(y) <= 32)
    warped = map_coordinates(other / 255, [y + 31.5, x + 31.5], order=1, mode="mirror")
    (t, t_contrast), (w, w_contrast) = normalised(grey / 255, 1.5), normalised(warped, 1.5)
    assert abs(registration - np.corrcoef(t[inside], w[inside])[0, 1]) < 1e-3
    assert overlap == inside.mean()
    limit = float(FLOOR) ** 2
    textured = inside & (t_contrast > limit) & (w_contrast > limit)
    assert abs(share - textured.sum() / inside.sum()) < 1e-3
    in_blocks = textured.reshape(8, 8, 8, 8).sum(axis=(1, 3))
    assert blocks == (in_blocks >= 32).sum()
    assert 20 < blocks < 50


def test_the_agreement_is_less_by_that_at_other_shifts() -> None:
    """Of a picture with itself: 1 less the largest autocorrelation along the weaker direction."""
    prepared = Prepared.of(picture(11))
    gx, gy, xx, xy, yy = structure_of(prepared).astype(float)
    tensor = np.moveaxis(np.array([[xx, xy], [xy, yy]]), (0, 1), (-2, -1))
    weaker = np.linalg.eigh(tensor)[1][..., 0]
    inner = np.zeros((64, 64), np.bool_)
    inner[2:-2, 2:-2] = True
    along = gx * weaker[..., 0] + gy * weaker[..., 1]
    correlations = []
    for dy, dx in SHIFTS:
        rows, columns = np.nonzero(inner)
        both = (rows + dy < 62) & (columns + dx >= 2) & (columns + dx < 62)
        here = rows[both], columns[both]
        there = rows[both] + dy, columns[both] + dx
        u = along[here]
        v = gx[there] * weaker[here][:, 0] + gy[there] * weaker[here][:, 1]
        correlations.append((u @ v) / math.sqrt((u @ u) * (v @ v)))
    registration, agreement, *_ = judged(prepared, prepared, np.eye(2, 3))
    assert abs(registration - 1) < 1e-5
    assert max(correlations) > 0.05
    assert abs(agreement - (1 - max(correlations))) < 1e-3


def test_stripes_agree_along_themselves_with_nothing() -> None:
    stripes = np.tile(picture(12)[:1], (64, 1))
    prepared = Prepared.of(stripes)
    registration, agreement, *_ = judged(prepared, prepared, np.eye(2, 3))
    assert registration > 0.99
    assert agreement == 0


def spliced(seed: int, matrix: Floats, first: int, last: int) -> Greys:
    """A picture through a matrix, of which the columns from first to last show another scene."""
    grey = view(scene(seed), composed(OWN, matrix))
    grey[:, first:last] = picture(seed + 50)[:, first:last]
    return grey


def of_worst_blocks(grey: Greys, other: Greys, matrix: Floats) -> float:
    """The mean correlation of the blocks that agree least, from the definition."""
    x, y = places(matrix)
    inside = (abs(x) <= 32) & (abs(y) <= 32)
    warped = map_coordinates(other / 255, [y + 31.5, x + 31.5], order=1, mode="mirror")
    t, w = (blurred(normalised(each, 1.5)[0], 1.0) for each in (grey / 255, warped))
    correlations, weights = [], []
    for rows, columns in np.ndindex(8, 8):
        block = np.s_[8 * rows : 8 * rows + 8, 8 * columns : 8 * columns + 8]
        both = np.stack([t[block][inside[block]], w[block][inside[block]]])
        if both.shape[1] > 48:
            correlations.append(np.corrcoef(both)[0, 1])
            share = (both.shape[1] - 48) / 16
            weights.append(share * min(1, both.std(axis=1).min() / 0.2))
    order = np.argsort(correlations)
    upto = np.cumsum(np.array(weights)[order])
    taken = np.diff(np.minimum(upto, upto[-1] / 3), prepend=0)  # of each block, in the worst third
    worst = float(taken @ np.array(correlations)[order] / taken.sum())
    return 1 - (1 - worst) * min(1.0, float(upto[-1]) / 4)


@pytest.mark.parametrize(
    ("matrix", "first", "last"),
    [
        (np.eye(2, 3), 40, 64),
        (TRUTH, 40, 64),
        (similarity(0.8, 0, (26.6, 0)), 24, 64),  # the overlap ends within blocks
        (similarity(1.4, 0, (44.6, 55.8)), 0, 8),  # less than four blocks
    ],
)
def test_the_agreement_is_at_most_that_of_the_worst_blocks(
    matrix: Floats, first: int, last: int
) -> None:
    grey, other = spliced(14, matrix, first, last), picture(14)
    expected = of_worst_blocks(grey, other, matrix)
    _, agreement, *_ = judged(Prepared.of(grey), Prepared.of(other), matrix, -1.0)
    assert agreement == pytest.approx(expected, abs=1e-3)


def test_pictures_that_agree_in_a_part_only_have_a_low_agreement() -> None:
    """As of one floor with another garment on it."""
    for seed in range(20, 30):
        other = Prepared.of(picture(seed))
        whole, half = (
            judged(Prepared.of(spliced(seed, TRUTH, first, 64)), other, TRUTH) for first in (64, 32)
        )
        assert half[0] > UNPROVED  # half of the picture suffices for a registration
        assert whole[1] > 0.8
        assert half[1] < 0.1


def test_without_a_registration_there_is_no_agreement() -> None:
    prepared = Prepared.of(picture(12))
    matrix = similarity(1, 0, (1, 0))
    registration, agreement, *_ = judged(prepared, prepared, matrix, -1.0)
    assert agreement > 0
    assert judged(prepared, prepared, matrix, registration + 0.01)[1] == 0


def test_the_shifts_are_those_that_are_documented() -> None:
    """By 3 to 9 pixels, none of them with its opposite, and every second one."""
    shifts = set(SHIFTS)
    assert len(shifts) == len(SHIFTS)
    assert all(3 <= math.hypot(*shift) <= 9 and sum(shift) % 2 == 0 for shift in shifts)
    ring = [
        (dy, dx)
        for dy in range(-9, 10)
        for dx in range(-9, 10)
        if 3 <= math.hypot(dy, dx) <= 9 and (dy + dx) % 2 == 0
    ]
    assert shifts | {(-dy, -dx) for dy, dx in shifts} == set(ring)
    assert 2 * len(shifts) == len(ring)
