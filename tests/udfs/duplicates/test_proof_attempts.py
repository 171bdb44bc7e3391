"""Which pair each image names next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from udfs.duplicates.proof_attempts import KEPT, OPEN, REMOVED, Attempts, SimilarPairs

IMAGES = np.array([10, 11, 12])  # three images of a block, by their index


def pairs(*rows: tuple[int, int, float]) -> SimilarPairs:
    """Pairs (position in the block, other image, Sim), in the order in which they are tried."""
    row, other, similarity = (np.array(column) for column in zip(*rows, strict=True))
    return SimilarPairs.none().followed_by(SimilarPairs(row, other, similarity))


def states(**known: int) -> NDArray[np.int8]:
    state = np.full(13, KEPT, np.int8)
    state[10:] = OPEN
    for name, value in known.items():
        state[int(name[1:])] = value
    return state


def test_pairs_are_tried_in_falling_similarity_and_equal_ones_in_their_order() -> None:
    found = pairs((0, 3, 0.6), (1, 2, 0.7), (0, 4, 0.9), (0, 1, 0.6))
    assert found.row.tolist() == [0, 0, 0, 1]
    assert found.other.tolist() == [4, 1, 3, 2]
    assert found.ranks(np.array([True, False, True, True])).tolist() == [0, 1, 1, 0]


def test_an_image_passes_over_removed_ones_and_waits_for_open_ones() -> None:
    """Image 10 is kept: it has no pair. Image 11 waits for it; image 12 tries image 3."""
    state = states(i2=REMOVED)
    attempts = Attempts(state, IMAGES, pairs((1, 10, 0.9), (2, 2, 0.8), (2, 3, 0.7)), 64, last=True)
    rows, chosen = attempts.named()
    assert rows.tolist() == [2]  # nothing else is known before images without a pair are kept
    attempts.advance()
    rows, chosen = attempts.named()
    assert state[10] == KEPT
    assert rows.tolist() == [1, 2]
    assert chosen.tolist() == [0, 2]
    attempts.apply(rows, np.array([True, False]))
    assert state[11] == REMOVED
    attempts.advance()
    assert state[12] == KEPT
    assert not attempts.active.any()


def test_an_image_without_a_further_try_counts_as_exhausted() -> None:
    state = states()
    attempts = Attempts(
        state, IMAGES[:2], pairs((0, 1, 0.9), (0, 2, 0.8), (1, 1, 0.7)), 1, last=True
    )
    attempts.advance()
    rows, _ = attempts.named()
    attempts.apply(rows, np.array([False, False]))
    attempts.advance()
    assert state[[10, 11]].tolist() == [KEPT, KEPT]
    assert attempts.exhausted().tolist() == [True, False]


def test_where_further_places_follow_nothing_is_kept_yet() -> None:
    state = states()
    attempts = Attempts(state, IMAGES[:1], pairs((0, 1, 0.9)), 64, last=False)
    attempts.advance()
    rows, _ = attempts.named()
    attempts.apply(rows, np.array([False]))
    attempts.advance()
    assert state[10] == OPEN
