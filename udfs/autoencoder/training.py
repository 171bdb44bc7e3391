"""Training: epochs over a sample, by the reconstruction error and the contrastive term."""

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

from udfs.autoencoder.augmentation import Changes, changed
from udfs.autoencoder.contrastive import Head, Instance, nt_xent
from udfs.autoencoder.device import BFLOAT16, FLOAT32, _float32, _placed
from udfs.autoencoder.model import WIDTH, Autoencoder, OnBatch, _check_pixels, _images

# Beside the second term every second image is rebuilt: the decoder is three fifths of a plain
# step's work, and the encoder's second view would otherwise lengthen the step by two fifths.
REBUILT = 2


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images: mean squared errors on the scale [-1, 1].

    loss: of what was learnt from, changed views where there is a second term. held_out_loss: of
    unchanged images. instance_loss: the mean NT-Xent, unweighted; None without that term.
    """

    number: int
    loss: float
    held_out_loss: float | None
    seconds: float
    instance_loss: float | None = None


@dataclass(frozen=True)
class Training:
    """A trained model and how it came about."""

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
    instance: Instance | None = None,
    precision: str = FLOAT32,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Training:
    """Fit the autoencoder to images by Adam on the mean squared error of the reconstruction.

    pixels: (n, 64·64·3) uint8 RGB, rows first; held_out: share of the images that is never learnt
    from, its loss is taken after each epoch; normalise: as of the Autoencoder; instance: a second
    term, beyond the paper: then the clean image is rebuilt from a changed one, and two changed
    views of an image must recognise each other among the batch. precision: of the convolutions and
    products while learning, float32 or bfloat16; weights are float32 in any case. Same pixels, seed
    and machine: same weights, bit for bit. Raises ValueError for pixels of another shape, another
    precision, or a loss that is no number.
    """
    _check_pixels(pixels)
    if precision not in (FLOAT32, BFLOAT16):
        raise ValueError(f"precision: is {precision}, must be {FLOAT32} or {BFLOAT16}")
    if len(pixels) == 0:
        raise ValueError("pixels: there is no image to train on")
    order = np.random.default_rng(seed).permutation(len(pixels))
    kept_out = min(len(pixels) - 1, max(1, round(held_out * len(pixels)))) if held_out else 0
    aside, learnt = order[:kept_out], order[kept_out:]
    with _reproducible(seed):
        model = _placed(Autoencoder(normalise), device)
        objective = _Recognition(model, instance, seed) if instance else _Reconstruction(model)
        optimizer = torch.optim.Adam(objective.parameters(), lr=learning_rate)
        done = []
        for number in range(1, epochs + 1):
            clock = time.monotonic()
            shuffled = learnt[np.random.default_rng((seed, number)).permutation(len(learnt))]
            loss, second = _epoch(
                objective, optimizer, pixels, shuffled, batch_size, number, precision, on_batch
            )
            outside = _loss(model, pixels, aside, batch_size) if kept_out else None
            done.append(Epoch(number, loss, outside, time.monotonic() - clock, second))
            if on_epoch:
                on_epoch(done[-1])
    return Training(model.cpu().eval(), done, len(learnt), kept_out)


class _Reconstruction(nn.Module):
    """The paper's objective: the error of the reconstruction, and no second term."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of images (n, 3, 64, 64): what is minimised, the error, the second term or None."""
        error = nn.functional.mse_loss(self.model(images), self.model.target(images))
        return error, error, None


class _Recognition(nn.Module):
    """The error of clean images rebuilt from changed ones, and NT-Xent of two changed views."""

    def __init__(self, model: Autoencoder, instance: Instance, seed: int) -> None:
        super().__init__()
        self.model = model
        place = next(model.parameters()).device
        self.head = Head(WIDTH).to(place)
        self.instance = instance
        self.draws = torch.Generator(place).manual_seed(seed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As of the other; both views pass the encoder together, some of the first are rebuilt."""
        n, rebuilt = len(images), -(-len(images) // REBUILT)
        # In bfloat16 places would be off by up to a quarter of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            views = changed(torch.cat([images, images]), Changes(), self.draws)
        latents = self.model.encode(views)
        found = self.model.decode(latents[:rebuilt])
        error = nn.functional.mse_loss(found, self.model.target(images[:rebuilt]))
        seen = self.head(latents).float()
        with torch.autocast(images.device.type, enabled=False):  # its three digits are too few here
            second = nt_xent(seen[:n], seen[n:], self.instance.temperature)
        return error + self.instance.weight * second, error, second


def _epoch(
    objective: _Reconstruction | _Recognition,
    optimizer: torch.optim.Optimizer,
    pixels: NDArray[np.uint8],
    order: NDArray[np.int64],
    batch_size: int,
    number: int,
    precision: str,
    on_batch: OnBatch | None,
) -> tuple[float, float | None]:
    """One pass in the given order; both terms' means. Raises ValueError where one is no number."""
    device = next(objective.parameters()).device
    totals, batches = np.zeros(2), -(-len(order) // batch_size)
    for batch in range(batches):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        optimizer.zero_grad(set_to_none=True)
        images = _images(pixels[rows], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16):
            whole, error, second = objective(images)
        whole.backward()
        optimizer.step()
        if not np.isfinite(whole.item()):
            raise ValueError(
                f"the loss became {whole.item()} in epoch {number}: lower train.learning_rate"
            )
        totals += np.array([error.item(), 0.0 if second is None else second.item()]) * len(rows)
        if on_batch:
            on_batch(number, batch + 1, batches, error.item())
    loss, recognised = (totals / len(order)).tolist()
    return loss, recognised if isinstance(objective, _Recognition) else None


def _loss(
    model: Autoencoder, pixels: NDArray[np.uint8], rows: NDArray[np.int64], batch_size: int
) -> float:
    """Mean squared error of the reconstruction of the given rows."""
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            images = _images(
                pixels[rows[start : start + batch_size]], next(model.parameters()).device
            )
            error = nn.functional.mse_loss(model(images), model.target(images))
            total += error.item() * len(images)
    return total / len(rows)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Torch's generators seeded and its algorithms deterministic; as they were afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else its sums vary (cuBLAS docs)
    with torch.random.fork_rng(), _float32():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
