"""Grey pictures, their orientations, and what is prepared of them, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.support.scenes import scene, similarity, view
from udfs.registration import grey_of, turned
from udfs.registration.pictures import (
    FLOOR,
    NEAR,
    SIDE,
    Prepared,
    gaussian,
    kernels_of_contrast,
    kernels_of_structure,
    structure_of,
)


def test_grey_is_the_nearest_whole_number_to_the_mean_of_the_channels() -> None:
    """For all sums of three channels: 1/3 is rounded down and 2/3 up."""
    sums = np.arange(3 * 255 + 1)
    red = np.minimum(sums, 255)
    green = np.minimum(sums - red, 255)
    colours = np.stack([red, green, sums - red - green], axis=1).astype(np.uint8)
    pixels = np.zeros((SIDE * SIDE, 3), np.uint8)
    pixels[: len(sums)] = colours
    grey = grey_of(pixels.reshape(1, -1))
    assert grey.dtype == np.uint8
    assert grey.shape == (1, SIDE, SIDE)
    np.testing.assert_array_equal(grey.ravel()[: len(sums)], np.rint(sums / 3))
    np.testing.assert_array_equal(grey_of(pixels.reshape(1, SIDE, SIDE, 3)), grey)
    np.testing.assert_array_equal(grey_of(pixels[:, ::-1].reshape(1, -1)), grey)


# Where the upper left pixel and its right neighbour go: rows and columns.
CORNERS = {
    0: ((0, 0), (0, 1)),
    1: ((63, 0), (62, 0)),  # anticlockwise: the upper edge becomes the left one
    2: ((63, 63), (63, 62)),
    3: ((0, 63), (1, 63)),
    4: ((0, 63), (0, 62)),  # mirrored left to right
    5: ((0, 0), (1, 0)),  # mirrored, and then turned anticlockwise
    6: ((63, 0), (63, 1)),
    7: ((63, 63), (62, 63)),
}


@pytest.mark.parametrize("orientation", range(8))
def test_an_orientation_moves_the_pixels_as_defined(orientation: int) -> None:
    picture = np.arange(SIDE * SIDE, dtype=np.int64).reshape(SIDE, SIDE)
    moved = turned(np.stack([picture, picture + 1]), orientation)
    corner, neighbour = CORNERS[orientation]
    assert (moved[0][corner], moved[0][neighbour]) == (0, 1)
    assert np.array_equal(moved[1], moved[0] + 1)
    assert np.array_equal(np.sort(moved[0], axis=None), picture.ravel())
    # Neighbours stay neighbours.
    rows, columns = np.unravel_index(np.argsort(moved[0], axis=None), moved[0].shape)
    steps = np.abs(np.diff(rows)) + np.abs(np.diff(columns))
    assert (np.delete(steps, np.arange(SIDE - 1, len(steps), SIDE)) == 1).all()
    assert moved.flags.c_contiguous


@pytest.mark.parametrize("deviation", [1.0, 1.5, 2.25, 3.0])
def test_weights_of_a_gaussian_are_scipy_s(deviation: float) -> None:
    point = np.zeros(41)
    point[20] = 1
    radius = int(3 * deviation + 0.5)
    expected = gaussian_filter(point, deviation, mode="constant", truncate=3)
    np.testing.assert_allclose(
        gaussian(deviation), expected[20 - radius : 21 + radius], rtol=1e-6, atol=1e-9
    )
    assert not expected[: 20 - radius].any()  # SciPy's ends there too


def test_kernels_have_the_widths_that_are_documented() -> None:
    near, wide = kernels_of_contrast(NEAR)
    narrow, broad = kernels_of_structure()
    for weights, deviation in ((near, 1.5), (wide, 2.25), (narrow, 1.0), (broad, 3.0)):
        np.testing.assert_array_equal(weights, gaussian(deviation))


def test_the_textured_share_is_that_of_pixels_with_contrast() -> None:
    textured = view(scene(1), similarity(1, 0, (0, 0)))
    half = textured.copy()
    half[:, 32:] = 120
    flat = np.full_like(textured, 120)
    for picture in (textured, half, flat):
        values = picture / 255
        high = values - gaussian_filter(values, 1.5, mode="mirror", truncate=3)
        contrast = gaussian_filter(high * high, 2.25, mode="mirror", truncate=3)
        share = np.mean(contrast > float(FLOOR) ** 2)
        assert abs(Prepared.of(picture).textured - share) <= 2 / SIDE**2  # rounding at the floor
    assert Prepared.of(textured).textured > 0.95
    assert 0.5 < Prepared.of(half).textured < 0.65  # and what is near the edge
    assert Prepared.of(flat).textured == 0


def test_a_step_of_one_grey_value_is_no_contrast() -> None:
    """What rounding leaves of a slow change of brightness is below the floor."""
    ramp = np.tile(np.linspace(100, 110, SIDE).round(), (SIDE, 1)).astype(np.uint8)
    assert Prepared.of(ramp).textured == 0


def test_an_aspect_changes_nothing_but_the_units_of_gradients() -> None:
    picture = view(scene(2), similarity(1, 0, (0, 0)))
    square, wide = Prepared.of(picture), Prepared.of(picture, 4.0)
    assert [float(square.root), float(wide.root)] == [1, 2]
    for one, other in ((square.fine, wide.fine), (square.coarse, wide.coarse)):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1] / 2, other[1])
        np.testing.assert_allclose(one[2] * 2, other[2])
    np.testing.assert_array_equal(square.fine[3], wide.fine[3])
    np.testing.assert_array_equal(structure_of(square), structure_of(wide))
