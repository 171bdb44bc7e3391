"""The search behind the greedy covers: which kept image is the first that a candidate resembles.

`udfs.duplicates.greedy` is the entry. It checks its arguments with `ImageVectors.checked` and the
functions before it, collects the images that are kept in `KeptImages`, and lets a `CoverSearch`
decide the candidates block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from udfs.vectors.cosine import (
    Indices,
    Matrix,
    Vector,
    decision_bounds,
    similarities_at,
    squared_norms,
    unit_rows,
)
from udfs.vectors.screen import BoundedVectors, Screen

Flags = NDArray[np.bool_]
Decide = Callable[[Indices, Indices], Flags]  # for rows and columns of a product: is Sim > T?

_COPIED_BELOW = 0.8  # share of a block's rows that are open, below which they are copied
_REFERENCE_BLOCK = 1024  # reference images that are prepared at a time
_OPEN, _CLOSED = -1, -2  # in place of a keeper: none yet, and not to be decided at this threshold


@dataclass(frozen=True)
class Cover:
    """What a cover decided for each of n candidates, in the order in which they were passed.

    kept: (n,), whether the candidate is kept.
    keeper: (n,), the row of the kept image that the candidate resembles, in the reference images
        followed by the candidates, −1 where there is none. So its id is
        `np.concatenate([reference_ids, ids])[keeper]`.
    similarity: (n,), the exact Sim with the keeper, NaN where there is none.

    A candidate that was not pending is not kept and has no keeper.
    """

    kept: Flags
    keeper: Indices
    similarity: Vector


def check_search(thresholds: Sequence[float], block: int) -> None:
    """Raise ValueError where a threshold is NaN or `block` is below 1."""
    if np.isnan(thresholds).any():
        raise ValueError(f"thresholds are {list(thresholds)}; NaN is not allowed")
    if block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")


def checked_order(order: Indices | None, count: int) -> Indices:
    """The order as (count,) int64, 0..count − 1 for None; ValueError if it is no permutation."""
    if order is None:
        return np.arange(count)
    given = np.asarray(order)
    if given.shape != (count,) or not np.array_equal(np.sort(given), np.arange(count)):
        raise ValueError(f"order must hold each of 0..{count - 1} once, an index per candidate")
    return given.astype(np.int64)


def checked_mask(name: str, mask: Flags | None, thresholds: Sequence[float], count: int) -> Flags:
    """A mask of shape (thresholds, count), all True for None; ValueError for another shape."""
    shape = (len(thresholds), count)
    if mask is None:
        return np.ones(shape, np.bool_)
    if mask.shape != shape or mask.dtype != np.bool_:
        raise ValueError(f"{name} has shape {mask.shape}; it must be (thresholds, images), {shape}")
    return mask


def blocks(indices: Indices, block: int) -> list[Indices]:
    """Indices in consecutive parts of `block`; the last part may be shorter."""
    return [indices[first : first + block] for first in range(0, len(indices), block)]


@dataclass(frozen=True)
class ImageVectors:
    """The vectors of the reference images followed by those of the candidates, without a copy.

    An index of an image is a row of both together. squared: (m + n,), the `squared_norms`.
    """

    reference: Matrix
    candidates: Matrix
    squared: Vector

    @classmethod
    def checked(cls, reference: Matrix | None, candidates: Matrix) -> Self:
        """Both matrices, (m, width) and (n, width), after their checks.

        Raises TypeError where one is not float32, ValueError where shapes do not fit or a number is
        NaN or infinite.
        """
        squared = _checked_norms("candidates", candidates)
        if reference is None:
            return cls(candidates[:0], candidates, squared)
        reference_squared = _checked_norms("reference", reference)
        if reference.shape[1] != candidates.shape[1]:
            raise ValueError(
                f"reference has width {reference.shape[1]}, candidates {candidates.shape[1]}; "
                "they must be equal"
            )
        return cls(reference, candidates, np.concatenate([reference_squared, squared]))

    def followed_by(self, candidates: Matrix) -> Self:
        """The same reference images with other candidates."""
        others = type(self).checked(self.reference[:0], candidates)
        squared = np.concatenate([self.squared[: self.first_candidate], others.squared])
        return type(self)(self.reference, candidates, squared)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.reference.shape[1])

    @property
    def first_candidate(self) -> int:
        """The index of the first candidate: the number of reference images."""
        return len(self.reference)

    def with_direction(self, indices: Indices) -> Indices:
        """Those of some images whose vectors are not zero."""
        return indices[self.squared[indices] > 0]

    def rows(self, indices: Indices) -> Matrix:
        """The vectors of some images: (k,) → (k, width)."""
        if not self.first_candidate:
            return self.candidates[indices]
        rows = np.empty((len(indices), self.width), np.float32)
        in_reference = indices < self.first_candidate
        rows[in_reference] = self.reference[indices[in_reference]]
        rows[~in_reference] = self.candidates[indices[~in_reference] - self.first_candidate]
        return rows

    def units(self, indices: Indices) -> Matrix:
        """The unit vectors of some images: (k,) → (k, width)."""
        return unit_rows(self.rows(indices), self.squared[indices])

    def similarities(self, left: Indices, right: Indices) -> Vector:
        """The exact Sim of pairs of images: (pairs,) × 2 → (pairs,)."""
        return similarities_at(self.rows, self.squared, left, right)


def _checked_norms(name: str, rows: Matrix) -> Vector:
    """`squared_norms` of a matrix after its checks; `name` is its name in messages."""
    if rows.dtype != np.float32:
        raise TypeError(f"{name} holds {rows.dtype}; it must hold float32")
    if rows.ndim != 2:
        raise ValueError(f"{name} has shape {rows.shape}; it must be (images, width)")
    try:
        return squared_norms(rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class KeptImages:
    """The images that are kept at one threshold or more, in order, prepared for the bounds.

    count: how many there are. vectors, images, kept: room for all that may come; the first `count`
    are filled with the prepared vectors, the images' indices and the thresholds at which each is
    kept.
    """

    def __init__(self, thresholds: int, capacity: int, screen: Screen, width: int) -> None:
        self.count = 0
        self.screen = screen
        no_rows = np.empty((0, width), np.float32)
        self.vectors = BoundedVectors.empty(capacity, like=screen.prepare(no_rows, np.empty(0)))
        self.images = np.empty(capacity, np.int64)
        self.kept = np.empty((thresholds, capacity), np.bool_)

    def add_references(self, vectors: ImageVectors, reference_mask: Flags) -> None:
        """Append the reference images whose mask has a True, whatever they resemble."""
        somewhere = np.flatnonzero(reference_mask.any(axis=0))
        for images in blocks(vectors.with_direction(somewhere), _REFERENCE_BLOCK):
            prepared = self.screen.prepare(vectors.rows(images), vectors.squared[images])
            self.append(images, prepared, reference_mask[:, images])

    def append(self, images: Indices, vectors: BoundedVectors, kept: Flags) -> None:
        """Append images with their prepared vectors and the mask (thresholds, k) of where."""
        end = self.count + len(images)
        self.vectors.put(slice(self.count, end), vectors)
        self.images[self.count : end] = images
        self.kept[:, self.count : end] = kept
        self.count = end


class CoverSearch:
    """A search for the keepers of candidates at several thresholds; it decides block by block.

    keeper: (thresholds, m + n), the keepers so far, or _OPEN or _CLOSED.
    """

    def __init__(
        self,
        vectors: ImageVectors,
        thresholds: Sequence[float],
        screen: Screen,
        kept: KeptImages,
        block: int,
        pending_mask: Flags,
    ) -> None:
        self.vectors = vectors
        self.thresholds = thresholds
        self.bounds = [decision_bounds(threshold, vectors.width) for threshold in thresholds]
        self.screen = screen
        self.kept = kept
        self.block = block
        self.keeper = np.full((len(thresholds), len(vectors.squared)), _OPEN)
        self.keeper[:, vectors.first_candidate :][~pending_mask] = _CLOSED

    def settle(self, images: Indices) -> None:
        """Decide the next candidates, and append those that are kept at some threshold."""
        prepared, keeper = self._compared_with_kept(images)
        self._compare_within(images, prepared, keeper)
        self.keeper[:, images] = keeper
        kept = keeper == _OPEN
        somewhere = kept.any(axis=0)
        self.kept.append(
            images[somewhere], prepared.at(np.flatnonzero(somewhere)), kept[:, somewhere]
        )

    def compare(self, images: Indices) -> None:
        """Decide candidates by the images kept so far alone, not by each other."""
        self.keeper[:, images] = self._compared_with_kept(images)[1]

    def result(self) -> list[Cover]:
        """The covers; the Sim of a pair that occurs at several thresholds is computed once."""
        first = self.vectors.first_candidate
        keeper = self.keeper[:, first:]
        level, candidate = np.nonzero(keeper >= 0)
        pairs, inverse = np.unique(
            np.stack([candidate + first, keeper[level, candidate]]), axis=1, return_inverse=True
        )
        similarity = np.full(keeper.shape, np.nan)
        similarity[level, candidate] = self.vectors.similarities(pairs[0], pairs[1])[inverse]
        return [
            Cover(k == _OPEN, np.maximum(k, -1), s) for k, s in zip(keeper, similarity, strict=True)
        ]

    def _compared_with_kept(self, images: Indices) -> tuple[BoundedVectors, Indices]:
        """The prepared vectors of a block, and its keepers among the images kept so far."""
        prepared = self.screen.prepare(self.vectors.rows(images), self.vectors.squared[images])
        keeper = self.keeper[:, images]
        self._compare_with_kept(images, prepared, keeper)
        return prepared, keeper

    def _compare_with_kept(
        self, images: Indices, prepared: BoundedVectors, keeper: Indices
    ) -> None:
        """Enter into `keeper` (thresholds, block) the first hit among the images kept so far."""
        kept = self.kept
        rows_left, left = np.arange(len(images)), prepared
        for first in range(0, kept.count, self.block):
            tile = slice(first, min(first + self.block, kept.count))
            open_rows = np.flatnonzero((keeper == _OPEN).any(axis=0))
            if not open_rows.size:
                return
            if len(open_rows) < _COPIED_BELOW * len(rows_left):  # copying costs like comparing few
                rows_left, left = open_rows, prepared.at(open_rows)
            candidates = self.screen.candidates(left, kept.vectors.at(tile))
            hit_rows, row = np.unique(candidates.row, return_inverse=True)
            product = candidates._replace(row=row).dense((len(hit_rows), tile.stop - tile.start))
            block_rows, highest = rows_left[hit_rows], product.max(axis=1, initial=-np.inf)
            for level, (low, high) in enumerate(self.bounds):
                rows = np.flatnonzero((keeper[level, block_rows] == _OPEN) & (highest > low))
                if not rows.size:
                    continue
                decide = self._decide(level, images[block_rows[rows]], kept.images[tile])
                hit = _first_hits(product[rows], kept.kept[level, tile], low, high, decide)
                keepers = np.where(hit < 0, _OPEN, kept.images[tile][hit])
                keeper[level, block_rows[rows]] = keepers

    def _compare_within(self, images: Indices, prepared: BoundedVectors, keeper: Indices) -> None:
        """Enter into `keeper` (thresholds, block) the first kept image of the block itself."""
        open_rows = np.flatnonzero((keeper == _OPEN).any(axis=0))
        left, open_images = prepared.at(open_rows), images[open_rows]
        product = self.screen.candidates(left, left).dense((len(open_rows), len(open_rows)))
        for level, (low, high) in enumerate(self.bounds):
            decide = self._decide(level, open_images, open_images)
            hit = _keepers_within(product, keeper[level, open_rows] == _OPEN, low, high, decide)
            hits = hit >= 0
            keeper[level, open_rows[hits]] = open_images[hit[hits]]

    def _decide(self, level: int, left: Indices, right: Indices) -> Decide:
        def decide(rows: Indices, columns: Indices) -> Flags:
            similarity = self.vectors.similarities(left[rows], right[columns])
            return similarity > self.thresholds[level]

        return decide


def _first_hits(
    product: Matrix, allowed: Flags, low: np.float32, high: np.float32, decide: Decide
) -> Indices:
    """The first allowed column with Sim > T of each row: (n, m), (m,) → (n,), −1 for none."""
    possible = product > low
    possible &= allowed
    first_hit = np.full(len(product), -1)
    rows = np.arange(len(product))
    while rows.size:
        column = possible[rows].argmax(axis=1)
        left = possible[rows, column]
        rows, column = rows[left], column[left]
        hit = _hits(product, rows, column, high, decide)
        first_hit[rows[hit]] = column[hit]
        rows, column = rows[~hit], column[~hit]
        possible[rows, column] = False
    return first_hit


def _keepers_within(
    product: Matrix, open_rows: Flags, low: np.float32, high: np.float32, decide: Decide
) -> Indices:
    """For each open row the first kept row before it with Sim > T: (n, n), (n,) → (n,), −1: none.

    Each row that is kept takes those of the open rows after it that resemble it. So there is one
    vectorised step for a row that is kept, and none for a row that resembles nothing.
    """
    possible = np.triu(product > low, 1)
    possible &= open_rows
    remaining = open_rows.copy()
    keeper = np.full(len(product), -1)
    for row in np.flatnonzero(possible.any(axis=1) & open_rows).tolist():
        if not remaining[row]:
            continue
        later = np.flatnonzero(possible[row] & remaining)
        later = later[_hits(product, np.full_like(later, row), later, high, decide)]
        keeper[later] = row
        remaining[later] = False
    return keeper


def _hits(
    product: Matrix, rows: Indices, columns: Indices, high: np.float32, decide: Decide
) -> Flags:
    """Whether Sim > T for entries above the lower bound: by the product, or exactly up to high."""
    hit = product[rows, columns] > high
    unsure = np.flatnonzero(~hit)
    if unsure.size:
        hit[unsure] = decide(rows[unsure], columns[unsure])
    return hit
