"""New observations of a class: drawn from its density, and the real ones they resemble most.

Paper, eq. 1 and 2 ("генерацію нових величин"); spec, section 5.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.density.separable import Separable
from udfs.vectors.cosine import Matrix

Array = NDArray[np.float64]


def draw_of(seed: int, label: str) -> np.random.Generator:
    """The random numbers of a class: those of other classes do not change them."""
    digest = hashlib.sha256(f"{seed}|{label}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def points(model: Separable, n: int, sampled: int, rng: np.random.Generator) -> Array:
    """Coordinates (n, axes): of the `sampled` leading axes drawn, of the others 0, the class mean.

    `sampled` may be more than the model's axes: then all are drawn.
    """
    leading = model.marginals[:sampled]
    found = np.zeros((n, len(model.marginals)))
    found[:, : len(leading)] = Separable(leading).sample(n, rng)
    return found


def latents(coordinates: Array, mean: Array, axes: Array) -> Matrix:
    """max(0, mean + Σ c_k·axis_k) of coordinates (n, k), mean (d,) and unit axes (k, d): (n, d).

    A latent has no negative entry: the encoder ends with a ReLU. Where one is set to 0, the
    coordinates of the latent are no longer exactly those drawn.
    """
    with threadpool_limits(1):
        found = mean + coordinates @ axes
    return np.maximum(found, 0.0).astype(np.float32)
