"""Which images stay, and for whom: removals with one T for all classes, and random draws.

Spark-free; the greedy cover is the product's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.duplicates import thresholds
from udfs.duplicates.cover_search import Cover
from udfs.duplicates.greedy import Reference, cover, covers
from udfs.duplicates.thresholds import AngleMoments, BisectionSearch
from udfs.vectors.cosine import Matrix

Indices = NDArray[np.int64]
Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Vectors = Callable[[Indices], Matrix]  # of images by their places: (n, width) float32
LEVELS = 4  # halvings that a pass over the images decides: 15 thresholds


@dataclass(frozen=True)
class Removal:
    """kept: (n,); group: (n,), the place of the kept image that stands for each, itself if kept.

    thresholds: the T of each class; one class may have another than the next.
    """

    kept: Flags
    group: Indices
    thresholds: dict[int, float]

    @property
    def group_sizes(self) -> Indices:
        """How many images the kept one of each image's group stands for, itself included: (n,)."""
        return np.bincount(self.group, minlength=len(self.group))[self.group]


def of_class(labels: Indices) -> dict[int, Indices]:
    """The places of each class, rising."""
    return {one: np.flatnonzero(labels == one) for one in np.unique(labels).tolist()}


def removed(vectors: Vectors, labels: Indices, at: dict[int, float]) -> Removal:
    """The greedy cover within each class, in the order of the places, at the T of each."""
    kept = np.ones(len(labels), np.bool_)
    group = np.arange(len(labels))
    for label, places in of_class(labels).items():
        found: Cover = cover(None, vectors(places), at[label])
        kept[places] = found.kept
        gone = ~found.kept
        group[places[gone]] = places[found.keeper[gone]]
    return Removal(kept, group, at)


def at_share(vectors: Vectors, labels: Indices, share: float, low: float) -> Removal:
    """One T for all classes, the lowest of 20 halvings of [low, 1] that keeps at least the share.

    As the product's `keep_share_all`. low: −1, or 0 where no Sim is below it.
    """
    search = BisectionSearch.of(share, len(labels), low)
    places = of_class(labels).values()
    while tried := search.next_thresholds(LEVELS):
        kept = np.zeros(len(tried), np.int64)
        for part in places:
            kept += [found.kept.sum() for found in covers(None, vectors(part), tried)]
        search.narrow(kept.tolist())
    return removed(vectors, labels, dict.fromkeys(of_class(labels), search.high))


def at_rate(vectors: Vectors, labels: Indices, ids: Sequence[str], rate: float) -> dict[int, float]:
    """The product's `pair_rate` of each class: above T lies that share of the class's pairs.

    Of at most 2048 images a class, those smallest in sha256(0|id). A class of whose pairs fewer
    than ten are expected above T has the T of all classes' pairs together.
    """
    angles = {}
    for label, places in of_class(labels).items():
        drawn = sorted(places.tolist(), key=lambda place: _hash("0", ids[place]))
        angles[label] = thresholds.pair_angles(vectors(np.array(drawn[: thresholds.SAMPLED])))
    pooled = np.concatenate(list(angles.values()))
    told = {}
    for label, own in angles.items():
        values = own if AngleMoments.of(own).is_sufficient(rate) else pooled
        cells = thresholds.angle_histogram(values, AngleMoments.of(values).step)
        told[label] = thresholds.pair_rate(cells, rate)
    return told


def leaking(
    vectors: Vectors, labels: Indices, learnt: Indices, tested: Indices, at: dict[int, float]
) -> Flags:
    """Which of the places `learnt` have Sim > T with one of `tested` of their class: (learnt,)."""
    leaks = np.zeros(len(learnt), np.bool_)
    for label, threshold in at.items():
        mine = np.flatnonzero(labels[learnt] == label)
        theirs = tested[labels[tested] == label]
        if len(mine) and len(theirs):
            (found,) = Reference(vectors(theirs), [threshold]).against(vectors(learnt[mine]))
            leaks[mine] = ~found.kept
    return leaks


def drawn(places: Indices, count: int, draw: np.random.Generator) -> Indices:
    """So many of the places at random, rising."""
    return np.sort(draw.choice(places, count, replace=False))


def drawn_alike(kept: Flags, labels: Indices, draw: np.random.Generator) -> Indices:
    """At random as many of each class as are kept of it, rising."""
    parts = [drawn(part, int(kept[part].sum()), draw) for part in of_class(labels).values()]
    return np.sort(np.concatenate(parts))


def loss_weights(removal: Removal) -> Array:
    """1/group_size of each image, times what makes them 1 on average: (n,)."""
    weights = 1 / removal.group_sizes
    return np.asarray(weights / weights.mean(), np.float64)


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("|".join(parts).encode()).digest()
