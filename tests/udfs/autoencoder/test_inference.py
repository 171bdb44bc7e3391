"""Latents and decoded images: their definition, and that they depend on nothing else in a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.support.autoencoders import pictures
from udfs.autoencoder.inference import decoder, encoder
from udfs.autoencoder.model import Autoencoder
from udfs.autoencoder.weights import load_model


def test_a_latent_is_the_last_layer_flattened(weights: bytes) -> None:
    encode = encoder(weights, device="cpu", batch=32)
    pixels = pictures(3)
    latents = encode(pixels)
    assert latents.shape == (3, 1024)
    assert latents.dtype == np.float32
    assert (latents >= 0).all()
    assert latents.max() > 0
    levels = torch.from_numpy(pixels.reshape(-1, 64, 64, 3).copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        layers = load_model(weights).encoder(levels / 127.5 - 1)
    assert np.allclose(latents, layers.reshape(3, 1024).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["weights", "normalised"])
def test_latents_do_not_depend_on_what_comes_along(
    kind: str, request: pytest.FixtureRequest
) -> None:
    weights = request.getfixturevalue(kind)
    pixels = pictures(70)
    encode = encoder(weights, device="cpu", batch=32)
    whole = encode(pixels)
    order = np.random.default_rng(0).permutation(len(pixels))
    assert np.array_equal(encode(pixels[order]), whole[order])
    for n in (0, 1, 31, 32, 33):
        assert np.array_equal(encode(pixels[:n]), whole[:n])
    for batch, threads in ((32, 2), (64, 1), (128, 2)):
        other = encoder(weights, device="cpu", batch=batch, threads=threads)
        assert np.array_equal(other(pixels), whole), (batch, threads)
    torch.set_num_threads(1)


def test_a_picture_is_the_decoders_output_in_levels(weights: bytes) -> None:
    latents = encoder(weights, device="cpu", batch=32)(pictures(3))
    pixels = decoder(weights, device="cpu", batch=32)(latents)
    assert pixels.shape == (3, 64 * 64 * 3)
    assert pixels.dtype == np.uint8
    with torch.inference_mode():
        images = load_model(weights).decode(torch.from_numpy(latents))
    levels = (images.permute(0, 2, 3, 1).reshape(3, -1).numpy() + 1) * 127.5
    assert np.abs(pixels - levels).max() <= 0.5 + 1e-3
    assert pixels.min() < pixels.max()


def test_levels_by_hand() -> None:
    """All weights 0, the last bias atanh of what each channel is to be: −1, 0 and 0.6."""
    state = Autoencoder().state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in state.items()}
    zeros["decoder.8.bias"] = torch.atanh(torch.tensor([-1 + 1e-6, 0.0, 0.6]))
    decode = decoder(save(zeros), device="cpu", batch=4)
    found = decode(np.ones((5, 1024), np.float32)).reshape(-1, 3)
    assert np.array_equal(np.unique(found, axis=0), [[0, 128, 204]])  # 127.5 to the even one
    with pytest.raises(ValueError, match=r"latents: is float64 \(5, 1024\), must be float32"):
        decode(np.ones((5, 1024)))  # type: ignore[arg-type]


def test_pictures_do_not_depend_on_what_comes_along(weights: bytes) -> None:
    draw = np.random.default_rng(0)
    latents = np.maximum(draw.normal(size=(40, 1024)), 0).astype(np.float32)
    whole = decoder(weights, device="cpu", batch=32)(latents)
    before = torch.get_num_threads()
    for batch, n in ((32, 0), (32, 1), (32, 33), (16, 40)):
        decode = decoder(weights, device="cpu", batch=batch)
        assert np.array_equal(decode(latents[:n]), whole[:n]), (batch, n)
    assert torch.get_num_threads() == before


def test_brightness_and_tint_are_nothing_to_a_normalised_model(
    weights: bytes, normalised: bytes
) -> None:
    """Gains and offsets in levels that nothing is cut off or rounded by."""
    coarse = pictures(4).reshape(-1, 3) // 8 * 4  # 0, 4, …, 124
    tinted = (coarse * np.array([2, 1, 1]) + np.array([0, 100, 3])).astype(np.uint8)
    for data, alike in ((normalised, True), (weights, False)):
        encode = encoder(data, device="cpu", batch=8)
        one, other = (encode(part.reshape(4, -1)) for part in (coarse, tinted))
        assert np.allclose(one, other, atol=1e-4) is alike


@pytest.mark.parametrize("kind", ["weights", "normalised"])
def test_an_image_turned_or_mirrored_has_the_same_latent(
    kind: str, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(kind)
    encode = encoder(data, device="cpu", batch=16, orientations=8)
    plain = encoder(data, device="cpu", batch=16)
    squares = pictures(5).reshape(5, 64, 64, 3)
    whole = encode(squares.reshape(5, -1))
    every = [np.rot90(part, k, (1, 2)) for part in (squares, squares[:, ::-1]) for k in range(4)]
    mean = np.mean([plain(np.ascontiguousarray(part).reshape(5, -1)) for part in every], axis=0)
    assert np.allclose(whole, mean, atol=1e-5)
    for part in every:
        found = encode(np.ascontiguousarray(part).reshape(5, -1))
        assert np.allclose(found, whole, atol=1e-6)
        # Standardising sums the pixels in another order; without it all is the same to the bit.
        assert np.array_equal(found, whole) or kind == "normalised"
    assert not np.allclose(plain(squares[:, ::-1].copy().reshape(5, -1)), plain(pictures(5)))
    assert np.array_equal(encode(pictures(5)[3:]), whole[3:])


def test_other_numbers_of_orientations_are_refused(weights: bytes) -> None:
    with pytest.raises(ValueError, match=r"is 4, must be one of \(1, 8\)"):
        encoder(weights, device="cpu", batch=8, orientations=4)
