"""Which kept image each image tries next, by one rule, and in which order.

`udfs.duplicates.proof_cover` registers the pairs that are named here, and enters what is proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from udfs.duplicates.cover_search import Flags
from udfs.vectors.cosine import Indices, Vector

States = NDArray[np.int8]

OPEN, KEPT, REMOVED = 0, 1, 2  # states; an image that is not pending counts as removed


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs of an image of a block and an image before it with Sim > c.

    row: (p,), the image's position in the block. other: (p,), the index of the other image.
    similarity: (p,), their Sim.
    """

    row: Indices
    other: Indices
    similarity: Vector

    @classmethod
    def none(cls) -> Self:
        """No pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def at(self, indices: Indices | Flags) -> Self:
        """Some of the pairs."""
        return type(self)(self.row[indices], self.other[indices], self.similarity[indices])

    def followed_by(self, pairs: Self) -> Self:
        """These pairs and further ones, in the order in which each image tries its own."""
        row = np.concatenate([self.row, pairs.row])
        other = np.concatenate([self.other, pairs.other])
        similarity = np.concatenate([self.similarity, pairs.similarity])
        return type(self)(row, other, similarity).at(np.lexsort((other, -similarity, row)))

    def ranks(self, mask: Flags) -> Indices:
        """The position, from 0, of each pair among those of its image that are in the mask."""
        before: Indices = np.cumsum(mask) - mask
        return np.asarray(before - before[np.searchsorted(self.row, self.row)], np.int64)


class Attempts:
    """What one rule tries for the images of a block among the images of one block of places.

    active: (images,), which images may try on. They end with a proof, with their last pair or with
    their last try.
    """

    def __init__(
        self, state: States, images: Indices, pairs: SimilarPairs, tries: int, *, last: bool
    ) -> None:
        self._state = state
        self._images = images
        self._last = last
        self._other = pairs.other
        usable = (state[images[pairs.row]] == OPEN) & (state[pairs.other] != REMOVED)
        self._pairs = np.flatnonzero(usable)  # pairs that this rule may try, in their order
        rows = np.arange(len(images))
        self._next = np.searchsorted(pairs.row[self._pairs], rows)
        self._end = np.searchsorted(pairs.row[self._pairs], rows, side="right")
        self._left = np.full(len(images), tries)
        self._failed = np.zeros(len(images), np.bool_)
        self.active = np.asarray(state[images] == OPEN)

    def advance(self) -> None:
        """Pass over removed images, and end images without a further pair or try.

        Images that are kept by that may be what others waited for, so they are named together.
        """
        while self.active.any():
            self._pass_over_removed()
            ended = self.active & ((self._next == self._end) | (self._left == 0))
            if not ended.any():
                return
            self.active &= ~ended
            self._failed |= ended
            if self._last:
                self._state[self._images[ended]] = KEPT

    def _pass_over_removed(self) -> None:
        """Move each image that may try on to its next pair with an image that is not removed."""
        rows = np.flatnonzero(self.active)
        while len(rows):
            rows = rows[(self._next[rows] < self._end[rows]) & (self._left[rows] > 0)]
            rows = rows[self._state[self._others(rows)] == REMOVED]
            self._next[rows] += 1

    def named(self) -> tuple[Indices, Indices]:
        """The images that can try their next pair now, and these pairs."""
        rows = np.flatnonzero(self.active)
        rows = rows[self._state[self._others(rows)] == KEPT]
        return rows, self._pairs[self._next[rows]]

    def apply(self, rows: Indices, proof: Flags) -> None:
        """Enter whether the pairs that these images named are proved."""
        removed, failed = rows[proof], rows[~proof]
        self._state[self._images[removed]] = REMOVED
        self.active[removed] = False
        self._next[failed] += 1
        self._left[failed] -= 1

    def exhausted(self) -> Flags:
        """Whether an image was not proved though kept images are left that it did not try."""
        is_kept = self._state[self._other[self._pairs]] == KEPT
        before = np.concatenate([[0], np.cumsum(is_kept)])
        return self._failed & (before[self._end] > before[self._next])

    def _others(self, rows: Indices) -> Indices:
        """The other image of each of these images' next pair."""
        return np.asarray(self._other[self._pairs[self._next[rows]]], np.int64)
