"""How pairs are drawn in strata: edges by hand, and laws of the draw."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from udfs.evaluation.strata import Draw, allocated, draw, edges, registration_edges, scale

thresholds = st.lists(st.floats(-1, 1).map(lambda t: round(t, 3)), max_size=8)
classes = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=8)


def test_edges_by_hand() -> None:
    """1 − Sim is .28, .14, .07, .05, .03, .015, .0075, 0."""
    assert edges([0.93, 0.97, 0.95]) == [0.72, 0.86, 0.93, 0.95, 0.97, 0.985, 0.9925, 1.0]
    assert edges([0.5, 0.9]) == [-1.0, 0.0, 0.5, 0.707598, 0.829002, 0.9, 0.95, 0.975, 1.0]
    assert edges([]) == edges([1.0]) == []


def test_edges_of_registration_by_hand() -> None:
    assert registration_edges(0.5) == [0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0]
    assert registration_edges(0.4) == [0.2, 0.3, 0.4, 0.52, 0.7, 0.88, 1.0]
    assert registration_edges(1) == [0.8, 0.9, 1.0]


@given(thresholds)
def test_every_threshold_is_an_edge_and_no_stratum_is_wide(values: list[float]) -> None:
    found = edges(values)
    wanted = {t for t in values if -1 <= t < 1}
    assert wanted <= set(found)
    assert bool(found) == bool(wanted)
    if not wanted:
        return
    assert found[-1] == 1
    assert found[0] == pytest.approx(max(-1.0, 1 - 4 * (1 - min(wanted))), abs=1e-6)
    for low, high in pairwise(found[:-1]):
        assert low < high
        assert (1 - low) <= 2.001 * (1 - high)


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_an_allocation_is_as_nearly_equal_as_can_be(available: list[int], total: int) -> None:
    taken = allocated(available, total)
    assert sum(taken) == min(total, sum(available))
    assert all(0 <= n <= most for n, most in zip(taken, available, strict=True))
    most = max(taken, default=0)
    for n, there in zip(taken, available, strict=True):
        assert n == there or n >= most - 1


@settings(deadline=None)
@given(classes, st.integers(0, 40), st.fractions(0, 1).filter(lambda u: u < 1))
def test_a_draw_stands_for_all_pairs(
    given_: list[tuple[int, int]], number: int, start: Fraction
) -> None:
    pairs, scales = [k for k, _ in given_], [Fraction(w) for _, w in given_]
    number = min(number, sum(pairs))
    found = draw(pairs, scales, number, start)
    assert sum(found.pairs) == number
    assert all(0 <= a <= k for a, k in zip(found.pairs, pairs, strict=True))
    weights = sum(a * w for a, w in zip(found.pairs, found.weight, strict=True))
    if number:
        assert weights == pytest.approx(
            float(sum(w * k for w, k in zip(scales, pairs, strict=True)))
        )
    if number == sum(pairs):
        assert found.pairs == pairs


@settings(deadline=None, max_examples=25)
@given(classes, st.integers(1, 40))
def test_over_all_starts_each_class_is_weighed_as_it_is(
    given_: list[tuple[int, int]], number: int
) -> None:
    """E(a_c·weight_c) = w_c·K_c exactly: so any sum over pairs is estimated without bias."""
    pairs, scales = [k for k, _ in given_], [Fraction(w) for _, w in given_]
    number = min(number, sum(pairs))
    assume(number > 0)
    grid = [Fraction(2 * i + 1, 600) for i in range(300)]
    found = [draw(pairs, scales, number, start) for start in grid]
    for c, (k, w) in enumerate(zip(pairs, scales, strict=True)):
        mean = np.mean([one.pairs[c] * one.weight[c] for one in found])
        assert mean == pytest.approx(float(w * k), abs=max(found[0].weight) / 150)


def test_the_estimate_of_a_draw_is_unbiased() -> None:
    """Pairs drawn of each class by a random key, and of the classes by their weights."""
    rng = np.random.default_rng(0)
    pairs, scales = [40, 7, 300, 2], [Fraction(5, 2), Fraction(30), Fraction(1), Fraction(80)]
    same = [rng.random(k) < p for k, p in zip(pairs, (0.9, 0.1, 0.9, 0.0), strict=True)]
    truth = sum(float(w) * y.sum() for w, y in zip(scales, same, strict=True))

    def estimate(found: Draw) -> float:
        drawn = [rng.permutation(y)[:a] for y, a in zip(same, found.pairs, strict=True)]
        return math.fsum(w * y.sum() for w, y in zip(found.weight, drawn, strict=True))

    found = [
        estimate(draw(pairs, scales, 30, Fraction(rng.integers(2**62).item(), 2**62)))
        for _ in range(4000)
    ]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - truth) < 3.3 * error
    # As if every pair stood for as many, it would not be.
    plain = (
        float(sum(w * k for w, k in zip(scales, pairs, strict=True)))
        / 349
        * sum(y.sum() for y in same)
    )
    assert abs(plain - truth) > 30 * error


def test_more_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="4 pairs cannot be drawn of 3"):
        draw([3], [Fraction(1)], 4, Fraction(0))


def test_a_sample_of_images_is_scaled_by_its_pairs() -> None:
    assert scale(5, 5) == 1
    assert scale(1, 1) == 0
    assert scale(100, 10) == Fraction(9900, 90)
