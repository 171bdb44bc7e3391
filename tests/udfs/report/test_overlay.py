"""The matrix of a registration takes points of one picture to where the other one shows them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.report.overlay import placement

SIDE = 64


def frame(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (x, y) of a 64×64 picture in coordinates [−1, 1]."""
    return (pixels + 0.5) / (SIDE / 2) - 1


def moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("orientation", range(8))
def test_an_orientation_moves_each_pixel_to_where_numpy_puts_it(orientation: int) -> None:
    """The picture's orientation `o` is the other picture: np.rot90, mirrored first from 4 on."""
    numbers = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    mirrored = numbers[:, ::-1] if orientation >= 4 else numbers
    other = np.rot90(mirrored, orientation % 4)
    rows, columns = np.divmod(np.arange(0, SIDE * SIDE, 97), SIDE)
    there = np.array(
        [np.argwhere(other == numbers[y, x])[0][::-1] for y, x in zip(rows, columns, strict=True)]
    )
    here = frame(np.column_stack([columns, rows]).astype(float))
    assert np.allclose(moved(placement(1.0, 0.0, (0.0, 0.0), orientation), here), frame(there))


def of_originals(
    points: NDArray[np.float64], width: float, height: float, scene: tuple[float, ...]
) -> NDArray[np.float64]:
    """Where points of a photograph of width × height lie on the ground, by plain trigonometry.

    scene: position of its centre, ground per pixel, and angle of the camera, anticlockwise as seen.
    """
    x0, y0, size, angle = scene
    right, down = points[:, 0] * width / 2 * size, points[:, 1] * height / 2 * size
    distance, bearing = np.hypot(right, down), np.arctan2(down, right)
    turned = bearing - math.radians(angle)  # y points down: anticlockwise is a falling angle
    return np.column_stack([x0 + distance * np.cos(turned), y0 + distance * np.sin(turned)])


@given(
    st.tuples(st.integers(60, 900), st.integers(60, 900)),
    st.tuples(st.integers(60, 900), st.integers(60, 900)),
    st.floats(0.6, 1.6),
    st.floats(-40, 40),
    st.tuples(st.floats(-90, 90), st.floats(-90, 90)),
    st.integers(0, 7),
)
def test_two_photographs_of_one_ground_are_laid_over_each_other(
    size: tuple[int, int],
    other_size: tuple[int, int],
    per_pixel: float,
    angle: float,
    place: tuple[float, float],
    orientation: int,
) -> None:
    """The matrix agrees with photographs of any aspect and orientation, point by point.

    Both are placed on one ground in pixels of the other. The unit of length of a frame is half the
    root of its area, so the scale is the ratio of these in ground units.
    """
    width, height = (size[1], size[0]) if orientation % 2 else size
    other_width, other_height = other_size
    shift = (32 * place[0] / (other_width / 2), 32 * place[1] / (other_height / 2))
    scale = per_pixel * math.sqrt(width * height) / math.sqrt(other_width * other_height)
    matrix = placement(
        scale,
        angle,
        shift,
        orientation,
        aspect=size[0] / size[1],
        other_aspect=other_width / other_height,
    )
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (0.25, 0.5)], float)
    turned = moved(placement(1.0, 0.0, (0.0, 0.0), orientation), corners)  # tested above
    ground = of_originals(turned, width, height, (*place, per_pixel, angle))
    assert np.allclose(
        moved(matrix, corners) * (other_width / 2, other_height / 2), ground, atol=1e-6
    )


def test_a_crop_of_the_upper_left_quarter_lies_there() -> None:
    matrix = placement(0.5, 0.0, (-16.0, -16.0), aspect=1.5, other_aspect=1.5)
    corners = moved(matrix, np.array([(-1.0, -1.0), (1.0, 1.0)]))
    assert np.allclose(corners, [(-1, -1), (0, 0)])


def test_an_orientation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="orientation: is 8"):
        placement(1.0, 0.0, (0.0, 0.0), 8)
