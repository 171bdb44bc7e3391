"""Registration's definitions in NumPy and SciPy, to which the loops are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.support.scenes import scene, similarity, view
from udfs.registration.pictures import FLOOR, Greys

Floats = NDArray[np.float64]
OWN = similarity(1.2, 0, (0, 0))  # through which the scene is seen


def picture(seed: int) -> Greys:
    """A textured picture (64, 64)."""
    return view(scene(seed), OWN)


def blurred(values: Floats, deviation: float) -> Floats:
    """A Gaussian of three deviations, mirrored at the edges."""
    return np.asarray(gaussian_filter(values, deviation, mode="mirror", truncate=3))


def normalised(values: Floats, deviation: float) -> tuple[Floats, Floats]:
    """The normalised picture h/√(G∗h² + floor²) with h = g − G∗g, and the contrast G∗h²."""
    high = values - blurred(values, deviation)
    contrast = blurred(high * high, 1.5 * deviation)
    return high / np.sqrt(contrast + float(FLOOR) ** 2), contrast


def gradients(values: Floats) -> tuple[Floats, Floats]:
    """Along x and y; NumPy's differences at the edges are replaced by 0."""
    gy, gx = (np.asarray(each) for each in np.gradient(values))
    gy[[0, -1]] = 0
    gx[:, [0, -1]] = 0
    return gx, gy


def places(matrix: Floats, side: int = 64) -> Floats:
    """Where the pixels go, in pixels from the other picture's centre: (2, side, side)."""
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - centre
    return np.asarray(np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)])))
