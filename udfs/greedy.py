"""Which images stay: the greedy cover of a class in a total order.

Paper, "Постановка задачі": i and j are duplicates when Sim(t_i, t_j) > T. Which image of a group
stays is ours; spec, section 3, "Greedy in a total order" and "One primitive".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from udfs import bounds
from udfs.bounds import Screen, Sides
from udfs.cosine import Matrix, Vector, screen, similarities, squared_norms, unit_rows

Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Decide = Callable[[Indices, Indices], Flags]  # for a product's rows and columns: is Sim > T?

_PAIRS = 1024  # pairs gathered at a time for their exact Sim: 8 MB at width 1024


@dataclass(frozen=True)
class Cover:
    """What a cover decided for each candidate, in the order the candidates were passed.

    kept: (n,). keeper: (n,), −1 where kept, else the row, in the reference followed by the
    candidates, of the image that stands for it; so `np.concatenate([reference_ids, ids])[keeper]`
    is its id, and with m reference images keeper − m the candidate's index where ≥ m.
    similarity: (n,), the exact Sim with the keeper, NaN where kept.
    """

    kept: Flags
    keeper: Indices
    similarity: Vector


def cover(
    reference: Matrix | None,
    candidates: Matrix,
    threshold: float,
    order: Indices | None = None,
    *,
    block: int = 1024,
) -> Cover:
    """`covers` for one threshold."""
    return covers(reference, candidates, [threshold], order, block=block)[0]


def covers(
    reference: Matrix | None,
    candidates: Matrix,
    thresholds: Sequence[float],
    order: Indices | None = None,
    *,
    block: int = 1024,
) -> list[Cover]:
    """Greedy covers of the candidates, one per threshold; the thresholds share the products.

    The reference images come first, as they stand, and are never removed; they may resemble each
    other. The candidates follow in `order` (their indices; None: as they stand). A candidate
    is kept unless an image kept before it has Sim > T, strictly; the first such is its keeper. A
    zero vector has no Sim: it is kept and stands for none.

    reference: (m, width) float32 or None. candidates: (n, width) float32. The result depends on
    these, the order and T alone, not on `block`, threads or the BLAS: bounds and float32 products
    decide where they are further from T than their error, the exact Sim decides the rest.

    Raises TypeError where a matrix is not float32, ValueError where shapes do not fit, a number is
    NaN or infinite, `order` is no permutation, a threshold is NaN or `block` is below 1.

    Cost: at most n·m + n·kept products of unit vectors, 2 µs for each removal's exact Sim at width
    1024; memory: the unit vectors of the reference and of the images kept, (block, block) products.
    """
    vectors = _Vectors.checked(reference, candidates)
    sequence = _checked_order(order, len(candidates))
    if np.isnan(thresholds).any():
        raise ValueError(f"thresholds are {list(thresholds)}; NaN is not allowed")
    if block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")
    search = _Search(vectors, thresholds, block)
    for places in _blocks(vectors.with_direction(np.arange(vectors.first_candidate)), block):
        search.refer(places)
    for places in _blocks(vectors.with_direction(vectors.first_candidate + sequence), block):
        search.settle(places)
    return search.result()


def _checked_order(order: Indices | None, count: int) -> Indices:
    if order is None:
        return np.arange(count)
    given = np.asarray(order)
    if given.shape != (count,) or not np.array_equal(np.sort(given), np.arange(count)):
        raise ValueError(f"order must hold each of 0..{count - 1} once, an index per candidate")
    return given.astype(np.int64)


def _blocks(places: Indices, block: int) -> list[Indices]:
    return [places[first : first + block] for first in range(0, len(places), block)]


@dataclass(frozen=True)
class _Vectors:
    """Reference and candidates as if they were one matrix; a place is a row of it."""

    reference: Matrix
    candidates: Matrix
    squared: Vector

    @classmethod
    def checked(cls, reference: Matrix | None, candidates: Matrix) -> Self:
        if reference is None:
            reference = candidates[:0]
        for name, matrix in (("candidates", candidates), ("reference", reference)):
            if matrix.dtype != np.float32:
                raise TypeError(f"{name} holds {matrix.dtype}; it must hold float32")
            if matrix.ndim != 2:
                raise ValueError(f"{name} has shape {matrix.shape}; it must be (images, width)")
        if reference.shape[1] != candidates.shape[1]:
            raise ValueError(
                f"reference has width {reference.shape[1]}, candidates {candidates.shape[1]}; "
                "they must be equal"
            )
        squared = []
        for name, matrix in (("reference", reference), ("candidates", candidates)):
            try:
                squared.append(squared_norms(matrix))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return cls(reference, candidates, np.concatenate(squared))

    @property
    def first_candidate(self) -> int:
        return len(self.reference)

    def with_direction(self, places: Indices) -> Indices:
        return places[self.squared[places] > 0]

    def rows(self, places: Indices) -> Matrix:
        if not self.first_candidate:
            return self.candidates[places]
        rows = np.empty((len(places), self.candidates.shape[1]), np.float32)
        refers = places < self.first_candidate
        rows[refers] = self.reference[places[refers]]
        rows[~refers] = self.candidates[places[~refers] - self.first_candidate]
        return rows

    def units(self, places: Indices) -> Matrix:
        return unit_rows(self.rows(places), self.squared[places])

    def similarities(self, left: Indices, right: Indices) -> Vector:
        found = np.empty(len(left))
        for first in range(0, len(left), _PAIRS):
            part = slice(first, first + _PAIRS)
            a, b = left[part], right[part]
            found[part] = similarities(self.rows(a), self.rows(b), self.squared[a], self.squared[b])
        return found


class _Search:
    """The images kept so far for any threshold, and the keepers found so far for each."""

    def __init__(self, vectors: _Vectors, thresholds: Sequence[float], block: int) -> None:
        count, width = len(vectors.squared), vectors.candidates.shape[1]
        self.vectors = vectors
        self.thresholds = thresholds
        self.screens = [screen(threshold, width) for threshold in thresholds]
        directed = vectors.with_direction(np.arange(count))
        size = bounds.SAMPLE if len(directed) >= bounds.LEAST else 0
        sample = vectors.units(bounds.spread(directed, size))
        self.bounds = Screen.fitted(sample, thresholds)
        self.block = block
        self.kept = 0  # images, in order
        self.sides = Sides.empty(count, like=self.bounds.sides(sample[:0]))
        self.places = np.empty(count, np.int64)
        self.kept_at = np.empty((len(thresholds), count), np.bool_)
        self.keeper = np.full((len(thresholds), count), -1)

    def refer(self, places: Indices) -> None:
        """Append reference images: kept whatever they resemble."""
        everywhere = np.ones((len(self.thresholds), len(places)), np.bool_)
        self._append(places, self.bounds.sides(self.vectors.units(places)), everywhere)

    def settle(self, places: Indices) -> None:
        """Decide the next candidates, and append those that stay for some threshold."""
        sides = self.bounds.sides(self.vectors.units(places))
        keeper = np.full((len(self.thresholds), len(places)), -1)
        self._against_kept(places, sides, keeper)
        self._within(places, sides, keeper)
        self.keeper[:, places] = keeper
        stays = keeper < 0
        some = stays.any(axis=0)
        self._append(places[some], sides.at(np.flatnonzero(some)), stays[:, some])

    def result(self) -> list[Cover]:
        """The covers; a pair that occurs at several thresholds has its Sim computed once."""
        first = self.vectors.first_candidate
        keeper = self.keeper[:, first:]
        level, index = np.nonzero(keeper >= 0)
        pairs, inverse = np.unique(
            np.stack([index + first, keeper[level, index]]), axis=1, return_inverse=True
        )
        similarity = np.full(keeper.shape, np.nan)
        similarity[level, index] = self.vectors.similarities(pairs[0], pairs[1])[inverse]
        return [Cover(k < 0, k, s) for k, s in zip(keeper, similarity, strict=True)]

    def _append(self, places: Indices, sides: Sides, stays: Flags) -> None:
        end = self.kept + len(places)
        self.sides.put(slice(self.kept, end), sides)
        self.places[self.kept : end] = places
        self.kept_at[:, self.kept : end] = stays
        self.kept = end

    def _against_kept(self, places: Indices, sides: Sides, keeper: Indices) -> None:
        """Enter into `keeper` (thresholds, block) the first hit among the images kept so far."""
        for first in range(0, self.kept, self.block):
            tile = slice(first, min(first + self.block, self.kept))
            still = np.flatnonzero((keeper < 0).any(axis=0))
            if not still.size:
                return
            left = sides if len(still) == len(places) else sides.at(still)
            found = self.bounds.candidates(left, self.sides.at(tile))
            some, row = np.unique(found.row, return_inverse=True)
            product = found._replace(row=row).dense((len(some), tile.stop - tile.start))
            still, top = still[some], product.max(axis=1, initial=-np.inf)
            for level, (low, high) in enumerate(self.screens):
                rows = np.flatnonzero((keeper[level, still] < 0) & (top > low))
                if not rows.size:
                    continue
                decide = self._decide(level, places[still[rows]], self.places[tile])
                allowed = self.kept_at[level, tile]
                hit = _first_hits(product[rows], allowed, low, high, decide)
                keeper[level, still[rows]] = np.where(hit < 0, -1, self.places[tile][hit])

    def _within(self, places: Indices, sides: Sides, keeper: Indices) -> None:
        """Enter into `keeper` (thresholds, block) the first kept image of the block itself."""
        still = np.flatnonzero((keeper < 0).any(axis=0))
        left, names = sides.at(still), places[still]
        product = self.bounds.candidates(left, left).dense((len(still), len(still)))
        for level, (low, high) in enumerate(self.screens):
            decide = self._decide(level, names, names)
            hit = _keepers_within(product, keeper[level, still] < 0, low, high, decide)
            hits = hit >= 0
            keeper[level, still[hits]] = names[hit[hits]]

    def _decide(self, level: int, left: Indices, right: Indices) -> Decide:
        def decide(rows: Indices, columns: Indices) -> Flags:
            similarity = self.vectors.similarities(left[rows], right[columns])
            return similarity > self.thresholds[level]

        return decide


def _first_hits(
    product: Matrix, allowed: Flags, low: np.float32, high: np.float32, decide: Decide
) -> Indices:
    """The first allowed column with Sim > T of each row of products, −1 where there is none."""
    possible = product > low
    possible &= allowed
    found = np.full(len(product), -1)
    rows = np.arange(len(product))
    while rows.size:
        column = possible[rows].argmax(axis=1)
        some = possible[rows, column]
        rows, column = rows[some], column[some]
        hit = _hits(product, rows, column, high, decide)
        found[rows[hit]] = column[hit]
        rows, column = rows[~hit], column[~hit]
        possible[rows, column] = False
    return found


def _keepers_within(
    product: Matrix, open_rows: Flags, low: np.float32, high: np.float32, decide: Decide
) -> Indices:
    """The first kept row with Sim > T before each open row of a square of products, or −1.

    Each row that stays takes, of the open rows after it, those that resemble it: one vectorised
    step for a row that stays, none for one that resembles nothing.
    """
    possible = np.triu(product > low, 1)
    possible &= open_rows
    remaining = open_rows.copy()
    found = np.full(len(product), -1)
    for row in np.flatnonzero(possible.any(axis=1) & open_rows).tolist():
        if not remaining[row]:
            continue
        later = np.flatnonzero(possible[row] & remaining)
        later = later[_hits(product, np.full_like(later, row), later, high, decide)]
        found[later] = row
        remaining[later] = False
    return found


def _hits(
    product: Matrix, rows: Indices, columns: Indices, high: np.float32, decide: Decide
) -> Flags:
    """Sim > T of the named entries, all above `low`: by the product, exactly up to `high`."""
    hit = product[rows, columns] > high
    unsure = np.flatnonzero(~hit)
    if unsure.size:
        hit[unsure] = decide(rows[unsure], columns[unsure])
    return hit
