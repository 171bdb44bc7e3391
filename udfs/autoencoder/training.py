"""Training of the autoencoder by the reconstruction error and, if asked for, a contrastive term.

`train` is the function to call: it takes pixels and returns the model and the losses of each epoch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from udfs.autoencoder.checkpoint import Checkpoint, Epoch, Position, captured, restore
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import BFLOAT16, FLOAT32, repeatable_float32, to_device
from udfs.autoencoder.model import Autoencoder, OnBatch, check_pixels, images_from_pixels
from udfs.autoencoder.objectives import ContrastiveObjective, ReconstructionObjective

# Whether an epoch has ended, and a function that returns the state.
OnState = Callable[[bool, Callable[[], Checkpoint]], None]


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
    on_state: OnState | None = None,
    start: Checkpoint | None = None,
) -> Training:
    """Fit the autoencoder to images by Adam on the mean squared error of the reconstruction.

    The same pixels and seed give the same weights, bit for bit on one machine, whether a training
    went on from a state or not.

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
        on_state: called after each step, and after each epoch but the last, with whether an epoch
            has ended and a function that returns the state; to call that takes a copy of 30 MB.
        start: such a state, of a training by the same arguments; this one goes on from it.

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
        position = restore(start, objective, optimizer) if start else Position()
        learner = _Learner(objective, optimizer, pixels, batch_size, precision, on_batch, on_state)
        for number in range(position.epoch, epochs + 1):
            begun = time.monotonic() - position.seconds
            shuffled = learnt[np.random.default_rng((seed, number)).permutation(len(learnt))]
            loss, contrastive_loss = learner.run_epoch(shuffled, position, begun)
            held_out_loss = _loss(model, pixels, held, batch_size) if held_count else None
            seconds = time.monotonic() - begun
            epoch = Epoch(number, loss, held_out_loss, seconds, contrastive_loss)
            position = Position([*position.finished, epoch])
            if on_epoch:
                on_epoch(epoch)
            if on_state and number < epochs:
                on_state(True, partial(captured, objective, optimizer, position))
    return Training(model.cpu().eval(), position.finished, len(learnt), held_count)


@dataclass(frozen=True)
class _Learner:
    """Takes the steps of an epoch, from wherever the training stands in it."""

    objective: ReconstructionObjective | ContrastiveObjective
    optimizer: torch.optim.Optimizer
    pixels: NDArray[np.uint8]
    batch_size: int
    precision: str
    on_batch: OnBatch | None
    on_state: OnState | None

    def run_epoch(
        self, order: NDArray[np.int64], position: Position, begun: float
    ) -> tuple[float, float | None]:
        """Learn from the images in the given order; return the means of both losses.

        begun: the clock at the epoch's first batch. The position is moved on after each batch.
        """
        batches = -(-len(order) // self.batch_size)
        state = partial(captured, self.objective, self.optimizer, position)
        for batch in range(position.batches, batches):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            error, second = self._step(rows, position.epoch)
            sums = position.sums[0] + error * len(rows), position.sums[1] + second * len(rows)
            position.batches, position.sums = batch + 1, sums
            position.seconds = time.monotonic() - begun
            if self.on_batch:
                self.on_batch(position.epoch, batch + 1, batches, error)
            if self.on_state:
                self.on_state(False, state)
        mean_error, mean_contrastive = (total / len(order) for total in position.sums)
        has_second = isinstance(self.objective, ContrastiveObjective)
        return mean_error, mean_contrastive if has_second else None

    def _step(self, rows: NDArray[np.int64], number: int) -> tuple[float, float]:
        """Take one step of Adam; return the reconstruction error and NT-Xent, 0 without it."""
        device = next(self.objective.parameters()).device
        self.optimizer.zero_grad(set_to_none=True)
        images = images_from_pixels(self.pixels[rows], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == BFLOAT16):
            total, error, contrastive_loss = self.objective(images)
        total.backward()
        self.optimizer.step()
        if not np.isfinite(total.item()):
            raise ValueError(
                f"the loss became {total.item()} in epoch {number}: lower train.learning_rate"
            )
        return error.item(), 0.0 if contrastive_loss is None else contrastive_loss.item()


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
