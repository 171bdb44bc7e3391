"""The search behind the covers: which kept image is the first above the threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from udfs.vectors import screen as screens
from udfs.vectors.cosine import Matrix, Vector, screen, similarities_at, squared_norms, unit_rows
from udfs.vectors.gpu import OnDevice
from udfs.vectors.screen import Screen, Sides

Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
Decide = Callable[[Indices, Indices], Flags]  # for a product's rows and columns: is Sim > T?

CPU = "cpu"
_FEW = 4 * screens.AXES  # reference images for which no bounds are looked for
_FEWER = 0.8  # of a block's rows, when those still open are taken by themselves
_REFERENCE = 1024  # reference images made ready at a time
_OPEN, _CLOSED = -1, -2  # in place of a keeper: none so far; not to be decided here


@dataclass(frozen=True)
class Cover:
    """What a cover decided for each candidate, in the order the candidates were passed.

    kept: (n,). keeper: (n,), −1 where there is none, else the row, in the reference followed by the
    candidates, of the image that stands for it; so `np.concatenate([reference_ids, ids])[keeper]`
    is its id, and with m reference images keeper − m the candidate's index where ≥ m.
    similarity: (n,), the exact Sim with the keeper, NaN where there is none.
    A candidate that was not to be decided is not kept and has no keeper.
    """

    kept: Flags
    keeper: Indices
    similarity: Vector


def _on(device: str) -> OnDevice | None:
    """None for the CPU: NumPy's products need no torch there."""
    return None if device == CPU else OnDevice(device)


def _check(thresholds: Sequence[float], block: int) -> None:
    if np.isnan(thresholds).any():
        raise ValueError(f"thresholds are {list(thresholds)}; NaN is not allowed")
    if block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")


def _checked_order(order: Indices | None, count: int) -> Indices:
    if order is None:
        return np.arange(count)
    given = np.asarray(order)
    if given.shape != (count,) or not np.array_equal(np.sort(given), np.arange(count)):
        raise ValueError(f"order must hold each of 0..{count - 1} once, an index per candidate")
    return given.astype(np.int64)


def _checked_flags(
    name: str, flags: Flags | None, thresholds: Sequence[float], count: int
) -> Flags:
    shape = (len(thresholds), count)
    if flags is None:
        return np.ones(shape, np.bool_)
    if flags.shape != shape or flags.dtype != np.bool_:
        raise ValueError(
            f"{name} has shape {flags.shape}; it must be (thresholds, images), {shape}"
        )
    return flags


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
        squared = _squared("candidates", candidates)
        if reference is None:
            return cls(candidates[:0], candidates, squared)
        first = _squared("reference", reference)
        if reference.shape[1] != candidates.shape[1]:
            raise ValueError(
                f"reference has width {reference.shape[1]}, candidates {candidates.shape[1]}; "
                "they must be equal"
            )
        return cls(reference, candidates, np.concatenate([first, squared]))

    def followed_by(self, candidates: Matrix) -> Self:
        """The same reference with other candidates."""
        others = type(self).checked(self.reference[:0], candidates)
        squared = np.concatenate([self.squared[: self.first_candidate], others.squared])
        return type(self)(self.reference, candidates, squared)

    @property
    def width(self) -> int:
        return int(self.reference.shape[1])

    @property
    def first_candidate(self) -> int:
        return len(self.reference)

    def with_direction(self, places: Indices) -> Indices:
        return places[self.squared[places] > 0]

    def rows(self, places: Indices) -> Matrix:
        if not self.first_candidate:
            return self.candidates[places]
        rows = np.empty((len(places), self.width), np.float32)
        refers = places < self.first_candidate
        rows[refers] = self.reference[places[refers]]
        rows[~refers] = self.candidates[places[~refers] - self.first_candidate]
        return rows

    def units(self, places: Indices) -> Matrix:
        return unit_rows(self.rows(places), self.squared[places])

    def similarities(self, left: Indices, right: Indices) -> Vector:
        return similarities_at(self.rows, self.squared, left, right)


def _squared(name: str, rows: Matrix) -> Vector:
    """`squared_norms` of a matrix that is checked and called by its name."""
    if rows.dtype != np.float32:
        raise TypeError(f"{name} holds {rows.dtype}; it must hold float32")
    if rows.ndim != 2:
        raise ValueError(f"{name} has shape {rows.shape}; it must be (images, width)")
    try:
        return squared_norms(rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class _Kept:
    """The images that stand at any threshold, in order."""

    def __init__(self, thresholds: int, capacity: int, screen: Screen, width: int) -> None:
        self.count = 0
        self.screen = screen
        none = np.empty((0, width), np.float32)
        self.sides = Sides.empty(capacity, like=screen.sides(none, np.empty(0)))
        self.places = np.empty(capacity, np.int64)
        self.at = np.empty((thresholds, capacity), np.bool_)

    def refer(self, vectors: _Vectors, standing: Flags) -> None:
        """Append the reference images that stand anywhere, whatever they resemble."""
        some = np.flatnonzero(standing.any(axis=0))
        for places in _blocks(vectors.with_direction(some), _REFERENCE):
            sides = self.screen.sides(vectors.rows(places), vectors.squared[places])
            self.append(places, sides, standing[:, places])

    def append(self, places: Indices, sides: Sides, stays: Flags) -> None:
        end = self.count + len(places)
        self.sides.put(slice(self.count, end), sides)
        self.places[self.count : end] = places
        self.at[:, self.count : end] = stays
        self.count = end


class _Search:
    """The keepers found so far for each threshold."""

    def __init__(
        self,
        vectors: _Vectors,
        thresholds: Sequence[float],
        bounds_: Screen,
        kept: _Kept,
        block: int,
        undecided: Flags,
    ) -> None:
        self.vectors = vectors
        self.thresholds = thresholds
        self.screens = [screen(threshold, vectors.width) for threshold in thresholds]
        self.bounds = bounds_
        self.kept = kept
        self.block = block
        self.keeper = np.full((len(thresholds), len(vectors.squared)), _OPEN)
        self.keeper[:, vectors.first_candidate :][~undecided] = _CLOSED

    def settle(self, places: Indices) -> None:
        """Decide the next candidates, and append those that stay for some threshold."""
        sides, keeper = self._compared(places)
        self._within(places, sides, keeper)
        self.keeper[:, places] = keeper
        stays = keeper == _OPEN
        some = stays.any(axis=0)
        self.kept.append(places[some], sides.at(np.flatnonzero(some)), stays[:, some])

    def compare(self, places: Indices) -> None:
        """Decide the next candidates by the images kept so far alone."""
        self.keeper[:, places] = self._compared(places)[1]

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
        return [
            Cover(k == _OPEN, np.maximum(k, -1), s) for k, s in zip(keeper, similarity, strict=True)
        ]

    def _compared(self, places: Indices) -> tuple[Sides, Indices]:
        sides = self.bounds.sides(self.vectors.rows(places), self.vectors.squared[places])
        keeper = self.keeper[:, places]
        self._against_kept(places, sides, keeper)
        return sides, keeper

    def _against_kept(self, places: Indices, sides: Sides, keeper: Indices) -> None:
        """Enter into `keeper` (thresholds, block) the first hit among the images kept so far."""
        kept = self.kept
        still, left = np.arange(len(places)), sides
        for first in range(0, kept.count, self.block):
            tile = slice(first, min(first + self.block, kept.count))
            open_ = np.flatnonzero((keeper == _OPEN).any(axis=0))
            if not open_.size:
                return
            if len(open_) < _FEWER * len(still):  # to copy them takes as long as some comparisons
                still, left = open_, sides.at(open_)
            found = self.bounds.candidates(left, kept.sides.at(tile))
            some, row = np.unique(found.row, return_inverse=True)
            product = found._replace(row=row).dense((len(some), tile.stop - tile.start))
            seen, top = still[some], product.max(axis=1, initial=-np.inf)
            for level, (low, high) in enumerate(self.screens):
                rows = np.flatnonzero((keeper[level, seen] == _OPEN) & (top > low))
                if not rows.size:
                    continue
                decide = self._decide(level, places[seen[rows]], kept.places[tile])
                hit = _first_hits(product[rows], kept.at[level, tile], low, high, decide)
                keeper[level, seen[rows]] = np.where(hit < 0, _OPEN, kept.places[tile][hit])

    def _within(self, places: Indices, sides: Sides, keeper: Indices) -> None:
        """Enter into `keeper` (thresholds, block) the first kept image of the block itself."""
        still = np.flatnonzero((keeper == _OPEN).any(axis=0))
        left, names = sides.at(still), places[still]
        product = self.bounds.candidates(left, left).dense((len(still), len(still)))
        for level, (low, high) in enumerate(self.screens):
            decide = self._decide(level, names, names)
            hit = _keepers_within(product, keeper[level, still] == _OPEN, low, high, decide)
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
