"""A pair is registered only where nothing else tells how its pictures lie over each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from udfs.duplicates.pair_alignments import (
    NO_CONTENT,
    KnownAlignments,
    LargerOverlaps,
    PairAlignments,
    TriedPairs,
)
from udfs.registration import Alignments
from udfs.vectors.cosine import Indices, Vector


class Recorded:
    """Registers by a formula: the scale tells the pair, and the overlaps its direction."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def align(self, images: Indices, others: Indices, _: Vector) -> Alignments:
        self.asked += zip(images.tolist(), others.tolist(), strict=True)
        return replace(
            Alignments.identical(len(images)),
            scale=np.asarray(100 * images + others, np.float64),
            overlap=images / 10,
            overlap_other=others / 10,
        )


NONE_ALIKE = np.full(10, NO_CONTENT)


def tried_of(
    alignments: PairAlignments, pairs: list[tuple[int, int]], least: float = 0.0
) -> TriedPairs:
    images, others = np.array(pairs, np.int64).reshape(-1, 2).T
    return alignments.tried(images, others, np.arange(len(pairs)) / 10, np.full(len(pairs), least))


def test_what_was_given_up_is_registered_anew_where_it_overlaps_enough() -> None:
    """And only this: what was registered to the end, or overlaps too little still, is known."""
    known = KnownAlignments(
        np.array([1, 2, 3, 4, 4]),
        np.array([0, 0, 0, 0, 0]),
        replace(
            Alignments.identical(5),
            registration=np.array([np.nan, np.nan, 0.8, np.nan, 0.7]),  # three were given up
            overlap_half=np.array([0.5, 0.3, 0.3, 0.5, 0.5]),
        ),
    )
    pairs = [(1, 0), (2, 0), (3, 0), (4, 0)]
    for least, anew in ((0.6, []), (0.5, [(1, 0)]), (0.4, [(1, 0)]), (0.2, [(1, 0), (2, 0)])):
        aligner = Recorded()
        tried = tried_of(PairAlignments(aligner, NONE_ALIKE, known), pairs, least)
        assert aligner.asked == anew
        assert [pair for pair, new in zip(pairs, tried.is_new, strict=True) if new] == anew
        assert tried.alignments.registration[2:].tolist() == [0.8, 0.7]  # of two rows the end
        assert tried.alignments.given_up[:2].tolist() == [pair not in anew for pair in pairs[:2]]


def test_each_pair_has_its_alignment_whatever_gave_it() -> None:
    """Identical, known and new pairs in any order."""
    content = np.array([7, NO_CONTENT, 3, NO_CONTENT, 7, 3])
    known = KnownAlignments(
        np.array([5, 3, 4]),
        np.array([1, 0, 0]),  # the last of them is identical, too
        replace(Alignments.empty(3), scale=np.array([0.51, 0.30, 0.40])),
    )
    aligner = Recorded()
    pairs = [(3, 1), (4, 0), (5, 1), (1, 3), (5, 2), (3, 0), (0, 3)]
    tried = tried_of(PairAlignments(aligner, content, known), pairs)
    assert aligner.asked == [(3, 1), (1, 3), (0, 3)]  # NO_CONTENT equals no other one
    assert tried.alignments.scale.tolist() == [301, 1, 0.51, 103, 1, 0.30, 3]
    assert tried.identical.tolist() == [False, True, False, False, True, False, False]
    assert tried.is_new.tolist() == [True, False, False, True, True, False, True]
    assert tried.alignments.flat.tolist() == [False, False, True, False, False, True, False]
    assert list(zip(tried.images.tolist(), tried.others.tolist(), strict=True)) == pairs
    assert tried.similarity.tolist() == [j / 10 for j in range(7)]


def test_nothing_is_registered_where_everything_is_known() -> None:
    class NeverAligner:
        def align(self, images: Indices, others: Indices, _: Vector) -> Alignments:
            raise AssertionError(f"asked for {images}, {others}")

    known = KnownAlignments(np.array([2]), np.array([1]), Alignments.identical(1))
    alignments = PairAlignments(NeverAligner(), NONE_ALIKE, known)
    assert not tried_of(alignments, [(2, 1)]).is_new.any()
    assert len(tried_of(alignments, []).alignments) == 0
    with pytest.raises(AssertionError, match="asked for"):
        tried_of(alignments, [(1, 2)])  # the other direction is another pair


def test_known_pairs_are_found_among_many() -> None:
    random = np.random.default_rng(1)
    codes = random.choice(300 * 300, 2000, replace=False)
    large = 2**30  # as indices may be
    images, others = codes[:1500] // 300 + large, codes[:1500] % 300 + large
    known = KnownAlignments(images, others, Alignments.empty(1500))
    asked = random.permutation(2000)
    rows = known.rows(codes[asked] // 300 + large, codes[asked] % 300 + large)
    np.testing.assert_array_equal(rows, np.where(asked < 1500, asked, -1))
    assert KnownAlignments.none().rows(images[:2], others[:2]).tolist() == [-1, -1]


def test_parts_follow_each_other() -> None:
    alignments = PairAlignments(Recorded(), NONE_ALIKE)
    pairs = [(1, 2), (3, 4), (5, 6)]
    whole = tried_of(alignments, pairs)
    parts = TriedPairs.concatenate([tried_of(alignments, part) for part in (pairs[:1], pairs[1:])])
    for name in ("images", "others", "identical", "is_new"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_array_equal(parts.alignments.scale, whole.alignments.scale)
    assert parts.similarity.tolist() == [0, 0, 0.1]
    assert len(TriedPairs.concatenate([]).alignments) == 0


def test_the_larger_overlap_counts_and_both_are_kept() -> None:
    larger = LargerOverlaps(Recorded(), NONE_ALIKE)
    first = tried_of(larger, [(2, 9), (9, 2)])
    tried_of(larger, [(1, 3)])
    assert first.alignments.overlap.tolist() == [0.9, 0.9]
    both = larger.both_ways()
    assert both.images.tolist() == [2, 9, 1]
    assert both.alignments.overlap.tolist() == [0.2, 0.9, 0.1]
    assert both.alignments.overlap_other.tolist() == [0.9, 0.2, 0.3]
