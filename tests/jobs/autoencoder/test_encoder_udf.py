"""The encoder that a worker keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.autoencoder.encoder_udf import EncoderTask
from tests.support.pictures import picture
from udfs.autoencoder import inference, training, weights
from udfs.autoencoder.model import Autoencoder


def drawn(normalise: bool) -> bytes:
    """The weights of a model before training."""
    with training.reproducible(0):
        return weights.weights_bytes(Autoencoder(normalise))


def pixels(n: int) -> NDArray[np.uint8]:
    return np.stack([picture(i, 64).reshape(-1) for i in range(n)])


def test_a_worker_keeps_an_encoder_for_each_number_of_orientations() -> None:
    data = drawn(False)
    name = weights.model_id(data)
    for orientations in (1, 8, 1):
        found = EncoderTask(data, name, 8, "cpu", orientations).encoder()
        wanted = inference.encoder(data, device="cpu", batch=8, orientations=orientations)
        assert np.array_equal(found(pixels(3)), wanted(pixels(3)))
