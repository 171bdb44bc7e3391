"""What a GPU computes, beside the CPU; skipped where there is none.

Without Spark and the other tests' fixtures:  pytest --noconftest tests/system/test_gpu.py
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from udfs.autoencoder import inference, weights
from udfs.autoencoder import training as training_loop
from udfs.autoencoder.contrastive import Instance
from udfs.autoencoder.model import PIXELS
from udfs.duplicates.greedy import covers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

CUDA = "cuda:0"
OBJECTIVES = (None, Instance(weight=0.1, temperature=0.1))


def pictures(n: int) -> NDArray[np.uint8]:
    """Smooth random images, (n, 64·64·3)."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1) * 255
    return smooth.permute(0, 2, 3, 1).reshape(n, PIXELS).to(torch.uint8).numpy()


def trained(instance: Instance | None, device: str) -> bytes:
    training = training_loop.train(
        pictures(200),
        epochs=2,
        batch_size=32,
        learning_rate=1e-3,
        seed=0,
        held_out=0.1,
        device=device,
        normalise=instance is not None,
        instance=instance,
    )
    return weights.weights_bytes(training.model)


@pytest.mark.parametrize("instance", OBJECTIVES)
def test_the_same_weights_bit_for_bit(instance: Instance | None) -> None:
    assert trained(instance, CUDA) == trained(instance, CUDA)


def test_weights_are_near_those_of_the_cpu() -> None:
    there, here = (weights.load(trained(None, device)) for device in (CUDA, "cpu"))
    for one, other in zip(there.parameters(), here.parameters(), strict=True):
        assert (one - other).abs().max() < 5e-3


@pytest.mark.parametrize("instance", OBJECTIVES)
@pytest.mark.parametrize("orientations", inference.ORIENTATIONS)
def test_latents_are_those_of_the_cpu_up_to_rounding(
    instance: Instance | None, orientations: int
) -> None:
    data, images = trained(instance, "cpu"), pictures(70)
    there, here = (
        inference.encoder(data, device=device, batch=32, orientations=orientations)(images)
        for device in (CUDA, "cpu")
    )
    assert np.abs(there - here).max() < 1e-4 * np.abs(here).max()
    assert not np.array_equal(there, here) or orientations > 1


def test_a_latent_does_not_depend_on_those_beside_it() -> None:
    encode = inference.encoder(trained(None, "cpu"), device=CUDA, batch=32)
    images = pictures(70)
    whole = encode(images)
    for order in (np.arange(5), np.arange(70)[::-1], np.array([69, 0, 33])):
        np.testing.assert_array_equal(encode(images[order]), whole[order])


def test_decoded_images_are_those_of_the_cpu_up_to_one_level() -> None:
    data = trained(None, "cpu")
    latents = inference.encoder(data, device="cpu", batch=32)(pictures(40))
    there, here = (
        inference.decoder(data, device=device, batch=32)(latents).astype(int)
        for device in (CUDA, "cpu")
    )
    assert np.abs(there - here).max() <= 1


@pytest.mark.parametrize("block", [256, 1024, 4096])
def test_covers_are_those_of_the_cpu_row_for_row(block: int) -> None:
    """With enough vectors for the bounds, many of them within rounding error of a threshold."""
    draw = np.random.default_rng(0)
    spectrum = 0.9 ** np.arange(256)
    rows = (draw.standard_normal((10_000, 256)) * spectrum + 0.5).astype(np.float32)
    rows[5000:] = rows[:5000] + draw.standard_normal((5000, 256)).astype(np.float32) * 0.01
    thresholds = [0.9, 0.97, 0.999]
    there, here = (
        covers(None, rows, thresholds, block=block, device=device) for device in (CUDA, "cpu")
    )
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.kept, other.kept)
        np.testing.assert_array_equal(one.keeper, other.keeper)
        np.testing.assert_array_equal(one.similarity, other.similarity)
        assert 0 < one.kept.sum() < 10_000
