"""The coarse search: at which scale, rotation and shift two pictures may show the same.

Use `template_spectra` and `other_spectra` once for each picture, and `starts` for a pair. At half
size the picture is turned and shrunk to a grid of rotations and scales, and correlated with the
other picture at every shift by Fourier transforms. To enlarge the other picture, the first one is
shrunk: both then stay within their frame.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import NDArray

from udfs.registration.kernels import grid
from udfs.registration.pictures import SIDE, Floats, Prepared

Spectra = NDArray[np.complex64]

ROTATIONS = (-12.0, -6.0, 0.0, 6.0, 12.0)  # degrees
SHRINKINGS = (1.0, 0.86, 0.74)
LEAST_OVERLAP = 0.2  # of the first picture; the search leaves out shifts with less
_HALF = SIDE // 2
_ROOTS = 256  # roots of aspects whose matrices are kept
# The side to which pictures are padded. Shifts of up to 8 pixels of half size meet no copy of the
# other picture beyond its edge, and larger ones only a narrow strip of one.
PADDED = 40
# Planes: the first picture's rotation and shrinking, and the other picture's shrinking.
PLANES = [(r, 0, k) for r in range(5) for k in range(3)]
PLANES += [(r, k, 0) for r in range(5) for k in (1, 2)]
OWN = np.array([3 * rotation + own for rotation, own, _ in PLANES])
OTHER = np.array([other for _, _, other in PLANES])
ANGLE = np.radians([ROTATIONS[rotation] for rotation, _, _ in PLANES])
OTHER_SHRINKING = np.array(SHRINKINGS)[OTHER]
RATIO = np.array([SHRINKINGS[own] for _, own, _ in PLANES]) / OTHER_SHRINKING


def template_spectra(picture: Prepared) -> Spectra:
    """Conjugated spectra of the picture at all rotations and shrinkings: (15, 40, 21)."""
    spectra = _spectra(picture, _turns(float(picture.root)))
    return np.conjugate(spectra, out=spectra)


def other_spectra(picture: Prepared, root: float) -> Spectra:
    """Spectra of the picture at all shrinkings, in a frame of that root: (3, 40, 21)."""
    return _spectra(picture, _frames(root, float(picture.root)))


def starts(
    own: Spectra, other: Spectra, root: float, count: int
) -> tuple[Floats, NDArray[np.float64]]:
    """The best transforms of the grid: correlations (count,) and transforms (count, 4).

    A transform is (a, b, tx, ty) of v = [[a, b], [−b, a]]·u + t, in pixels of half size and units
    of equal length. The correlation is divided by the root of the overlap, so that it has the same
    spread for pictures that are unlike, whatever the overlap.
    """
    product = np.empty((len(PLANES), *other.shape[1:]), np.complex64)
    grid.multiplied(own, OWN, other, OTHER, product)
    shape = (PADDED, PADDED)
    correlation = scipy.fft.irfft2(product, s=shape, overwrite_x=True)
    values, places = np.empty(count, np.float32), np.empty((count, 2), np.int64)
    grid.highest(correlation, weights(), values, places)
    planes, shifts = places[:, 0], np.stack([places[:, 1] % PADDED, places[:, 1] // PADDED])
    shifts[shifts > PADDED // 2] -= PADDED
    # The first picture is seen through R(θ)/own and the other one through 1/other, both in units of
    # equal length; so the transform between them is R(−θ)·own/other.
    shrinking = OTHER_SHRINKING[planes]
    transforms = np.empty((count, 4))
    transforms[:, 0] = RATIO[planes] * np.cos(ANGLE[planes])
    transforms[:, 1] = -RATIO[planes] * np.sin(ANGLE[planes])
    transforms[:, 2] = shifts[0] * root / shrinking
    transforms[:, 3] = shifts[1] / root / shrinking
    return values, transforms


def _shown(root: float, degrees: float, shrinking: float) -> NDArray[np.float64]:
    """The matrix through which a picture is seen turned and shrunk."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    units = np.diag([root, 1 / root])
    return np.asarray(np.linalg.inv(units) @ turn @ units / shrinking)


@functools.lru_cache(_ROOTS)
def _turns(root: float) -> Floats:
    """The matrices (15, 2, 2) through which a first picture is seen."""
    return np.array([_shown(root, r, s) for r in ROTATIONS for s in SHRINKINGS], np.float32)


@functools.lru_cache(_ROOTS)
def _frames(root: float, other_root: float) -> Floats:
    """The matrices (3, 2, 2) through which the other picture is seen, in the first one's units."""
    frame = np.diag([root / other_root, other_root / root])
    return np.array([frame / shrinking for shrinking in SHRINKINGS], np.float32)


def _spectra(picture: Prepared, matrices: Floats) -> Spectra:
    shown = np.empty((len(matrices), _HALF, _HALF), np.float32)
    grid.resampled(picture.coarse[0], matrices, shown)
    spectra: Spectra = scipy.fft.rfft2(shown, s=(PADDED, PADDED))
    return spectra


@functools.cache
def weights() -> Floats:
    """What entries of the planes are multiplied by: 1/√overlap, and 0 where it is too small.

    The overlap is that of square pictures; it only decides which transforms are tried first.
    """
    ones = np.ones((_HALF, _HALF), np.float32)
    own = np.empty((len(ROTATIONS) * len(SHRINKINGS), _HALF, _HALF), np.float32)
    matrices = [_shown(1.0, r, s) for r in ROTATIONS for s in SHRINKINGS]
    grid.resampled(ones, np.array(matrices, np.float32), own)
    other = np.empty((len(SHRINKINGS), _HALF, _HALF), np.float32)
    grid.resampled(ones, np.array([np.eye(2) / s for s in SHRINKINGS], np.float32), other)
    side = 2 * _HALF
    spectra = np.conj(np.fft.rfft2(own, s=(side, side)))[OWN]
    areas = np.fft.irfft2(spectra * np.fft.rfft2(other, s=(side, side))[OTHER], s=(side, side))
    # An entry stands for a shift and, beyond the edge, for its copies: the largest overlap counts.
    lags = np.arange(PADDED)
    overlaps = np.zeros((len(PLANES), PADDED, PADDED))
    for ys in (lags, lags - PADDED):
        for xs in (lags, lags - PADDED):
            valid = (abs(ys)[:, None] < _HALF) & (abs(xs) < _HALF)
            overlaps = np.maximum(overlaps, np.where(valid, areas[:, ys[:, None], xs], 0))
    size = np.array([SHRINKINGS[own] ** 2 * _HALF**2 for _, own, _ in PLANES])[:, None, None]
    share = overlaps / size
    weights = np.where(share >= LEAST_OVERLAP, 1 / np.sqrt(np.maximum(share, LEAST_OVERLAP)), 0)
    return np.asarray(weights / size, np.float32)
