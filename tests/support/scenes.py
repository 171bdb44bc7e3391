"""Views of invented scenes, whose true transforms are known, for tests of registration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from udfs.registration import Alignments

PROOF, AGREEMENT = 0.4, 0.3
CENTRE = 128.0
Floats = NDArray[np.float64]


def scene(seed: int, detail: float = 1.5) -> Floats:
    """A picture (256, 256) in [0, 255] with structures of several sizes."""
    noise = np.random.default_rng(seed).standard_normal((3, 256, 256))
    layers = [gaussian_filter(each, detail * 2**k) for k, each in enumerate(noise)]
    mixed = sum(layer / layer.std() for layer in layers)
    return np.asarray(np.clip(127 + 30 * mixed, 0, 255))


def view(picture: Floats, matrix: Floats) -> NDArray[np.uint8]:
    """The 64×64 picture that is seen through a matrix (2, 3), from the scene's centre."""
    y, x = np.mgrid[:64, :64] - 31.5
    at = np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)]))
    seen = map_coordinates(picture, [at[1] + CENTRE, at[0] + CENTRE], order=1, mode="reflect")
    return np.round(seen).astype(np.uint8)


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> Floats:
    """The matrix of a similarity transform, anticlockwise as seen."""
    angle = math.radians(degrees)
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, b, shift[0]], [-b, a, shift[1]]])


def composed(second: Floats, first: Floats) -> Floats:
    """The matrix of one transform after another."""
    whole = second[:, :2] @ first
    whole[:, 2] += second[:, 2]
    return np.asarray(whole)


def pairs(count: int, seed: int, farthest: float = 14) -> tuple[NDArray[np.uint8], Floats]:
    """Pairs of views of one scene each: pictures (2·count, 64, 64), true matrices (count, 2, 3).

    farthest: the largest shift along x and y, in pixels.
    """
    random = np.random.default_rng(seed)
    greys, truth = [], []
    for each in range(count):
        scale = math.exp(random.uniform(-math.log(1.35), math.log(1.35)))
        degrees = random.uniform(-14, 14)
        shift = random.uniform(-farthest, farthest, 2)
        own = similarity(1.2, 0, (0, 0))
        matrix = similarity(scale, degrees, (shift[0], shift[1]))
        picture = scene(1000 * seed + each)
        # The first picture shows the scene through `own`, after the transform, the other without.
        greys += [view(picture, composed(own, matrix)), view(picture, own)]
        truth.append(matrix)
    return np.stack(greys), np.array(truth)


def corner_errors(found: Alignments, truth: Floats) -> Floats:
    """The largest distance in pixels by which a corner of each first picture is misplaced."""
    corners = np.array([[x, y, 1] for x in (-32, 32) for y in (-32, 32)]).T
    ones = np.ones(len(truth))
    return np.asarray(np.abs((found.matrices(ones, ones) - truth) @ corners).max(axis=(1, 2)))
