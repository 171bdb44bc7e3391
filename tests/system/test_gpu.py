"""What a GPU computes, beside the CPU; skipped where there is none.

Without Spark and the other tests' fixtures:  pytest --noconftest tests/test_gpu.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from udfs.autoencoder.checkpoint import Checkpoint, checkpoint_bytes, load_checkpoint
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.inference import ORIENTATIONS, decoder, encoder
from udfs.autoencoder.model import PIXELS
from udfs.autoencoder.training import train
from udfs.autoencoder.weights import load_model, weights_bytes
from udfs.duplicates.greedy import covers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

CUDA = "cuda:0"
OBJECTIVES = (None, ContrastiveTerm(weight=0.1, temperature=0.1))


def pictures(n: int) -> NDArray[np.uint8]:
    """Smooth random images, (n, 64·64·3)."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1) * 255
    return smooth.permute(0, 2, 3, 1).reshape(n, PIXELS).to(torch.uint8).numpy()


def trained(contrastive: ContrastiveTerm | None, device: str, **more: Any) -> bytes:
    training = train(
        pictures(200),
        epochs=2,
        batch_size=32,
        learning_rate=1e-3,
        seed=0,
        held_out=0.1,
        device=device,
        normalise=contrastive is not None,
        contrastive=contrastive,
        **more,
    )
    return weights_bytes(training.model)


@pytest.mark.parametrize("contrastive", OBJECTIVES)
def test_the_same_weights_bit_for_bit(contrastive: ContrastiveTerm | None) -> None:
    assert trained(contrastive, CUDA) == trained(contrastive, CUDA)


@pytest.mark.parametrize("contrastive", OBJECTIVES)
def test_a_training_that_goes_on_gives_the_same_weights(
    contrastive: ContrastiveTerm | None,
) -> None:
    states: list[Checkpoint] = []
    whole = trained(contrastive, CUDA, on_state=lambda ended, state: states.append(state()))
    start = load_checkpoint(checkpoint_bytes(states[8]))  # in the second epoch of 6 batches
    assert (start.position.epoch, start.position.batches) == (2, 2)
    assert trained(contrastive, CUDA, start=start) == whole


def test_weights_are_near_the_cpus() -> None:
    there, here = (load_model(trained(None, device)) for device in (CUDA, "cpu"))
    for one, other in zip(there.parameters(), here.parameters(), strict=True):
        assert (one - other).abs().max() < 5e-3


@pytest.mark.parametrize("contrastive", OBJECTIVES)
@pytest.mark.parametrize("orientations", ORIENTATIONS)
def test_latents_are_the_cpus_but_for_rounding(
    contrastive: ContrastiveTerm | None, orientations: int
) -> None:
    data, images = trained(contrastive, "cpu"), pictures(70)
    there, here = (
        encoder(data, device=device, batch=32, orientations=orientations)(images)
        for device in (CUDA, "cpu")
    )
    assert np.abs(there - here).max() < 1e-4 * np.abs(here).max()
    assert not np.array_equal(there, here) or orientations > 1


def test_a_latent_does_not_depend_on_those_beside_it() -> None:
    encode = encoder(trained(None, "cpu"), device=CUDA, batch=32)
    images = pictures(70)
    whole = encode(images)
    for order in (np.arange(5), np.arange(70)[::-1], np.array([69, 0, 33])):
        np.testing.assert_array_equal(encode(images[order]), whole[order])


def test_decoded_images_are_the_cpus_but_for_a_level() -> None:
    data = trained(None, "cpu")
    latents = encoder(data, device="cpu", batch=32)(pictures(40))
    there, here = (
        decoder(data, device=device, batch=32)(latents).astype(int) for device in (CUDA, "cpu")
    )
    assert np.abs(there - here).max() <= 1


@pytest.mark.parametrize("block", [256, 1024, 4096])
def test_covers_are_the_cpus_row_for_row(block: int) -> None:
    """Enough vectors for bounds; many of them within the products' error of a T."""
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
