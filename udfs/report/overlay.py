"""Where one picture lies in the frame of another: a registration as a matrix to draw it by.

Use `placement` for the numbers of a row of `selection` or `alignments`. Both frames have the
coordinates [−1, 1] × [−1, 1] from left to right and from top to bottom, whatever the aspect of the
original, as pictures of 64×64 pixels have that are shown as squares.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

HALF_SIDE = 32  # pixels of the 64×64 frame from its centre to its edge
ORIENTATIONS = 8  # quarter turns, then those of the mirrored picture


def placement(
    scale: float,
    rotation: float,
    shift: tuple[float, float],
    orientation: int = 0,
    *,
    aspect: float = 1.0,
    other_aspect: float = 1.0,
) -> Matrix:
    """Return the matrix (2, 3) from a picture's frame to that of the other one.

    A point p of the picture lies at S_other⁻¹ · scale · Rot(rotation) · S · O · p + shift / 32,
    where O turns the picture by its orientation, S = diag(√a, 1/√a) gives the turned picture its
    aspect a, and Rot turns anticlockwise as seen.

    Args:
        scale: below 1 if the picture shows a part of the other one, magnified.
        rotation: in degrees.
        shift: where the centre of the picture lies in the other one's frame, relative to the centre
            of that frame, in pixels of 64×64: to the right, and down.
        orientation: 0..3 quarter turns anticlockwise; 4..7 the same after mirroring left and right.
        aspect: width / height of the original of the picture, before it is turned.
        other_aspect: width / height of the original of the other one.

    >>> placement(0.5, 90.0, (16.0, -8.0)).round(3).tolist()
    [[0.0, 0.5, 0.5], [-0.5, 0.0, -0.25]]

    """
    if orientation not in range(ORIENTATIONS):
        raise ValueError(f"orientation: is {orientation}, must be from 0 to {ORIENTATIONS - 1}")
    turned_aspect = 1 / aspect if orientation % 2 else aspect
    to_other = np.linalg.inv(_stretch(other_aspect))
    linear = to_other @ (scale * _turn(rotation)) @ _stretch(turned_aspect) @ _oriented(orientation)
    return np.column_stack([linear, np.array(shift) / HALF_SIDE])


def _stretch(aspect: float) -> Matrix:
    """Return the matrix that gives a square frame its aspect and leaves its area."""
    return np.diag([math.sqrt(aspect), 1 / math.sqrt(aspect)])


def _turn(degrees: float) -> Matrix:
    """Return the rotation by an angle, anticlockwise as seen where y points down."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def _oriented(orientation: int) -> Matrix:
    """Return the matrix of one of the eight orientations: mirrored first, then turned."""
    mirror = np.diag([-1.0 if orientation >= ORIENTATIONS // 2 else 1.0, 1.0])
    return _turn(90 * (orientation % 4)) @ mirror
