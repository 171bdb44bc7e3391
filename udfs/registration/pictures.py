"""Grey pictures of 64×64 pixels, and what registration computes once for each of them.

Use `grey_of` for the grey picture of stored pixels, `turned` for its eight orientations, and
`Prepared.of` for the contrast-normalised picture with its gradients.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.registration.kernels import contrast

Greys = NDArray[np.uint8]
Floats = NDArray[np.float32]
Structure = Floats

SIDE = 64  # pixels of a picture's side
ORIENTATIONS = 8
FLOOR = np.float32(0.007)  # contrast that rounding has, of a range of 1
NEAR = 1.5  # pixels: the deviation of the Gaussian that a pixel's surroundings are weighted by
NEAR_HALF = 1.25  # the same at half size: the search looks at structures of 2.5 pixels
WIDER = 1.5  # times as wide is the Gaussian that contrast is weighted by
NARROW, BROAD = 1.0, 3.0  # pixels: of derivatives, and of the structure tensor


def grey_of(pixels: NDArray[np.uint8]) -> Greys:
    """The mean of the three channels, rounded: (n, 64·64·3) or (n, 64, 64, 3) → (n, 64, 64).

    >>> grey_of(np.full((1, 64, 64, 3), [10, 20, 31], np.uint8))[0, 0, 0]
    np.uint8(20)
    """
    channels = pixels.reshape(-1, SIDE, SIDE, 3)
    total = channels[..., 0].astype(np.uint16)  # NumPy's sum over so short an axis is slow
    total += channels[..., 1]
    total += channels[..., 2]
    grey: Greys = ((2 * total + 3) // 6).astype(np.uint8)
    return grey


def turned(grey: Greys, orientation: int) -> Greys:
    """Pictures (…, 64, 64) in one of their eight orientations.

    0 to 3: turned anticlockwise by so many quarters; 4 to 7: mirrored left to right, and then
    turned by so many quarters less 4.
    """
    mirrored = grey[..., ::-1] if orientation >= 4 else grey
    return np.ascontiguousarray(np.rot90(mirrored, orientation % 4, axes=(-2, -1)))


def gaussian(deviation: float) -> Floats:
    """The weights of a Gaussian, up to three deviations, which sum to 1."""
    radius = int(3 * deviation + 0.5)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * deviation**2))
    return np.asarray(weights / weights.sum(), np.float32)


@functools.cache
def kernels_of_contrast(deviation: float) -> tuple[Floats, Floats]:
    """The Gaussians of the surroundings' mean and, WIDER times as wide, of their contrast."""
    return gaussian(deviation), gaussian(WIDER * deviation)


@functools.cache
def kernels_of_structure() -> tuple[Floats, Floats]:
    """The Gaussians of derivatives and of the structure tensor."""
    return gaussian(NARROW), gaussian(BROAD)


@dataclass
class Prepared:
    """A picture with what registration needs of it.

    root: √(width/height) of the original. grey: (64, 64) in [0, 1]. fine: (4, 64, 64), the
    normalised picture, its gradients along x and y in units of equal length, and its contrast.
    coarse: (3, 32, 32), the same at half size without the contrast.
    """

    root: np.float32
    grey: Floats
    fine: Floats
    coarse: Floats

    @classmethod
    def of(cls, grey: Greys, aspect: float = 1.0) -> Prepared:
        """Prepare a picture (64, 64); aspect: width over height of the original."""
        root = np.float32(math.sqrt(aspect))
        values = grey.astype(np.float32) / np.float32(255)
        fine = np.empty((4, SIDE, SIDE), np.float32)
        coarse = np.empty((3, SIDE // 2, SIDE // 2), np.float32)
        half = kernels_of_contrast(NEAR_HALF)
        contrast.prepare(values, root, *kernels_of_contrast(NEAR), *half, FLOOR, fine, coarse)
        return cls(root, values, fine, coarse)

    @functools.cached_property
    def textured(self) -> float:
        """The share of the pixels whose contrast is above the floor."""
        return float(np.mean(self.fine[3] > FLOOR * FLOOR))


def structure_of(picture: Prepared) -> Structure:
    """Smoothed derivatives and structure tensor of a picture: (5, 64, 64)."""
    structure = np.empty((5, SIDE, SIDE), np.float32)
    contrast.structure(picture.fine[0], *kernels_of_structure(), structure)
    return structure
