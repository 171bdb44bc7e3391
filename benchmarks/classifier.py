"""A small classifier of 64×64 tiles, and how it is trained: the same way whatever it is shown.

Its settings are numbers of this file: no arm of a comparison has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from udfs.acquisition.decode import SIDE

Indices = NDArray[np.int64]
Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Epochs = Callable[[int], Indices]  # the images that an epoch, by its number, shows, in any order

CHANNELS = (3, 24, 64, 128, 160)
BATCH = 128
RATE = 2e-3  # of Adam at its highest
WARM = 0.1  # of the steps the rate rises from 0, in the others it falls to 0, both in a line
JUDGED = 512  # images at a time


def network(classes: int) -> nn.Sequential:
    """Images (n, 3, 64, 64) in [−1, 1] to logits (n, classes); 277,805 parameters for 21 classes.

    A stride of 4 in the first layer: the layers on large planes are what a CPU spends its time on.
    """
    layers = nn.Sequential()
    for number, (before, after) in enumerate(pairwise(CHANNELS)):
        size, stride = (5, 4) if number == 0 else (3, 2)
        layers.append(nn.Conv2d(before, after, size, stride, size // 2, bias=False))
        layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    layers.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    return layers.append(nn.Linear(CHANNELS[-1], classes))


@dataclass(frozen=True)
class Labelled:
    """pixels: (n, 64·64·3) uint8, rows first, on the device that trains; labels: (n,) int64."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def placed(cls, pixels: NDArray[np.uint8], labels: Indices, device: str) -> Labelled:
        """All at once: 12 KB an image."""
        return cls(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))


def batches(epochs: Epochs, steps: int, draw: np.random.Generator) -> Iterator[Indices]:
    """So many batches of 128 images, of one epoch after another, each in an order of its own.

    A batch may begin in one epoch and end in the next: all are of one size.
    """
    waiting = np.empty(0, np.int64)
    epoch = 0
    for _ in range(steps):
        while len(waiting) < BATCH:
            waiting = np.concatenate([waiting, draw.permutation(epochs(epoch))])
            epoch += 1
        yield waiting[:BATCH]
        waiting = waiting[BATCH:]


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, from 0, among so many."""
    done = (step + 1) / (steps + 1)
    return RATE * min(done / WARM, (1 - done) / (1 - WARM))


def trained(
    images: Labelled,
    epochs: Epochs,
    steps: int,
    classes: int,
    seed: int,
    weights: Tensor | None = None,
) -> nn.Module:
    """A classifier after so many steps of Adam on the cross-entropy.

    weights: (n,) of the images' losses, 1 on average; None: all alike. The seed decides the first
    weights, orders and flips, so arms of one seed begin alike.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _placed(network(classes), images.pixels.device)
    draw = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    model.train()
    for step, rows in enumerate(batches(epochs, steps, draw)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        chosen = torch.from_numpy(rows).to(images.pixels.device)
        shown = _scaled(_flipped(_squares(images.pixels[chosen]), draw))
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(shown), images.labels[chosen], reduction="none")
        (loss if weights is None else loss * weights[chosen]).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def judged(model: nn.Module, images: Labelled, rows: Indices) -> tuple[Flags, Array]:
    """Whether each of the images is told right, and its cross-entropy in nats: (rows,) each."""
    right, loss = [np.empty(0, np.bool_)], [np.empty(0)]
    with torch.inference_mode():
        for start in range(0, len(rows), JUDGED):
            chosen = torch.from_numpy(rows[start : start + JUDGED]).to(images.pixels.device)
            labels = images.labels[chosen]
            logits = model(_scaled(_squares(images.pixels[chosen])))
            right.append((logits.argmax(dim=1) == labels).cpu().numpy())
            each = nn.functional.cross_entropy(logits, labels, reduction="none")
            loss.append(each.double().cpu().numpy())
    return np.concatenate(right), np.concatenate(loss)


def _squares(pixels: Tensor) -> Tensor:
    """(n, 64·64·3) to (n, 64, 64, 3)."""
    return pixels.reshape(-1, SIDE, SIDE, 3)


def _flipped(squares: Tensor, draw: np.random.Generator) -> Tensor:
    """Every second image on average left to right, and every second upside down; in place."""
    for axis in (1, 2):
        chosen = torch.from_numpy(np.flatnonzero(draw.random(len(squares)) < 0.5))
        chosen = chosen.to(squares.device)
        squares[chosen] = squares[chosen].flip(axis)
    return squares


def _scaled(squares: Tensor) -> Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, 64, 64) float32 in [−1, 1], in channels-last."""
    return squares.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _placed(model: nn.Module, device: torch.device) -> nn.Module:
    return cast(nn.Module, model.to(device).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
