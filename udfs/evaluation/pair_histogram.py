"""All similarities within a class: their histogram, a heat map, and pairs drawn for labelling.

The paper ("Постановка задачі") has the matrix of similarities of a class. It is too large to store,
so `class_similarities` computes it block by block and keeps a histogram and a sample of its pairs
(docs/method.md, "How alike a class is").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors.cosine import Matrix, Vector, similarities_at, squared_norms

Indices = NDArray[np.int64]
Keys = NDArray[np.uint64]

STEP = 2.0**-8  # width of a bin, 0.0039: every edge is exact in float64
_BINS = 256  # bins from 0 to 1
_ROWS = 512  # rows multiplied at a time with all later ones: 8 MB if these are 2,048
_FLOAT64_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Bins:
    """A histogram: counts[i] similarities lie in [origin + i·STEP, origin + (i + 1)·STEP)."""

    origin: float
    counts: Indices


@dataclass(frozen=True)
class SampledPairs:
    """Sampled pairs of rows (i, j), i < j, ordered by stratum and key: arrays (pairs,)."""

    i: Indices
    j: Indices
    stratum: Indices
    similarity: Vector


@dataclass(frozen=True)
class ClassSimilarities:
    """What is kept of a class's matrix of similarities.

    population: the number of pairs in each stratum, (strata,).
    """

    bins: Bins
    population: Indices
    drawn: SampledPairs


def class_similarities(
    rows: Matrix, edges: Sequence[float], keys: Keys, most: int
) -> ClassSimilarities:
    """Return the histogram of Sim over all pairs of rows, and a sample of pairs in strata.

    Products in float64 decide the bin and the stratum. Where one lies so close to an edge that
    rounding could carry it over, the correctly rounded Sim decides, so every count is exact.
    Cost: n²·width float64 operations; memory: the unit vectors, and 30 bytes for each product of
    _ROWS rows with all.

    Args:
        rows: (n, width) float32. A row of zeros has no Sim and is in no pair.
        edges: of the strata, rising: stratum s holds the pairs with edges[s] < Sim ≤ edges[s+1].
            Fewer than two edges make no stratum.
        keys: (n,), a random number of each row (`row_keys`).
        most: the largest number of pairs to draw from a stratum: those with the smallest
            `pair_keys`.

    Raises:
        ValueError: a number is NaN or infinite.

    """
    squared = squared_norms(rows)
    limits = np.asarray(edges, np.float64)
    strata = max(0, len(limits) - 1)
    counts = np.zeros(2 * _BINS + 1, np.int64)
    population = np.zeros(strata, np.int64)
    sample = _SmallestKeys.none(strata)
    for i, j, cosine in _tiles(rows, squared):
        unsure = np.flatnonzero(_near(cosine, limits, _tolerance(rows.shape[1])))
        cosine[unsure] = similarities_at(rows.__getitem__, squared, i[unsure], j[unsure])
        bins = np.floor(cosine / STEP).astype(np.int64) + _BINS
        counts += np.bincount(bins, minlength=len(counts))
        if strata:
            inside = np.flatnonzero(cosine > limits[0])
            stratum = np.searchsorted(limits, cosine[inside]) - 1
            population += np.bincount(stratum, minlength=strata)
            sample = sample.merged(i[inside], j[inside], stratum, keys, most)
    drawn = sample.pairs(rows, squared)
    return ClassSimilarities(_trimmed(counts), population, drawn)


def heat_map(rows: Matrix, lowest: float) -> NDArray[np.uint8]:
    """Return the shades of all pairs, 0 dark and 255 bright: (n, width) float32 → (n, n) uint8.

    A shade is round(255·(Sim − lowest)/(1 − lowest)), clipped to [0, 255]; a row of zeros, which
    has no Sim, gets 0. lowest: the Sim that is shown as 0, in [−1, 1).
    """
    squared = squared_norms(rows)
    nonzero = squared > 0
    units = np.zeros(rows.shape)
    units[nonzero] = rows[nonzero] / np.sqrt(squared[nonzero])[:, None]
    with threadpool_limits(1, user_api="blas"):
        shade = np.rint(255 * (units @ units.T - lowest) / (1 - lowest))
    shade[~nonzero] = 0
    shade[:, ~nonzero] = 0
    return np.clip(shade, 0, 255).astype(np.uint8)


def row_keys(names: Sequence[str], seed: int) -> Keys:
    """Return a random number of each image, 8 bytes of sha256("<seed>|pair|<name>"): (n,)."""
    digests = [hashlib.sha256(f"{seed}|pair|{name}".encode()).digest()[:8] for name in names]
    return np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)


def pair_keys(first: Keys, second: Keys) -> Keys:
    """Return a random number of each pair, mix(mix(first) + second): (pairs,).

    mix is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
    """
    return _mix(_mix(first) + second)


def pair_id(space: str, first: str, second: str) -> str:
    """Return the id of a pair, "p" and 16 hexadecimal digits, whichever image comes first.

    The letter keeps spreadsheets from reading the id as a number.
    """
    low, high = sorted((first, second), key=str.encode)
    content = "\0".join((space, low, high))
    return f"p{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _mix(numbers: Keys) -> Keys:
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _tiles(rows: Matrix, squared: Vector) -> Iterator[tuple[Indices, Indices, Vector]]:
    """Yield all pairs i < j of rows that are not 0, with their float64 cosine in [−1, 1]."""
    names = np.flatnonzero(squared > 0)
    units = rows[names] / np.sqrt(squared[names])[:, None]
    for first in range(0, len(names), _ROWS):
        part = names[first : first + _ROWS]
        with threadpool_limits(1, user_api="blas"):
            product = units[first : first + _ROWS] @ units[first:].T
        row, column = np.triu_indices(len(part), 1, product.shape[1])
        cosine = np.clip(product[row, column], -1.0, 1.0)
        yield part[row], names[first + column], cosine


def _tolerance(width: int) -> float:
    """Return how far a float64 cosine may lie from Sim: 2·γ(width + 8) (see `cosine.margin`).

    The factor of 2 covers the rounding of the unit vectors and of Sim's own root and quotient.
    """
    return 2 * (width + 8) * _FLOAT64_ROUNDOFF


def _near(cosine: Vector, limits: Vector, tolerance: float) -> NDArray[np.bool_]:
    """Mark the cosines that have an edge of a bin or a stratum within the tolerance."""
    scaled = cosine / STEP
    near = np.asarray(np.abs(scaled - np.rint(scaled)) <= tolerance / STEP)
    if len(limits):
        above = np.flatnonzero(cosine > limits[0] - tolerance)
        low = np.searchsorted(limits, cosine[above] - tolerance)
        near[above] |= low != np.searchsorted(limits, cosine[above] + tolerance)
    return near


def _trimmed(counts: Indices) -> Bins:
    """Return the histogram from the first bin that is not empty to the last."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return Bins(0.0, counts[:0])
    first, last = int(filled[0]), int(filled[-1])
    return Bins((first - _BINS) * STEP, counts[first : last + 1])


@dataclass(frozen=True)
class _SmallestKeys:
    """The pairs with the smallest keys so far, in each stratum."""

    parts: tuple[tuple[Keys, Indices, Indices], ...]  # key, i, j of each stratum

    @classmethod
    def none(cls, strata: int) -> _SmallestKeys:
        """Return empty samples of so many strata."""
        empty = np.empty(0, np.int64)
        return cls(((empty.astype(np.uint64), empty, empty),) * strata)

    def merged(
        self, i: Indices, j: Indices, stratum: Indices, keys: Keys, most: int
    ) -> _SmallestKeys:
        """Return the samples with further pairs; at most `most` pairs of a stratum stay."""
        parts = []
        for number, part in enumerate(self.parts):
            rows = np.flatnonzero(stratum == number)
            new = (pair_keys(keys[i[rows]], keys[j[rows]]), i[rows], j[rows])
            key, left, right = (np.concatenate(both) for both in zip(part, new, strict=True))
            small = np.arange(len(key))
            if len(key) > most:
                small = np.flatnonzero(key <= np.partition(key, most - 1)[most - 1])
            order = small[np.lexsort((right[small], left[small], key[small]))][:most]
            parts.append((key[order], left[order], right[order]))
        return _SmallestKeys(tuple(parts))

    def pairs(self, rows: Matrix, squared: Vector) -> SampledPairs:
        """Return the sampled pairs with their exact Sim."""
        empty = np.empty(0, np.int64)
        i, j = (np.concatenate([empty, *(part[side] for part in self.parts)]) for side in (1, 2))
        stratum = np.repeat(np.arange(len(self.parts)), [len(part[0]) for part in self.parts])
        return SampledPairs(i, j, stratum, similarities_at(rows.__getitem__, squared, i, j))
