"""The grid of scales, rotations and shifts, at half size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.scenes import composed, pairs, scene, similarity, view
from udfs.registration import coarse
from udfs.registration.coarse import PADDED, PLANES, ROTATIONS, SHRINKINGS
from udfs.registration.pictures import Greys, Prepared

Floats = NDArray[np.float64]
SIDE = 32  # of pictures at half size


def starts(
    grey: Greys, other: Greys, count: int, aspect: float = 1.0, other_aspect: float = 1.0
) -> tuple[NDArray[np.float32], Floats]:
    own, reference = Prepared.of(grey, aspect), Prepared.of(other, other_aspect)
    root = float(own.root)
    spectra = coarse.template_spectra(own), coarse.other_spectra(reference, root)
    return coarse.starts(*spectra, root, count)


def matrix_of(transform: Floats) -> Floats:
    """A transform of square pictures as a matrix in pixels of full size."""
    a, b, x, y = transform
    return np.array([[a, b, 2 * x], [-b, a, 2 * y]])


def test_the_starts_contain_the_true_transform() -> None:
    """To half a step of the grid: 3°, 7 % and a pixel of half size."""
    greys, truth = pairs(40, seed=61)
    corners = np.array([[x, y, 1] for x in (-32, 32) for y in (-32, 32)]).T
    distances = []
    for pair in range(40):
        values, transforms = starts(greys[2 * pair], greys[2 * pair + 1], 5)
        assert (np.diff(values) <= 0).all()
        errors = [np.abs((matrix_of(each) - truth[pair]) @ corners).max() for each in transforms]
        distances.append(min(errors))
    # A corner is 45 pixels from the centre, which 3° and 7 % move by 4 pixels, and 2 is a step.
    assert np.mean(np.array(distances) < 6) >= 0.95


@pytest.mark.parametrize("shift", [(0, 0), (8, -12), (-20, 6), (26, 26)])
def test_a_shift_is_found_exactly(shift: tuple[int, int]) -> None:
    own, other = (view(scene(62), similarity(1, 0, at)) for at in (shift, (0, 0)))
    _, transforms = starts(own, other, 1)
    np.testing.assert_allclose(transforms[0], [1, 0, shift[0] / 2, shift[1] / 2], atol=1e-6)


@pytest.mark.parametrize("plane", range(len(PLANES)))
def test_a_transform_of_the_grid_is_found_as_itself(plane: int) -> None:
    rotation, own, other = PLANES[plane]
    scale = SHRINKINGS[own] / SHRINKINGS[other]
    matrix = similarity(scale, -ROTATIONS[rotation], (4, -2))
    grey = view(scene(63), composed(similarity(1.2, 0, (0, 0)), matrix))
    reference = view(scene(63), similarity(1.2, 0, (0, 0)))
    _, transforms = starts(grey, reference, 1)
    found = matrix_of(transforms[0])
    np.testing.assert_allclose(found[:, :2], matrix[:, :2], atol=1e-6)
    np.testing.assert_allclose(found[:, 2], [4, -2], atol=2)  # a pixel of half size


def test_shifts_are_in_units_of_equal_length() -> None:
    """Of an original of 4:1, whose pixels are twice as wide and half as high as those of a square.

    The other original is a square, so that it is seen in the frame of the first one.
    """
    seen = np.array([[2, 0, 0], [0, 0.5, 0]])
    moved = composed(similarity(1, 0, (6, -4)), seen)
    grey = view(scene(64, detail=3), moved)
    reference = view(scene(64, detail=3), similarity(1, 0, (0, 0)))
    _, transforms = starts(grey, reference, 1, aspect=4.0)
    # Three pixels to the right, and two up, at half size of the square.
    np.testing.assert_allclose(transforms[0], [1, 0, 3, -2], atol=1)
    _, wide = starts(grey, view(scene(64, detail=3), seen), 1, 4.0, 4.0)
    np.testing.assert_allclose(wide[0], [1, 0, 3, -2], atol=1)


def shown_ones(degrees: float, shrinking: float) -> NDArray[np.bool_]:
    """Which pixels of a frame a turned and shrunk picture covers."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    u, v = (cosine * x + sine * y) / shrinking, (cosine * y - sine * x) / shrinking
    return np.asarray((abs(u) <= SIDE / 2) & (abs(v) <= SIDE / 2))


def overlap(own: NDArray[np.bool_], other: NDArray[np.bool_], dy: int, dx: int) -> int:
    """How many pixels of the first picture, shifted, lie on the other one."""
    rows, columns = np.nonzero(own)
    rows, columns = rows + dy, columns + dx
    within = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
    return int(other[rows[within], columns[within]].sum())


def test_weights_are_those_of_the_true_overlaps() -> None:
    weights = coarse.weights()
    assert weights.shape == (len(PLANES), PADDED, PADDED)
    random = np.random.default_rng(65)
    left_out = 0
    for plane, (rotation, own, other) in enumerate(PLANES):
        first = shown_ones(ROTATIONS[rotation], SHRINKINGS[own])
        second = shown_ones(0, SHRINKINGS[other])
        size = SHRINKINGS[own] ** 2 * SIDE**2
        for y, x in [(0, 0), (0, 20), *random.integers(0, PADDED, (8, 2)).tolist()]:
            largest = max(
                overlap(first, second, dy, dx) for dy in (y, y - PADDED) for dx in (x, x - PADDED)
            )
            share = largest / size
            if share >= coarse.LEAST_OVERLAP:
                assert weights[plane, y, x] == pytest.approx(1 / math.sqrt(share) / size, rel=1e-4)
            else:
                assert weights[plane, y, x] == 0
                left_out += 1
    assert left_out > 10
