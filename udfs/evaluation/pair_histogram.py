"""All similarities within a class: their histogram, a heat map, and candidates for labelling.

Paper, "Постановка задачі": the matrix of similarities of a class, of which only these are kept
(spec, section 3).
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

STEP = 2.0**-8  # width of a bin, 0.0039: every edge is a float64 as it stands
_BINS = 256  # from 0 to 1
_ROWS = 512  # multiplied at a time with all later ones: 8 MB with 2048
_FLOAT64_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Bins:
    """counts[i] similarities lie in [origin + i·STEP, origin + (i+1)·STEP)."""

    origin: float
    counts: Indices


@dataclass(frozen=True)
class Drawn:
    """Pairs of rows (i, j), i < j, by stratum and then by key: (pairs,) each."""

    i: Indices
    j: Indices
    stratum: Indices
    similarity: Vector


@dataclass(frozen=True)
class Compared:
    """What is kept of a class's matrix of similarities."""

    bins: Bins
    population: Indices  # pairs in each stratum: (strata,)
    drawn: Drawn


def compared(rows: Matrix, edges: Sequence[float], keys: Keys, most: int) -> Compared:
    """Histogram of Sim over all pairs of rows, the pairs in each stratum, and some of these.

    rows: (n, width) float32; a zero row has no Sim and is in no pair. edges: of strata, rising;
    stratum s holds the pairs with edges[s] < Sim ≤ edges[s+1]; fewer than two edges: no strata.
    keys: (n,), of each row (`row_keys`). most: of a stratum the pairs smallest in `pair_keys` are
    drawn, so many at most.

    float64 products decide, and the correctly rounded Sim where they lie so close to an edge, of a
    bin or a stratum, that rounding could carry them over it: every count is exact. Raises
    ValueError where a number is NaN or infinite. Cost: n²·width float64 operations; memory: the
    unit vectors, 30 bytes a product of _ROWS rows with all.
    """
    squared = squared_norms(rows)
    limits = np.asarray(edges, np.float64)
    strata = max(0, len(limits) - 1)
    counts = np.zeros(2 * _BINS + 1, np.int64)
    population = np.zeros(strata, np.int64)
    held = _Held.none(strata)
    for i, j, cosine in _tiles(rows, squared):
        unsure = np.flatnonzero(_near(cosine, limits, _tolerance(rows.shape[1])))
        cosine[unsure] = similarities_at(rows.__getitem__, squared, i[unsure], j[unsure])
        bins = np.floor(cosine / STEP).astype(np.int64) + _BINS
        counts += np.bincount(bins, minlength=len(counts))
        if strata:
            inside = np.flatnonzero(cosine > limits[0])
            stratum = np.searchsorted(limits, cosine[inside]) - 1
            population += np.bincount(stratum, minlength=strata)
            held = held.and_also(i[inside], j[inside], stratum, keys, most)
    drawn = held.drawn(rows, squared)
    return Compared(_trimmed(counts), population, drawn)


def heat(rows: Matrix, lowest: float) -> NDArray[np.uint8]:
    """round(255·(Sim − lowest)/(1 − lowest)) of every two rows, clipped to [0, 255]: (n, n).

    lowest: what is shown as 0, in [−1, 1). A zero row has no Sim: 0.
    """
    squared = squared_norms(rows)
    some = squared > 0
    units = np.zeros(rows.shape)
    units[some] = rows[some] / np.sqrt(squared[some])[:, None]
    with threadpool_limits(1, user_api="blas"):
        shade = np.rint(255 * (units @ units.T - lowest) / (1 - lowest))
    shade[~some] = 0
    shade[:, ~some] = 0
    return np.clip(shade, 0, 255).astype(np.uint8)


def row_keys(names: Sequence[str], seed: int) -> Keys:
    """A number of each image: the first 8 bytes of sha256("<seed>|pair|<name>"), (n,)."""
    digests = [hashlib.sha256(f"{seed}|pair|{name}".encode()).digest()[:8] for name in names]
    return np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)


def pair_keys(first: Keys, second: Keys) -> Keys:
    """A number of each pair, as good as random: mix(mix(first) + second), (pairs,).

    mix is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
    """
    return _mix(_mix(first) + second)


def pair_id(space: str, first: str, second: str) -> str:
    """What names a pair, the same in whatever order its images come: "p", 16 hexadecimal digits.

    The letter keeps spreadsheets from reading it as a number.
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
    """All pairs i < j of rows that have a direction, with their float64 cosine in [−1, 1]."""
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
    """How far a float64 cosine may lie from Sim: twice γ(width + 8), as `cosine.margin` has it.

    The rounding of the unit vectors, of Sim's own root and quotient is in the factor of two.
    """
    return 2 * (width + 8) * _FLOAT64_ROUNDOFF


def _near(cosine: Vector, limits: Vector, tolerance: float) -> NDArray[np.bool_]:
    """Whether an edge of a bin or a stratum lies within the tolerance."""
    scaled = cosine / STEP
    near = np.asarray(np.abs(scaled - np.rint(scaled)) <= tolerance / STEP)
    if len(limits):
        some = np.flatnonzero(cosine > limits[0] - tolerance)
        low = np.searchsorted(limits, cosine[some] - tolerance)
        near[some] |= low != np.searchsorted(limits, cosine[some] + tolerance)
    return near


def _trimmed(counts: Indices) -> Bins:
    """From the first bin that holds something to the last."""
    some = np.flatnonzero(counts)
    if not len(some):
        return Bins(0.0, counts[:0])
    first, last = int(some[0]), int(some[-1])
    return Bins((first - _BINS) * STEP, counts[first : last + 1])


@dataclass(frozen=True)
class _Held:
    """The pairs smallest in key so far, of each stratum."""

    parts: tuple[tuple[Keys, Indices, Indices], ...]  # key, i, j by stratum

    @classmethod
    def none(cls, strata: int) -> _Held:
        none = np.empty(0, np.int64)
        return cls(((none.astype(np.uint64), none, none),) * strata)

    def and_also(self, i: Indices, j: Indices, stratum: Indices, keys: Keys, most: int) -> _Held:
        """With more pairs; of a stratum at most `most` stay."""
        found = []
        for number, part in enumerate(self.parts):
            own = np.flatnonzero(stratum == number)
            new = (pair_keys(keys[i[own]], keys[j[own]]), i[own], j[own])
            key, left, right = (np.concatenate(both) for both in zip(part, new, strict=True))
            some = np.arange(len(key))
            if len(key) > most:
                some = np.flatnonzero(key <= np.partition(key, most - 1)[most - 1])
            order = some[np.lexsort((right[some], left[some], key[some]))][:most]
            found.append((key[order], left[order], right[order]))
        return _Held(tuple(found))

    def drawn(self, rows: Matrix, squared: Vector) -> Drawn:
        """With their exact Sim."""
        none = np.empty(0, np.int64)
        i, j = (np.concatenate([none, *(part[side] for part in self.parts)]) for side in (1, 2))
        stratum = np.repeat(np.arange(len(self.parts)), [len(part[0]) for part in self.parts])
        return Drawn(i, j, stratum, similarities_at(rows.__getitem__, squared, i, j))
