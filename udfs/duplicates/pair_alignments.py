"""How pictures lie over each other, pair by pair: identical, known from before, or registered.

`udfs.duplicates.proof_cover` asks `PairAlignments` for the pairs that it tries, so that none is
registered that was registered before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from udfs.registration import Alignments
from udfs.vectors.cosine import Indices, Vector

Flags = NDArray[np.bool_]
NO_CONTENT = -1  # in place of a content: the picture equals no other one


class Aligner(Protocol):
    """What registers pictures: a `udfs.registration.Registrar`."""

    def align(self, images: Indices, others: Indices, least_overlap: Vector) -> Alignments:
        """Register images[j] with others[j], for all j.

        Pairs may be given up whose larger overlap at half size is below least_overlap[j].
        """


@dataclass(frozen=True)
class TriedPairs:
    """Pairs that were tried: (p,) each, and their alignments.

    identical: whether both pictures have the same content. is_new: whether the alignment was not
    known before.
    """

    images: Indices
    others: Indices
    similarity: Vector
    alignments: Alignments
    identical: Flags
    is_new: Flags

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All pairs of some parts."""
        no_index, no_flag = np.empty(0, np.int64), np.empty(0, np.bool_)
        none = cls(no_index, no_index, np.empty(0), Alignments.empty(0), no_flag, no_flag)
        parts = [none, *parts]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.others for part in parts]),
            np.concatenate([part.similarity for part in parts]),
            Alignments.concatenate([part.alignments for part in parts]),
            np.concatenate([part.identical for part in parts]),
            np.concatenate([part.is_new for part in parts]),
        )


@dataclass(frozen=True)
class KnownAlignments:
    """Alignments of earlier runs: row j is of images[j] with others[j].

    A pair is there once, or twice if it was given up first and registered to the end later.
    """

    images: Indices
    others: Indices
    alignments: Alignments
    _codes: Indices = field(init=False)
    _rows: Indices = field(init=False)

    def __post_init__(self) -> None:
        codes = _codes(self.images, self.others)
        rows = np.lexsort((self.alignments.given_up, codes))
        object.__setattr__(self, "_codes", codes[rows])
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def none(cls) -> Self:
        """Nothing is known."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), Alignments.empty(0))

    def rows(self, images: Indices, others: Indices) -> Indices:
        """The row of each pair, that of its end where there are two, −1 where it is not known."""
        if not len(self._codes):
            return np.full(len(images), -1)
        codes = _codes(images, others)
        position = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[position] == codes, self._rows[position], -1)


def _codes(images: Indices, others: Indices) -> Indices:
    """Two indices below 2^31 as one number."""
    return np.asarray((images.astype(np.int64) << 31) | others)


class PairAlignments:
    """The alignments of pairs of images; a pair is registered only where nothing else gives it."""

    def __init__(
        self, aligner: Aligner, content: Indices, known: KnownAlignments | None = None
    ) -> None:
        """Take what registers, and what is known.

        content: (images,), equal numbers for identical pictures, NO_CONTENT for those that equal no
        other one.
        """
        self._aligner = aligner
        self._content = content
        self._known = KnownAlignments.none() if known is None else known

    def tried(
        self, images: Indices, others: Indices, similarity: Vector, least_overlap: Vector
    ) -> TriedPairs:
        """The alignment of each images[j] with others[j]; similarity: their Sim.

        least_overlap: the larger overlap at half size below which a pair may be given up. What was
        given up earlier is registered anew where it reaches this overlap.
        """
        content = self._content[images]
        identical = (content == self._content[others]) & (content != NO_CONTENT)
        known = self._known.rows(images, others)
        is_new = known < 0
        stored = self._known.alignments
        if len(stored):
            reached = stored.overlap_half[known] >= least_overlap
            is_new |= (known >= 0) & stored.given_up[known] & reached
        kinds = np.where(identical, 0, np.where(is_new, 2, 1))
        given, registered = np.flatnonzero(kinds == 1), np.flatnonzero(kinds == 2)
        parts = [Alignments.identical(int(np.count_nonzero(identical)))]
        if len(given):
            parts.append(stored.take(known[given]))
        if len(registered):
            pairs = images[registered], others[registered]
            parts.append(self._aligner.align(*pairs, least_overlap[registered]))
        position = np.empty(len(images), np.int64)
        position[np.argsort(kinds, kind="stable")] = np.arange(len(images))
        alignments = Alignments.concatenate(parts).take(position)
        return TriedPairs(images, others, similarity, alignments, identical, is_new)


class LargerOverlaps(PairAlignments):
    """Alignments whose overlap is the larger of both: it is enough if one image shows the other.

    Use it where neither image is to be removed for the other, or whichever is the smaller part.
    """

    def __init__(
        self, aligner: Aligner, content: Indices, known: KnownAlignments | None = None
    ) -> None:
        """Take what registers, and what is known, as `PairAlignments` does."""
        super().__init__(aligner, content, known)
        self._tried: list[TriedPairs] = []

    def tried(
        self, images: Indices, others: Indices, similarity: Vector, least_overlap: Vector
    ) -> TriedPairs:
        """The alignments as above; `both_ways` keeps them with both overlaps."""
        pairs = super().tried(images, others, similarity, least_overlap)
        self._tried.append(pairs)
        overlap = np.maximum(pairs.alignments.overlap, pairs.alignments.overlap_other)
        return replace(pairs, alignments=replace(pairs.alignments, overlap=overlap))

    def both_ways(self) -> TriedPairs:
        """All pairs that were tried so far, in their order, with both overlaps as they are."""
        return TriedPairs.concatenate(self._tried)
