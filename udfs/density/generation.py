"""New observations of a class: points drawn from its density, and the latents they stand for.

Use `points` and then `latents`; the decoder makes images of these (paper, eq. 1 and 2, "генерацію
нових величин"; docs/method.md, "What the model is for").
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.density.separable import Separable
from udfs.vectors.cosine import Matrix

Array = NDArray[np.float64]


def class_generator(seed: int, label: str) -> np.random.Generator:
    """Return the random generator of a class, which other classes and their order do not change."""
    digest = hashlib.sha256(f"{seed}|{label}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def points(model: Separable, n: int, sampled: int, rng: np.random.Generator) -> Array:
    """Draw n points of the model: coordinates (n, axes) on the principal axes.

    The first `sampled` coordinates are drawn and the others are 0, the class mean. If `sampled` is
    above the number of axes, all are drawn.
    """
    leading = model.marginals[:sampled]
    coordinates = np.zeros((n, len(model.marginals)))
    coordinates[:, : len(leading)] = Separable(leading).sample(n, rng)
    return coordinates


def latents(coordinates: Array, mean: Array, axes: Array) -> Matrix:
    """Return the latents max(0, mean + Σ c_k·axis_k): (n, k), (d,), (k, d) → (n, d) float32.

    A latent has no negative entry, since the encoder ends with a ReLU. Where an entry is set to 0,
    the coordinates of the latent are no longer exactly those drawn.

    Args:
        coordinates: c, on the axes.
        mean: the class mean.
        axes: of length 1, as rows.

    """
    with threadpool_limits(1):
        vectors = mean + coordinates @ axes
    return np.maximum(vectors, 0.0).astype(np.float32)
