"""Training of the autoencoder by the reconstruction error and, if asked for, a contrastive term.

`train` is the function to call: it takes pixels and returns the model and the losses of each epoch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from udfs.autoencoder.augmentation import Augmentation, augment
from udfs.autoencoder.contrastive import ContrastiveTerm, Head, nt_xent
from udfs.autoencoder.device import BFLOAT16, FLOAT32, repeatable_float32, to_device
from udfs.autoencoder.model import WIDTH, Autoencoder, OnBatch, check_pixels, images_from_pixels

# With the contrastive term one image in RECONSTRUCTED is decoded: the decoder takes three fifths of
# a plain step, and encoding a second view would otherwise lengthen the step by two fifths.
RECONSTRUCTED = 2


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images; losses are means over images, on the scale [-1, 1].

    number: from 1. loss: the mean squared error of the reconstruction during the epoch; with a
    contrastive term the images are rebuilt from augmented views. held_out_loss: the same error of
    images that are never learnt from, not augmented, after the epoch; None if none are held out.
    seconds: how long the epoch took. instance_loss: the mean NT-Xent, not weighted; None without a
    contrastive term.
    """

    number: int
    loss: float
    held_out_loss: float | None
    seconds: float
    instance_loss: float | None = None


@dataclass(frozen=True)
class Training:
    """A trained model, on the CPU, and how it was trained.

    epochs: one entry for each; images: how many were learnt from; held_out: how many were not.
    """

    model: Autoencoder
    epochs: list[Epoch]
    images: int
    held_out: int


def train(
    pixels: NDArray[np.uint8],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    held_out: float,
    device: str,
    normalise: bool = False,
    contrastive: ContrastiveTerm | None = None,
    precision: str = FLOAT32,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Training:
    """Fit the autoencoder to images by Adam on the mean squared error of the reconstruction.

    The same pixels and seed give the same weights, bit for bit on one machine.

    Args:
        pixels: (n, 64·64·3) uint8 RGB, in rows; n ≥ 1.
        epochs: passes over the images, at least 1.
        batch_size: images of a step.
        learning_rate: of Adam.
        seed: of the first weights, the order of the images and the augmentation.
        held_out: the share of the images, in [0, 1), that is never learnt from; their loss is
            computed after each epoch.
        device: as torch spells it.
        normalise: whether the model is shown standardised images; see `Autoencoder`.
        contrastive: a second term, beyond the paper. The clean image is then rebuilt from an
            augmented view, and two views of an image must recognise each other among the batch.
        precision: "float32" or "bfloat16", of the products while learning. Weights are float32.
        on_batch: called after each step with the epoch, the batch and the batches, both from 1, and
            the reconstruction error.
        on_epoch: called after each epoch.

    Raises:
        ValueError: pixels of another shape or none, another precision, or a loss that is not
            finite.

    """
    check_pixels(pixels)
    if precision not in (FLOAT32, BFLOAT16):
        raise ValueError(f"precision: is {precision}, must be {FLOAT32} or {BFLOAT16}")
    if len(pixels) == 0:
        raise ValueError("pixels: there is no image to train on")
    order = np.random.default_rng(seed).permutation(len(pixels))
    held_count = min(len(pixels) - 1, max(1, round(held_out * len(pixels)))) if held_out else 0
    held, learnt = order[:held_count], order[held_count:]
    with reproducible(seed):
        model = to_device(Autoencoder(normalise), device)
        objective = (
            ContrastiveObjective(model, contrastive, seed)
            if contrastive
            else ReconstructionObjective(model)
        )
        optimizer = torch.optim.Adam(objective.parameters(), lr=learning_rate)
        finished = []
        for number in range(1, epochs + 1):
            start = time.monotonic()
            shuffled = learnt[np.random.default_rng((seed, number)).permutation(len(learnt))]
            loss, contrastive_loss = _run_epoch(
                objective, optimizer, pixels, shuffled, batch_size, number, precision, on_batch
            )
            held_out_loss = _loss(model, pixels, held, batch_size) if held_count else None
            seconds = time.monotonic() - start
            finished.append(Epoch(number, loss, held_out_loss, seconds, contrastive_loss))
            if on_epoch:
                on_epoch(finished[-1])
    return Training(model.cpu().eval(), finished, len(learnt), held_count)


class ReconstructionObjective(nn.Module):
    """The paper's objective: the mean squared error of the reconstruction alone."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what is minimised, the error and None for images (n, 3, 64, 64) in [-1, 1]."""
        error = nn.functional.mse_loss(self.model(images), self.model.target(images))
        return error, error, None


class ContrastiveObjective(nn.Module):
    """The error of clean images rebuilt from augmented views, plus w · NT-Xent of two views.

    mean (Decode(Code(x′)) − x)² + w·L, where x′ is a view of the image x and L the contrastive loss
    of two views of each image of the batch (`udfs.autoencoder.contrastive.nt_xent`).
    """

    def __init__(self, model: Autoencoder, contrastive: ContrastiveTerm, seed: int) -> None:
        super().__init__()
        self.model = model
        device = next(model.parameters()).device
        self.head = Head(WIDTH).to(device)
        self.contrastive = contrastive
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the total, the reconstruction error and NT-Xent for images (n, 3, 64, 64).

        Two views of each image are encoded as one batch. One in RECONSTRUCTED of the first views'
        latents is decoded, since the reconstruction error needs no more.
        """
        n, reconstructed = len(images), -(-len(images) // RECONSTRUCTED)
        # In bfloat16 the sampled positions would be off by up to a quarter of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            views = augment(torch.cat([images, images]), Augmentation(), self.generator)
        latents = self.model.encode(views)
        decoded = self.model.decode(latents[:reconstructed])
        error = nn.functional.mse_loss(decoded, self.model.target(images[:reconstructed]))
        projected = self.head(latents).float()
        # The three digits of bfloat16 are too few for the loss.
        with torch.autocast(images.device.type, enabled=False):
            loss = nt_xent(projected[:n], projected[n:], self.contrastive.temperature)
        return error + self.contrastive.weight * loss, error, loss


def _run_epoch(
    objective: ReconstructionObjective | ContrastiveObjective,
    optimizer: torch.optim.Optimizer,
    pixels: NDArray[np.uint8],
    order: NDArray[np.int64],
    batch_size: int,
    number: int,
    precision: str,
    on_batch: OnBatch | None,
) -> tuple[float, float | None]:
    """Learn from the images in the given order; return the means of both losses."""
    device = next(objective.parameters()).device
    sums, batches = np.zeros(2), -(-len(order) // batch_size)
    for batch in range(batches):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        optimizer.zero_grad(set_to_none=True)
        images = images_from_pixels(pixels[rows], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16):
            total, error, contrastive_loss = objective(images)
        total.backward()
        optimizer.step()
        if not np.isfinite(total.item()):
            raise ValueError(
                f"the loss became {total.item()} in epoch {number}: lower train.learning_rate"
            )
        second = 0.0 if contrastive_loss is None else contrastive_loss.item()
        sums += np.array([error.item(), second]) * len(rows)
        if on_batch:
            on_batch(number, batch + 1, batches, error.item())
    mean_error, mean_contrastive = (sums / len(order)).tolist()
    return mean_error, mean_contrastive if isinstance(objective, ContrastiveObjective) else None


def _loss(
    model: Autoencoder, pixels: NDArray[np.uint8], rows: NDArray[np.int64], batch_size: int
) -> float:
    """Return the mean squared error of the reconstruction of the given rows of pixels."""
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            images = images_from_pixels(
                pixels[rows[start : start + batch_size]], next(model.parameters()).device
            )
            error = nn.functional.mse_loss(model(images), model.target(images))
            total += error.item() * len(images)
    return total / len(rows)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch and make its algorithms deterministic while the block runs."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS sums vary
    with torch.random.fork_rng(), repeatable_float32():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
