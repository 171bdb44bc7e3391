"""Proof by registration in the measurement of copies: which pairs are proposed, which are proved.

Use `kinds` for what is known of pairs of tiles, `proposed` for the pairs above a cosine, `register`
for their registration, and `score` for a number that a threshold can be put on. `Kept` reads what
`benchmarks.rates --keep` left.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import truth
from benchmarks.spaces import cosines
from benchmarks.truth import Pixels, Pool
from udfs.registration import Alignments, Registrar, evidence, grey_of, proved
from udfs.vectors.cosine import Matrix

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
OTHER, SAME_PHOTOGRAPH, SAME_PLACE = 0, 1, 2
STRIDE = 32  # of the tiles of a pool
_BLOCK = 4096  # tiles of other classes that are compared at a time
_AT_ONCE = 4096  # pairs that are registered at a time


@dataclass(frozen=True)
class Pairs:
    """Pairs of tiles of a pool: indices (m,) and (m,), the first the smaller; similarity (m,)."""

    first: Indices
    second: Indices
    similarity: Matrix

    def __len__(self) -> int:
        return len(self.first)

    def take(self, some: Indices | NDArray[np.bool_]) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.first[some], self.second[some], self.similarity[some])

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """The pairs of several."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls))
        )


def places(pool: Pool, known: frozenset[frozenset[str]]) -> NDArray[np.bool_]:
    """Which photographs show the same place, as far as people found: (photographs, photographs)."""
    number = {name: place for place, name in enumerate(pool.names)}
    found = np.zeros((len(number), len(number)), np.bool_)
    for pair in known:
        if pair <= number.keys():
            first, second = (number[name] for name in pair)
            found[first, second] = found[second, first] = True
    return found


def kinds(pool: Pool, first: Indices, second: Indices, same: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Of pairs of tiles whether they are of one photograph, or of two that show one place."""
    one, other = pool.photographs[first], pool.photographs[second]
    found = np.where(same[one, other], SAME_PLACE, OTHER)
    return np.where(one == other, SAME_PHOTOGRAPH, found).astype(np.int8)


def blocks_of_classes(pool: Pool) -> Iterator[tuple[Indices, Indices]]:
    """The tiles of each class twice: all pairs of a class are those of first before second."""
    for label in np.unique(pool.labels):
        rows = np.flatnonzero(pool.labels == label)
        yield rows, rows


def blocks_across(pool: Pool) -> Iterator[tuple[Indices, Indices]]:
    """Blocks of tiles, in pairs: all pairs of unlike classes are among them."""
    order = np.arange(len(pool))
    parts = [order[start : start + _BLOCK] for start in range(0, len(pool), _BLOCK)]
    for number, rows in enumerate(parts):
        for columns in parts[number:]:
            yield rows, columns


def proposed(vectors: Matrix, pool: Pool, threshold: float, *, across: bool = False) -> Pairs:
    """Pairs of tiles of one class, or of two classes, whose cosine is above a threshold."""
    parts = []
    for rows, columns in blocks_across(pool) if across else blocks_of_classes(pool):
        similarity = cosines(vectors[rows], vectors[columns])
        i, j = np.nonzero(similarity > threshold)
        first, second = rows[i], columns[j]
        wanted = first < second
        if across:
            wanted &= pool.labels[first] != pool.labels[second]
        parts.append(Pairs(first, second, similarity[i, j]).take(wanted))
    return Pairs.joined(parts)


def register(pixels: Pixels, first: Indices, second: Indices, threads: int) -> Alignments:
    """Registration of pairs of images (n, 64, 64, 3), all of them square."""
    order = np.lexsort((second, first))
    registrar = Registrar(grey_of(pixels), threads=threads)
    parts = [
        registrar.align(first[some], second[some])
        for some in (order[s : s + _AT_ONCE] for s in range(0, len(order), _AT_ONCE))
    ]
    return Alignments.concatenate(parts).take(np.argsort(order, kind="stable"))


def of_copies(originals: Pixels, copies: Pixels, threads: int) -> Alignments:
    """Registration of each copy onto its original, row by row."""
    n = len(originals)
    pixels = np.concatenate([originals, copies])
    return register(pixels, np.arange(n) + n, np.arange(n), threads)


def score(alignments: Alignments, proof: float, overlap: float = 0.0) -> Array:
    """The agreement as it counts where the rest suffices, and −1 elsewhere: (m,)."""
    enough = proved(alignments, proof, -1.0) & (alignments.overlap >= overlap)
    return np.where(enough, evidence(alignments), -1.0)


def nearest(vectors: Matrix, pool: Pool, count: int, same: NDArray[np.bool_]) -> Pairs:
    """So many tiles, drawn, each with the nearest of its class that shows another place."""
    drawn = np.random.default_rng(0).permutation(len(pool))[:count]
    parts = []
    for rows, columns in blocks_of_classes(pool):
        mine = rows[np.isin(rows, drawn)]
        similarity = cosines(vectors[mine], vectors[columns])
        known = kinds(pool, mine[:, None], columns[None, :], same)
        similarity[known != OTHER] = -2
        best = similarity.argmax(axis=1)
        parts.append(Pairs(mine, columns[best], similarity[np.arange(len(mine)), best]))
    return Pairs.joined(parts)


def save(path: Path, pairs: Pairs, alignments: Alignments) -> None:
    """Write pairs and what was found of them, to be looked at."""
    columns = {f.name: getattr(alignments, f.name) for f in fields(alignments)}
    own = {f.name: getattr(pairs, f.name) for f in fields(pairs)}
    np.savez(path, **own, **columns)


def load(path: Path) -> tuple[Pairs, Alignments]:
    """What `save` wrote."""
    with np.load(path) as columns:
        pairs = Pairs(**{f.name: columns[f.name] for f in fields(Pairs)})
        alignments = Alignments(**{f.name: columns[f.name] for f in fields(Alignments)})
    return pairs, alignments


@dataclass(frozen=True)
class Kept:
    """Pairs of tiles that a run registered, and what is known of them by `kinds`: (m,).

    half: of the photographs below `data`, whose tiles `pool` has.
    """

    data: Path
    half: str
    pool: Pool
    pairs: Pairs
    alignments: Alignments
    kinds: NDArray[np.int8]

    @classmethod
    def from_command_line(cls, description: str | None) -> Kept:
        """Read what the command line names: DATA KEPT.npz [--half HALF]."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("data", type=Path)
        parser.add_argument("kept", type=Path)
        parser.add_argument("--half", choices=(truth.CHOOSE, truth.FIGURES), default=truth.FIGURES)
        given = parser.parse_args()
        pool = truth.pool(given.data, given.half, STRIDE)
        pairs, alignments = load(given.kept)
        known = kinds(pool, pairs.first, pairs.second, places(pool, truth.SAME_PLACE))
        return cls(given.data, given.half, pool, pairs, alignments, known)
