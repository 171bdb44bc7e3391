"""What is minimised: the sum of both terms, of views that are made in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.autoencoders import pictures, train
from udfs.autoencoder import augmentation, objectives
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import BFLOAT16
from udfs.autoencoder.model import Autoencoder, images_from_pixels
from udfs.autoencoder.objectives import ContrastiveObjective, ReconstructionObjective


def test_the_total_is_the_error_and_the_weighted_second_term() -> None:
    torch.manual_seed(0)
    model, images = Autoencoder(), images_from_pixels(pictures(6), "cpu")
    total, error, second = ReconstructionObjective(model)(images)
    assert second is None
    assert total is error
    assert error.item() == pytest.approx((model(images) - images).square().mean().item())
    objective = ContrastiveObjective(model, ContrastiveTerm(0.25, 0.1), seed=3)
    total, error, second = objective(images)
    assert total.item() == pytest.approx((error + 0.25 * second).item())
    assert objective(images)[0].item() != total.item()  # other views
    objective.generator.manual_seed(3)
    assert objective(images)[0].item() == total.item()


def test_views_are_made_in_float32_whatever_is_learnt_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 the sampled positions would be off by parts of a pixel."""
    calls = []

    def augment(images: torch.Tensor, *given: Any) -> torch.Tensor:
        views = augmentation.augment(images, *given)
        calls.append((torch.is_autocast_enabled("cpu"), views.dtype))
        return views

    monkeypatch.setattr(objectives, "augment", augment)
    train(
        pixels=pictures(8),
        epochs=1,
        batch_size=8,
        held_out=0.0,
        contrastive=ContrastiveTerm(1.0, 0.1),
        precision=BFLOAT16,
    )
    assert calls == [(False, torch.float32)]
