"""Tiles, what an arm of a comparison shows of them, and its trainings seed by seed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import classifier, subsets, truth
from benchmarks.classifier import BATCH, Epochs, Labelled
from benchmarks.outcomes import Judged, Outcome, Side
from udfs.acquisition.decode import SIDE
from udfs.vectors.cosine import Matrix

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]
Array = NDArray[np.float64]

PASSES = 5  # epochs of the classifier
SAMPLED = 8192  # own images that tell the train loss
STEPS, EPOCHS = "equal steps", "equal epochs"


@dataclass(frozen=True)
class Tiles:
    """Tiles in the order of their ids; n in all."""

    pixels: Pixels  # (n, 64·64·3)
    labels: Indices  # (n,)
    photographs: Indices  # (n,), the number of each one's photograph
    corners: Indices  # (n, 2), x and y
    ids: list[str]

    def at(self, places: Indices) -> Tiles:
        """Some of them."""
        return Tiles(
            self.pixels[places],
            self.labels[places],
            self.photographs[places],
            self.corners[places],
            [self.ids[place] for place in places.tolist()],
        )


@dataclass(frozen=True)
class Test:
    """Tiles that are only looked at, and the side whose photographs they are of."""

    __test__ = False  # no test of pytest's

    images: Labelled
    places: Indices  # of them, those that count
    photographs: Indices  # of each of these, from 0 on
    side: Side

    @classmethod
    def of(cls, tiles: Tiles, images: Labelled, places: Indices, draw: int) -> Test:
        """Of some tiles; images: all of them."""
        _, first, numbers = np.unique(
            tiles.photographs[places], return_index=True, return_inverse=True
        )
        return cls(images, places, numbers, Side(tiles.labels[places][first], draw))

    def judged(self, model: torch.nn.Module) -> Judged:
        """What a classifier comes to, photograph by photograph."""
        return Judged.of(*classifier.judged(model, self.images, self.places), self.photographs)


@dataclass(frozen=True)
class Shown:
    """What a training shows: an epoch's images, by its number; how many; their losses' weights."""

    epochs: Epochs
    size: int
    weights: Array | None = None

    @classmethod
    def fixed(cls, places: Indices, weights: Array | None = None) -> Shown:
        """The same in each epoch."""
        return cls(lambda _: places, len(places), weights)

    def own(self, steps: int) -> Indices:
        """Every image that so many steps show."""
        epochs = -(-steps * BATCH // self.size)
        return np.unique(np.concatenate([self.epochs(number) for number in range(epochs)]))


Arms = dict[str, Callable[[int], Shown]]  # what each shows with a seed


@dataclass(frozen=True)
class Bench:
    """What all experiments have in common."""

    learnt: Tiles
    tests: Tiles
    classes: list[str]
    encode: Callable[[Pixels], Matrix]  # (n, 64·64·3) to whitened latents
    latents: Matrix  # of `learnt`, whitened
    seeds: int
    device: str

    def placed(self, tiles: Tiles) -> Labelled:
        """On the device that trains."""
        return Labelled.placed(tiles.pixels, tiles.labels, self.device)

    def held_out(self) -> Test:
        """The photographs of the other half."""
        return Test.of(self.tests, self.placed(self.tests), np.arange(len(self.tests.labels)), 0)


def tiles(data: Path, half: str, most: int, stride: int, classes: Sequence[str]) -> Tiles:
    """Tiles of at most so many photographs of a half, in the order of their paths, row by row."""
    found: list[Pixels] = []
    where: list[tuple[int, int, int, int]] = []
    ids: list[str] = []
    chosen = sorted(
        truth.photographs(data, truth.TILES, half)[:most], key=lambda one: one[0].encode()
    )
    for number, (name, path) in enumerate(chosen):
        label = name.split("/")[0]
        if label not in classes:
            continue
        image = truth.open_image(path)
        found += [tile.reshape(-1) for tile in truth.tiles(image, stride)]
        for y in range(0, image.height - SIDE + 1, stride):
            for x in range(0, image.width - SIDE + 1, stride):
                where.append((classes.index(label), number, x, y))
                ids.append(f"{name}#{x},{y}")
    numbers = np.array(where, np.int64)
    return Tiles(np.stack(found), numbers[:, 0], numbers[:, 1], numbers[:, 2:], ids)


def once(
    shown: Shown, learnt: Labelled, steps: int, classes: int, seed: int, tests: dict[str, Test]
) -> Outcome:
    """One training, and what it came to."""
    device = learnt.pixels.device
    weights = None if shown.weights is None else torch.from_numpy(shown.weights).float().to(device)
    begun = time.monotonic()
    model = classifier.trained(learnt, shown.epochs, steps, classes, seed, weights)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.monotonic() - begun
    own = shown.own(steps)
    asked = subsets.drawn(own, min(len(own), SAMPLED), np.random.default_rng(seed))
    train_loss = float(classifier.judged(model, learnt, asked)[1].mean())
    sides = {name: test.judged(model) for name, test in tests.items()}
    return Outcome(shown.size, steps, seconds, train_loss, sides)


def steps_of(size: int) -> int:
    """How many batches the epochs over so many images are."""
    return max(1, round(PASSES * size / BATCH))


def repeated(
    arms: Arms,
    learnt: Labelled,
    largest: int,
    bench: Bench,
    tests: dict[str, Test],
    modes: Sequence[str] = (STEPS, EPOCHS),
) -> dict[str, dict[str, list[Outcome]]]:
    """Each arm's outcomes of all seeds, in each mode; what is the same in both is trained once."""
    found: dict[str, dict[str, list[Outcome]]] = {mode: {} for mode in modes}
    for seed in range(bench.seeds):
        for name, arm in arms.items():
            shown = arm(seed)
            known: dict[int, Outcome] = {}
            for mode in modes:
                steps = steps_of(largest if mode == STEPS else shown.size)
                if steps not in known:
                    known[steps] = once(shown, learnt, steps, len(bench.classes), seed, tests)
                    told(f"seed {seed}, {name}, {steps} steps: {known[steps].seconds:.1f} s")
                found[mode].setdefault(name, []).append(known[steps])
    return found


def fixed(places: Indices) -> Callable[[int], Shown]:
    """An arm that shows the same with every seed."""
    return lambda _: Shown.fixed(places)


def told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
