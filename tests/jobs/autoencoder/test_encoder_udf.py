"""The encoder that a worker keeps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.autoencoder.encoder_udf import ISA, EncoderTask
from jobs.errors import JobError
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


def test_a_worker_of_another_kind_than_was_asked_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executors are asked before; one that comes later may be another machine."""
    data = drawn(False)
    monkeypatch.setenv(ISA, "AVX2")
    task = EncoderTask(data, weights.model_id(data), 8, "cpu", platform="cpu AVX512_CORE")
    with pytest.raises(JobError, match=r"unlike kinds \(cpu AVX2; cpu AVX512_CORE\)"):
        task.encoder()
    task.platform = "cpu AVX2"
    task.encoder()


def test_the_number_of_orientations_is_part_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn(False)
    monkeypatch.setenv(ISA, "AVX2")
    name = weights.model_id(data)
    EncoderTask(data, name, 8, "cpu", 8, "cpu AVX2, 8 orientations").encoder()
    with pytest.raises(JobError, match="unlike kinds"):
        EncoderTask(data, name, 8, "cpu", 8, "cpu AVX2").encoder()
