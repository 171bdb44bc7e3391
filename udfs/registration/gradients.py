"""Vectors of pictures by which pairs are proposed to registration: statistics of their gradients.

Use `gradient_vectors`. Two pictures that share a part have similar vectors wherever the part lies
in each, since positions are averaged away; what remains is which structures are there and which of
their properties come together. The vectors are whitened (`udfs.vectors.whitening`) before their
cosine is taken.

A picture is covered by windows of 16 pixels, 4 apart. Each is described by histograms of gradient
directions in 4×4 places, as in SIFT (Lowe, "Distinctive Image Features from Scale-Invariant
Keypoints", IJCV 60, 2004), divided by their sum and rooted (Arandjelović and Zisserman, "Three
things everyone should know to improve object retrieval", CVPR 2012). Of the 128 numbers the 51
coordinates of lowest frequency are kept: cosines over the places, and waves over the directions.
The vector holds the mean products of any two of these coordinates over all windows (second-order
pooling: Carreira et al., "Semantic Segmentation with Second-Order Pooling", ECCV 2012), and before
them the share of windows without any gradient; each is replaced by the root of its size with its
sign.
"""

from __future__ import annotations

import functools

import numpy as np
from threadpoolctl import threadpool_limits

from udfs.registration.kernels.gradients import CELLS, DIRECTIONS, STEP, windows
from udfs.registration.pictures import SIDE, Floats, Greys, gaussian

VERSION = 1  # raised when the vectors change by more than they do from processor to processor
SMOOTHED, POOLED = 1.0, 2.0  # pixels: Gaussians before gradients are taken, and of the histograms
MOST_FREQUENCY = 4  # of the coordinates that are kept, over places and directions together
_WINDOWS = (SIDE // STEP - CELLS + 1) ** 2
FLAT = 1e-3  # the length of a window's coordinates below which it counts as flat, more or less
_AT_ONCE = 64  # pictures: 6 MB of windows


@functools.cache
def coordinates() -> Floats:
    """The kept coordinates of a window: (128, 51), each a column.

    Column by column the product of a cosine over the places down, one over those across, and a wave
    over the directions, all of unit length, times the root of 1 plus their frequencies' sum. The
    constant one is left out: it is nearly the same for every window.
    """
    places, size = np.arange(CELLS) + 0.5, np.arange(DIRECTIONS)
    cosines = [np.cos(np.pi * k * places / CELLS) for k in range(CELLS)]
    waves = [(0, np.ones(DIRECTIONS))]
    for k in range(1, DIRECTIONS // 2):
        angle = 2 * np.pi * k * size / DIRECTIONS
        waves += [(k, np.cos(angle)), (k, np.sin(angle))]
    waves.append((DIRECTIONS // 2, np.cos(np.pi * size)))
    columns = []
    for down, over_rows in enumerate(cosines):
        for across, over_columns in enumerate(cosines):
            for frequency, wave in waves:
                total = down + across + frequency
                if 0 < total <= MOST_FREQUENCY:
                    column = np.einsum("a,b,o->abo", over_rows, over_columns, wave).ravel()
                    columns.append(column / np.linalg.norm(column) * np.sqrt(1 + total))
    return np.asarray(np.stack(columns, axis=1), np.float32)


def width() -> int:
    """The length of a vector: 1,327."""
    kept: int = coordinates().shape[1]
    return 1 + kept * (kept + 1) // 2


def gradient_vectors(grey: Greys) -> Floats:
    """The vectors of pictures: (n, 64, 64) uint8 → (n, 1327) float32.

    grey: the rounded mean of the three channels, see `pictures.grey_of`. No vector is zero.
    """
    basis = coordinates()
    upper = np.triu_indices(basis.shape[1])
    smoothing, pooling = gaussian(SMOOTHED), gaussian(POOLED)
    vectors = np.empty((len(grey), width()), np.float32)
    found = np.empty((_AT_ONCE, _WINDOWS, basis.shape[0]), np.float32)
    with threadpool_limits(1):
        for start in range(0, len(grey), _AT_ONCE):
            part = grey[start : start + _AT_ONCE]
            for number, picture in enumerate(part):
                windows(picture / np.float32(255), smoothing, pooling, found[number])
            # One picture after the other, so that a vector does not depend on those beside it.
            for number in range(len(part)):
                flat, pooled = _pooled(found[number] @ basis)
                vectors[start + number, 0], vectors[start + number, 1:] = flat, pooled[upper]
    return np.asarray(np.sign(vectors) * np.sqrt(np.abs(vectors)), np.float32)


def _pooled(kept: Floats) -> tuple[float, Floats]:
    """The share of flat windows, and the mean products of coordinates (windows, 51).

    Each window is brought to unit length first, but for flat ones.
    """
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    units = kept / np.maximum(lengths, FLAT)
    flat = np.mean(np.maximum(0, 1 - lengths / FLAT))
    return float(flat), np.asarray(units.T @ units / len(units), np.float32)
