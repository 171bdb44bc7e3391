from __future__ import annotations

import math

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.vectors import Case, assert_same, cases, definition, images, sim
from udfs.duplicates.cover_search import Cover, Flags
from udfs.duplicates.greedy import Reference, cover, covers
from udfs.vectors.cosine import Indices


@settings(deadline=None, max_examples=150)
@given(cases(), st.sampled_from([1, 2, 7, 22, 1024]))
def test_covers_are_their_definition(case: Case, block: int) -> None:
    found = covers(case.reference, case.candidates, case.thresholds, case.order, block=block)
    assert len(found) == len(case.thresholds)
    for one, expected in zip(found, case.definitions(), strict=True):
        event(f"removed: {not expected.kept.all()}")
        assert_same(one, expected)


@settings(deadline=None, max_examples=80)
@given(cases(), st.integers(0, 2**32), st.sampled_from([1, 2, 7, 1024]))
def test_covers_with_flags_are_their_definition(case: Case, seed: int, block: int) -> None:
    random = np.random.default_rng(seed)
    shape = len(case.thresholds), len(case.reference)
    reference_mask = random.random(shape) < 0.6
    pending_mask = random.random((shape[0], len(case.candidates))) < 0.7
    found = covers(
        case.reference,
        case.candidates,
        case.thresholds,
        case.order,
        block=block,
        reference_mask=reference_mask,
        pending_mask=pending_mask,
    )
    for level, one in enumerate(found):
        threshold, flags = case.thresholds[level], (reference_mask[level], pending_mask[level])
        assert_same(one, definition(case.reference, case.candidates, threshold, case.order, *flags))


@settings(deadline=None, max_examples=80)
@given(cases(largest=40), st.integers(1, 50), st.integers(1, 50))
def test_windows_one_after_the_other_are_one_run(case: Case, window: int, batch: int) -> None:
    """A window is settled, what stays of it is compared with all that follow, and so on."""
    rows = case.candidates[case.order]
    n, levels = len(rows), len(case.thresholds)
    pending_mask = np.ones((levels, n), np.bool_)
    decided = [
        Cover(np.ones(n, np.bool_), np.full(n, -1), np.full(n, np.nan)) for _ in range(levels)
    ]

    def enter(found: list[Cover], places: Indices, names: Indices) -> Flags:
        for whole, part, still in zip(decided, found, pending_mask, strict=True):
            hit = np.flatnonzero(part.keeper >= 0)
            whole.kept[places[hit]] = False
            whole.keeper[places[hit]] = names[part.keeper[hit]]
            whole.similarity[places[hit]] = part.similarity[hit]
            still[places[hit]] = False
        return np.array([part.kept for part in found], np.bool_).reshape(levels, -1)

    for first in range(0, n, window):
        places = np.arange(first, min(first + window, n))
        open_ = pending_mask[:, places]
        kept = enter(
            covers(None, rows[places], case.thresholds, pending_mask=open_), places, places
        )
        stays = Reference(rows[places], case.thresholds, kept)
        for start in range(first + window, n, batch):
            later = np.arange(start, min(start + batch, n))
            found = stays.against(rows[later], pending_mask[:, later], block=7)
            enter(found, later, np.concatenate([places, later]))
    for whole, expected in zip(decided, covers(None, rows, case.thresholds), strict=True):
        assert_same(whole, expected)


@settings(deadline=None, max_examples=60)
@given(cases(largest=40), st.data())
def test_a_batch_after_what_was_kept_is_one_run_on_all(case: Case, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(case.candidates)))
    ordered = case.candidates[case.order]
    ids = np.arange(len(case.reference) + len(ordered))
    early, late = ids[: len(case.reference) + cut], ids[len(case.reference) + cut :]
    for threshold in case.thresholds:
        whole = cover(case.reference, ordered, threshold)
        begun = cover(case.reference, ordered[:cut], threshold)
        kept = np.concatenate([np.ones(len(case.reference), np.bool_), begun.kept])
        held = np.concatenate([case.reference, ordered[:cut]])[kept]
        ended = cover(held, ordered[cut:], threshold)
        named = np.concatenate([early[kept], late])
        both = Cover(
            np.concatenate([begun.kept, ended.kept]),
            np.concatenate([begun.keeper, np.where(ended.kept, -1, named[ended.keeper])]),
            np.concatenate([begun.similarity, ended.similarity]),
        )
        assert_same(both, whole)


def test_both_promises_on_a_larger_set() -> None:
    random = np.random.default_rng(5)
    rows = images(random, "clustered", 260, 16)
    rows += images(random, "random", 260, 16) / np.float32(20)
    reference, candidates = rows[:60], rows[60:]
    thresholds = [0.999, 0.99, 0.97, 0.9]
    for threshold, found in zip(thresholds, covers(reference, candidates, thresholds), strict=True):
        assert 0 < found.kept.sum() < len(candidates)
        kept = candidates[found.kept]
        for i, image in enumerate(kept):  # (a)
            assert not any(sim(image, other) > threshold for other in [*reference, *kept[:i]])
        for i in np.flatnonzero(~found.kept).tolist():  # (b)
            keeper = int(found.keeper[i])
            assert keeper < 60 or found.kept[keeper - 60]
            assert sim(candidates[i], rows[keeper]) == found.similarity[i] > threshold


EAST, NORTH_EAST, NORTH = [1, 0], [1, 1], [0, 1]


def test_a_chain_by_hand() -> None:
    rows = np.array([EAST, NORTH_EAST, NORTH], np.float32)
    found = cover(None, rows, 0.7)
    assert found.kept.tolist() == [True, False, True]
    assert found.keeper.tolist() == [-1, 0, -1]
    assert found.similarity[1] == 1 / math.sqrt(2)
    found = cover(None, rows, 0.7, np.array([1, 2, 0]))
    assert found.kept.tolist() == [False, True, False]
    assert found.keeper.tolist() == [1, -1, 1]


def test_references_come_first_and_stay_by_hand() -> None:
    reference = np.array([NORTH, [0, 0], NORTH_EAST, NORTH_EAST], np.float32)
    candidates = np.array([[2, 1], [0, 0], [0, 5], [1, -1], [2, -2]], np.float32)
    found = cover(reference, candidates, 0.7)
    assert found.kept.tolist() == [False, True, False, True, False]
    assert found.keeper.tolist() == [2, -1, 0, -1, 7]


def test_a_dropped_image_drops_nothing_at_its_threshold() -> None:
    # b is dropped at 0.7 and kept at 0.8: only there may it drop c.
    rows = np.array([EAST, NORTH_EAST, [9, 10]], np.float32)
    low, high = covers(None, rows, [0.7, 0.8])
    assert low.keeper.tolist() == [-1, 0, -1]
    assert high.keeper.tolist() == [-1, -1, 1]


def test_identical_images_have_similarity_one() -> None:
    rows = np.random.default_rng(3).random((1, 1024), np.float32).repeat(9, axis=0)
    just_below, one = covers(None, rows, [np.nextafter(1, 0), 1.0])
    assert just_below.kept.tolist() == [True] + 8 * [False]
    assert just_below.similarity[1:].tolist() == 8 * [1.0]
    assert one.kept.all()


def test_zero_vectors_stay_whatever_the_threshold() -> None:
    rows = np.array([[0, 0], EAST, [0, 0], [-1, 0]], np.float32)
    found = cover(rows[:1], rows, -7.0)
    assert found.kept.tolist() == [True, True, True, False]
    assert found.keeper.tolist() == [-1, -1, -1, 2]
    assert found.similarity[3] == -1


def test_nothing_to_do() -> None:
    rows = np.ones((3, 2), np.float32)
    assert covers(rows, rows, []) == []
    assert cover(rows, rows[:0], 0.9).kept.shape == (0,)
    assert cover(None, rows[:, :0], 0.9).kept.all()


def test_the_arguments_stay_as_they_were() -> None:
    rows = np.random.default_rng(4).random((20, 3), np.float32)
    order = np.arange(20)[::-1].copy()
    before = rows.copy(), order.copy()
    cover(rows[:5], rows, 0.9, order)
    assert np.array_equal(rows, before[0])
    assert np.array_equal(order, before[1])
