"""Precision from labels: by hand, beside SciPy, and how often its interval holds the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.evaluation import precision
from udfs.evaluation.precision import (
    Interval,
    Pairs,
    Part,
    Stratum,
    Threshold,
    curve,
    of_part,
    reaching,
    wilson,
)
from udfs.evaluation.strata import allocated, draw

EDGES = np.array([0.72, 0.86, 0.93, 0.95, 0.97, 0.985, 0.9925, 1.0])


def stratum(low: float, population: float, same: int, labels: int) -> Stratum:
    weight = np.full(labels, population / labels if labels else 0.0)
    return Stratum.labelled(low, low + 0.1, population, weight, np.arange(labels) < same)


@given(st.integers(1, 300), st.data())
def test_the_interval_of_a_share_is_scipys(count: int, data: st.DataObject) -> None:
    same = data.draw(st.integers(0, count))
    ours = wilson(same / count, count)
    theirs = scipy.stats.binomtest(same, count).proportion_ci(0.95, "wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.share <= ours.high <= 1


def test_a_precision_by_hand() -> None:
    """300 of 1000 pairs in the lower stratum, 99 of 100 in the upper: 399 of 1100."""
    lower, upper = stratum(0.8, 1000, 9, 30), stratum(0.9, 100, 99, 100)
    found = precision.precision([lower, upper])
    assert found is not None
    assert found.share == pytest.approx(399 / 1100)
    assert math.isinf(upper.effective)  # all of its pairs are labelled
    assert lower.effective == pytest.approx(30 * 999 / 970)
    alone = wilson(0.3, lower.effective)
    assert found.low == pytest.approx(found.share - (0.3 - alone.low) * 10 / 11)
    assert found.high == pytest.approx(found.share + (alone.high - 0.3) * 10 / 11)


def test_labels_that_all_say_the_same_leave_a_doubt() -> None:
    found = precision.precision([stratum(0.8, 5000, 30, 30), stratum(0.9, 800, 30, 30)])
    assert found is not None
    assert (found.share, found.high) == (1.0, 1.0)
    assert 0.85 < found.low < 0.95


def test_what_nobody_labelled_is_not_told() -> None:
    assert precision.precision([stratum(0.8, 50, 3, 4), stratum(0.9, 8, 0, 0)]) is None
    assert precision.precision([]) is None
    found = precision.precision([stratum(0.8, 50, 3, 4), stratum(0.9, 0, 0, 0)])
    assert found is not None
    assert found.share == 0.75


def test_unequal_weights_count_for_less() -> None:
    one = Stratum.labelled(0.8, 0.9, 1e9, np.array([1.0, 3.0]), np.array([True, False]))
    assert one.share == 0.25
    assert one.effective == pytest.approx(16 / 10)


def pairs_of(
    similarity: Sequence[float], label: Sequence[int], population: Sequence[float]
) -> Pairs:
    """Pairs of the strata of EDGES that hold so many."""
    values = np.array(similarity)
    place = np.searchsorted(EDGES, values) - 1
    counts = np.bincount(place, minlength=len(EDGES) - 1)
    held = np.array(population, np.float64)[place]
    labels = np.array(label)
    return Pairs(values, EDGES[place], EDGES[place + 1], held, held / counts[place], labels)


def test_a_threshold_inside_a_stratum_divides_it() -> None:
    given_ = pairs_of([0.94, 0.941, 0.949, 0.96], [0, 1, 1, 1], [0, 0, 300, 10, 0, 0, 0])
    found = {one.threshold: one for one in curve(given_, [0.9405, 0.955, 0.99])}
    assert list(found) == [0.93, 0.9405, 0.95, 0.955, 0.99]
    lowest, cut, edge, inside, nothing = found.values()
    assert lowest.precision is not None
    assert lowest.precision.share == pytest.approx((200 + 10) / 310)
    assert (lowest.pairs, lowest.recall) == (4, 1.0)
    assert cut.precision is not None
    assert cut.precision.share == 1.0
    assert [one.pairs for one in (cut, edge, inside)] == [3, 1, 1]
    assert [cut.recall, edge.recall] == pytest.approx([1.0, 10 / 210])
    assert inside.recall == pytest.approx(10 / 210)
    assert nothing == Threshold(0.99, None, 0, 0.0)


def test_labels_missing_from_a_stratum_leave_what_lies_above_it() -> None:
    given_ = pairs_of([0.94, 0.96, 0.999], [1, -1, 1], [0, 0, 30, 10, 0, 0, 5])
    found = {one.threshold: one for one in curve(given_, [])}
    assert found[0.93].precision is found[0.95].precision is None
    assert found[0.9925].precision is not None
    assert found[0.9925].recall is None


def test_from_a_threshold_on_is_at_every_higher_one() -> None:
    def one(threshold: float, share: float | None, low: float = 0.0) -> Threshold:
        interval = None if share is None else Interval(share, low, 1.0)
        return Threshold(threshold, interval, 5, None)

    found = [one(0.8, 0.995), one(0.85, 0.7), one(0.9, 0.99, 0.9), one(0.95, 1.0, 0.99)]
    for wanted, surely, expected in [
        (0.99, False, 0.9),
        (0.99, True, 0.95),
        (0.5, False, 0.8),
        (0.995, True, None),
    ]:
        best = reaching([*found, one(0.99, None)], wanted, surely=surely)
        assert (best and best.threshold) == expected


# Shares of copies by stratum, rising with similarity, and pairs of three classes, of which the
# second and the third are known by a sample of their images.
SHARES = {
    "clear": (0.0, 0.2, 0.8, 0.97, 1.0, 1.0, 1.0),
    "hard": (0.0, 0.05, 0.3, 0.6, 0.8, 0.95, 0.99),
    "easy": (0.5, 0.9, 0.98, 0.99, 1.0, 1.0, 1.0),
}
SAMPLED = np.array(
    [[4000, 1500, 900, 400, 200, 90, 25], [9000, 600, 300, 200, 60, 10, 4], [50, 5, 3, 2, 3, 0, 9]]
)
SCALE = [Fraction(1), Fraction(11, 2), Fraction(40)]


def labelled(rng: np.random.Generator, same: list[list[NDArray[np.bool_]]]) -> Pairs:
    """200 pairs of these, drawn and labelled. same: by class and stratum."""
    similarity, weight, label = [], [], []
    held = [
        float(sum(w * int(k) for w, k in zip(SCALE, SAMPLED[:, s], strict=True))) for s in range(7)
    ]
    numbers = allocated(SAMPLED.sum(axis=0).tolist(), 200)
    for s, number in enumerate(numbers):
        start = Fraction(int(rng.integers(2**62)), 2**62)
        found = draw(SAMPLED[:, s].tolist(), SCALE, number, start)
        for c, count in enumerate(found.pairs):
            similarity += [(EDGES[s] + EDGES[s + 1]) / 2] * count
            weight += [found.weight[c]] * count
            label += rng.permutation(same[c][s])[:count].astype(int).tolist()
    place = np.searchsorted(EDGES, similarity) - 1
    return Pairs(
        np.array(similarity),
        EDGES[place],
        EDGES[place + 1],
        np.array(held)[place],
        np.array(weight),
        np.array(label),
    )


@pytest.mark.parametrize("kind", SHARES)
def test_the_estimate_is_unbiased_and_its_interval_holds_the_truth(kind: str) -> None:
    """95 of 100 times, about: at 400 draws 92 and more."""
    rng = np.random.default_rng(5)
    same = [
        [rng.permutation(k) < round(p * k) for k, p in zip(row, SHARES[kind], strict=True)]
        for row in SAMPLED.tolist()
    ]
    copies = np.array(
        [[float(w) * y.sum() for y in row] for w, row in zip(SCALE, same, strict=True)]
    )
    every = np.array([[float(w) * k for k in row] for w, row in zip(SCALE, SAMPLED, strict=True)])
    truth = copies.sum(0)[::-1].cumsum()[::-1] / every.sum(0)[::-1].cumsum()[::-1]
    runs = [curve(labelled(rng, same), []) for _ in range(400)]
    for place in range(7):
        found = [run[place].precision for run in runs]
        shares = np.array([one.share for one in found if one])
        assert len(shares) == 400
        error = shares.std() / math.sqrt(len(shares)) + 1e-12
        assert abs(shares.mean() - truth[place]) < 4 * error
        inside = np.mean(
            [one.low - 1e-12 <= truth[place] <= one.high + 1e-12 for one in found if one]
        )
        assert inside >= 0.92


def drawn_pairs(seed: int, count: int = 300) -> Pairs:
    """Pairs of two strata of unlike weights, each labelled."""
    draw_ = np.random.default_rng(seed)
    similarity = draw_.uniform(0.5, 1, count)
    upper = similarity > 0.75
    low, high = np.where(upper, 0.75, 0.5), np.where(upper, 1.0, 0.75)
    weight = np.where(upper, 2.0, 10.0)
    population = np.where(upper, weight[upper].sum(), weight[~upper].sum())
    label = (draw_.uniform(size=count) < similarity).astype(np.int64)
    return Pairs(similarity, low, high, population, weight, label)


def test_a_part_that_is_a_threshold_is_as_on_the_curve() -> None:
    pairs = drawn_pairs(1)
    for estimate in curve(pairs, []):
        part = of_part(pairs, pairs.similarity > estimate.threshold)
        assert part.precision == estimate.precision
        assert (part.pairs, part.recall) == (estimate.pairs, estimate.recall)


def test_a_part_across_the_strata_is_weighted() -> None:
    """The share and the recall are those of the sums of weights."""
    pairs = drawn_pairs(2)
    inside = np.random.default_rng(3).uniform(size=300) < 0.4
    part = of_part(pairs, inside)
    copies = pairs.weight * (pairs.label == 1)
    assert part.precision is not None
    assert part.precision.share == pytest.approx(copies[inside].sum() / pairs.weight[inside].sum())
    assert part.precision.low < part.precision.share < part.precision.high
    assert part.recall == pytest.approx(copies[inside].sum() / copies.sum())
    assert part.pairs == inside.sum()


def test_a_part_without_labels_or_pairs_has_no_precision() -> None:
    pairs = drawn_pairs(4)
    inside = pairs.similarity > 0.75
    assert of_part(pairs, np.zeros(300, np.bool_)) == Part(None, 0, 0.0)
    pairs.label[inside] = -1
    assert of_part(pairs, inside) == Part(None, 0, None)
    lower = of_part(pairs, ~inside)
    assert lower.precision is not None
    assert lower.recall is None
