"""Weights files: written and read again, told apart, and refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from tests.support.autoencoders import pictures
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.weights import load_model, model_id, normalises, weights_bytes


def test_a_weights_file_says_whether_images_are_standardised(
    weights: bytes, normalised: bytes
) -> None:
    assert not normalises(weights)
    assert normalises(normalised)
    loaded = load_model(normalised)
    assert loaded.normalise
    assert weights_bytes(loaded) == normalised
    loaded.normalise = False
    plain = weights_bytes(loaded)
    assert model_id(plain) != model_id(normalised)
    latents = encoder(plain, device="cpu", batch=8)(pictures(3))
    assert not np.allclose(
        latents, encoder(normalised, device="cpu", batch=8)(pictures(3)), atol=1e-2
    )


def test_foreign_weights_are_refused(weights: bytes) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        load_model(b"something else")
    state = load(weights)
    name = "encoder.0.weight"
    with pytest.raises(ValueError, match=f"{name}: missing"):
        load_model(save({key: value for key, value in state.items() if key != name}))
    with pytest.raises(ValueError, match=f"{name}: shape"):
        load_model(save(state | {name: torch.zeros(2)}))
    with pytest.raises(ValueError, match="more: not of this architecture"):
        load_model(save(state | {"more": torch.zeros(2)}))
    with pytest.raises(ValueError, match=f"{name}: holds NaN"):
        load_model(save(state | {name: state[name] * torch.nan}))


def test_weights_survive_a_file(weights: bytes) -> None:
    assert weights_bytes(load_model(weights)) == weights
    assert len(model_id(weights)) == 64
