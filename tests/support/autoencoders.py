"""Small images and a short training of the autoencoder, for the tests that need a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.support.pictures import picture
from udfs.autoencoder import training
from udfs.autoencoder.training import Training


def pictures(n: int, first: int = 0) -> NDArray[np.uint8]:
    return np.stack([picture(first + i, 64).reshape(-1) for i in range(n)])


def train(**changes: object) -> Training:
    given: dict[str, object] = {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "seed": 0,
        "held_out": 0.1,
        "device": "cpu",
    }
    pixels = changes.pop("pixels", None)
    return training.train(pictures(40) if pixels is None else pixels, **given | changes)  # type: ignore[arg-type]
