"""What trainings came to: arms beside each other, paired by seed and by test photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.intervals import macro, middle

Indices = NDArray[np.int64]
Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """The photographs that something is tested on.

    labels: (photographs,), their classes. draw: sides of other photographs are drawn apart.
    """

    labels: Indices
    draw: int = 0


@dataclass(frozen=True)
class Judged:
    """Of each photograph of a side: (photographs,) the share of its tiles told right, their loss.

    The loss is the mean cross-entropy in nats.
    """

    right: Array
    loss: Array

    @classmethod
    def of(cls, right: Flags, loss: Array, photographs: Indices) -> Judged:
        """Of tiles (n,), photographs[i] the number of each one's photograph, all from 0 on."""
        tiles = np.bincount(photographs)
        rights, losses = (np.bincount(photographs, each) / tiles for each in (right, loss))
        return cls(rights, losses)


@dataclass(frozen=True)
class Outcome:
    """One training: what it showed, how long it took, what it came to on each side by name."""

    images: int
    steps: int
    seconds: float
    train_loss: float  # of its own images, unchanged
    sides: dict[str, Judged]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or −1 where the interval lies on that side of 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} … {self.high:.3f})"

    def told(self, other: str) -> str:
        """As the end of a sentence: how it lies to another."""
        side = {1: "above", -1: "below", 0: "not clearly apart from"}[self.sign]
        return f"{side} {other}: {self.value:+.3f} ({self.low:+.3f} … {self.high:+.3f})"


@dataclass(frozen=True)
class Arm:
    """The trainings of one arm, seed by seed, judged on a side."""

    outcomes: Sequence[Outcome]
    name: str
    side: Side

    @property
    def right(self) -> Array:
        """(seeds, photographs)."""
        return np.stack([one.sides[self.name].right for one in self.outcomes])

    @property
    def loss(self) -> Array:
        """(seeds, photographs)."""
        return np.stack([one.sides[self.name].loss for one in self.outcomes])

    @property
    def train_loss(self) -> Array:
        """(seeds,)."""
        return np.array([one.train_loss for one in self.outcomes])

    @property
    def gap(self) -> Array:
        """Test loss less training loss: (seeds, photographs)."""
        return self.loss - self.train_loss[:, None]

    @property
    def seconds(self) -> float:
        """Of a training, on average."""
        return float(np.mean([one.seconds for one in self.outcomes]))

    @property
    def worst(self) -> float:
        """The accuracy of each seed's worst class, on average."""
        classes = np.unique(self.side.labels)
        each = [self.right[:, self.side.labels == one].mean(axis=1) for one in classes]
        return float(np.min(each, axis=0).mean())

    def accuracy(self, less: Arm | None = None, classes: Sequence[int] | None = None) -> Estimate:
        """Macro accuracy, or by how much it lies above another arm's; of some classes or all."""
        values = self.right - less.right if less else self.right
        return self._estimate(values, classes)

    def overfitting(self, less: Arm | None = None) -> Estimate:
        """The gap, or by how much it lies above another arm's."""
        return self._estimate(self.gap - less.gap if less else self.gap, None)

    def draws(self) -> Array:
        """Of the macro accuracy: (2000,)."""
        return macro(self.right, self.side.labels, self.side.draw)

    def _estimate(self, values: Array, classes: Sequence[int] | None) -> Estimate:
        labels = self.side.labels
        some = np.isin(labels, classes) if classes is not None else np.ones(len(labels), np.bool_)
        values, labels = values[:, some], labels[some]
        value = np.mean([values[:, labels == one].mean() for one in np.unique(labels)])
        return Estimate(float(value), *middle(macro(values, labels, self.side.draw)))


def apart(one: Arm, other: Arm) -> Estimate:
    """By how much one macro accuracy lies above another of other photographs."""
    value = one.accuracy().value - other.accuracy().value
    return Estimate(value, *middle(one.draws() - other.draws()))


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table, and an empty line after it."""
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def compared(
    arms: dict[str, Arm], against: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> None:
    """A table of arms; the accuracies less those of some of them; those of groups of classes.

    The last column is the gap less that of the first of `against`.
    """
    heads = ["arm", "images", "steps", "s", "macro accuracy", *(f"− {name}" for name in against)]
    heads += [*(groups or {}), "worst class", "train loss", "test loss", "gap"]
    rows = []
    for name, arm in arms.items():
        one = arm.outcomes[0]
        row = [name, f"{one.images:,}", f"{one.steps:,}", f"{arm.seconds:.1f}"]
        row += [str(arm.accuracy())]
        row += ["–" if name == other else str(arm.accuracy(arms[other])) for other in against]
        row += [f"{arm.accuracy(classes=part).value:.3f}" for part in (groups or {}).values()]
        gap = arm.overfitting()
        row += [f"{arm.worst:.3f}", f"{arm.train_loss.mean():.3f}"]
        row += [f"{gap.value + arm.train_loss.mean():.3f}", str(gap)]
        row += ["–" if name == against[0] else str(arm.overfitting(arms[against[0]]))]
        rows.append(row)
    markdown([*heads, f"gap − {against[0]}"], rows)
