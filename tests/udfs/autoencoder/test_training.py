"""Training: repeatable to the bit, it lowers both losses, and it refuses what it cannot learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load

from tests.support.autoencoders import pictures, train
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.weights import weights_bytes

TERM = ContrastiveTerm(weight=0.1, temperature=0.1)


def test_same_seed_same_weights(weights: bytes) -> None:
    torch.manual_seed(99)  # training's outcome does not hang on the global generator
    assert weights_bytes(train().model) == weights
    assert weights_bytes(train(seed=1).model) != weights


@pytest.mark.parametrize("normalise", [False, True])
def test_the_second_term_is_repeatable_too_and_another_model(
    weights: bytes, normalise: bool
) -> None:
    found = train(contrastive=TERM, normalise=normalise)
    one = weights_bytes(found.model)
    torch.manual_seed(99)
    again = train(contrastive=TERM, normalise=normalise)
    assert weights_bytes(again.model) == one
    assert [vars(epoch) | {"seconds": 0} for epoch in again.epochs] == [
        vars(epoch) | {"seconds": 0} for epoch in found.epochs
    ]
    others = (
        {"seed": 1},
        {"contrastive": ContrastiveTerm(0.2, 0.1)},
        {"contrastive": ContrastiveTerm(0.1, 0.2)},
    )
    for other in others:
        model = train(**{"contrastive": TERM, "normalise": normalise} | other).model
        assert weights_bytes(model) != one
    assert set(load(one)) == set(load(weights))  # the head is gone


def test_images_learn_to_be_recognised() -> None:
    """Views are told apart better after training by the second term, and images still rebuilt."""
    epochs = train(contrastive=ContrastiveTerm(1.0, 0.1), epochs=15).epochs
    assert epochs[0].instance_loss is not None
    assert epochs[-1].instance_loss is not None
    assert epochs[-1].instance_loss < 0.8 * epochs[0].instance_loss  # 0.66 to 0.72, by processor
    assert epochs[-1].loss < epochs[0].loss
    assert train().epochs[0].instance_loss is None


def test_a_normalised_model_is_to_rebuild_the_standardised_image() -> None:
    """Mean 127.5 and spread 42.5 in every channel, cut off at 3 spreads; the loss is to that."""
    trained = train(pixels=pictures(8), normalise=True, held_out=0.5)
    levels = pictures(8).reshape(8, -1, 3).astype(float)
    spread = levels.std(axis=1, keepdims=True)
    wanted = 42.5 * (levels - levels.mean(axis=1, keepdims=True)) / spread
    target = np.clip(wanted, -127.5, 127.5).reshape(8, 64, 64, 3) / 127.5
    aside = np.random.default_rng(0).permutation(8)[:4]
    images = torch.from_numpy(levels.reshape(8, 64, 64, 3)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = trained.model(images / 127.5 - 1).permute(0, 2, 3, 1).numpy()
    error = np.square(found - target)[aside].mean()
    assert trained.epochs[-1].held_out_loss == pytest.approx(error, rel=1e-4)
    assert 0.05 < np.square(target).mean() < 0.12  # 1/9, less what is cut off


def test_training_lowers_the_loss_and_counts_its_images() -> None:
    seen: list[tuple[int, int, int]] = []
    trained = train(epochs=40, on_batch=lambda e, b, n, loss: seen.append((e, b, n)))
    assert trained.epochs[-1].loss < 0.5 * trained.epochs[0].loss
    assert (trained.images, trained.held_out) == (36, 4)
    assert seen[:4] == [(1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 3)]
    assert all(epoch.held_out_loss for epoch in trained.epochs)


def test_one_image_and_no_held_out() -> None:
    assert train(pixels=pictures(1)).held_out == 0
    assert train(held_out=0.0).epochs[0].held_out_loss is None


def test_bad_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="no image to train on"):
        train(pixels=pictures(1)[:0])
    with pytest.raises(ValueError, match=r"must be uint8 \(n, 12288\)"):
        train(pixels=pictures(2).astype(np.float32))
    with pytest.raises(ValueError, match=r"lower train.learning_rate"):
        train(learning_rate=1e8, epochs=30)
