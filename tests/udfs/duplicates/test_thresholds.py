"""The thresholds that set themselves, beside their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vectors import KINDS, definition, images, sim, spectral
from udfs.density import histogram
from udfs.density.marginal import Marginal
from udfs.duplicates import thresholds
from udfs.duplicates.thresholds import (
    AngleMoments,
    BisectionSearch,
    keep_share,
    pair_angles,
    pair_rate,
)
from udfs.vectors.cosine import Matrix


def halved(kept: Callable[[float], int], share: float, images: int, low: float) -> float:
    """20 halvings of [low, 1], one threshold at a time."""
    need, high = math.ceil(round(share * images, 9)), 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if kept(middle) >= need:
            high = middle
        else:
            low = middle
    return high


def kept_by_definition(rows: Matrix, references: int) -> Callable[[float], int]:
    order = np.arange(len(rows) - references)

    def kept(threshold: float) -> int:
        found = definition(rows[:references], rows[references:], threshold, order)
        return references + int(np.count_nonzero(found.kept))

    return kept


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(1, 18),
    st.integers(1, 6),
    st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
    st.sampled_from([0.0, -1.0]),
    st.integers(0, 3),
    st.sampled_from([1, 4, 1024]),
)
def test_the_threshold_of_a_share_is_that_of_twenty_halvings(
    seed: int, kind: str, count: int, width: int, share: float, low: float, fixed: int, block: int
) -> None:
    rows = images(np.random.default_rng(seed), kind, count, width)
    references = min(fixed, count)
    found = keep_share(rows, share, low=low, references=references, block=block)
    assert found == halved(kept_by_definition(rows, references), share, count, low)


def test_a_share_is_found_alike_whether_pairs_are_listed_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = spectral(600, 40, 3)
    listed = [keep_share(rows, share) for share in (0.2, 0.5, 0.8)]
    monkeypatch.setattr(thresholds, "MOST_PAIRS", 10)
    assert [keep_share(rows, share) for share in (0.2, 0.5, 0.8)] == listed
    for share, threshold in zip((0.2, 0.5, 0.8), listed, strict=True):
        kept, fewer = thresholds.kept_counts(rows, [threshold, threshold - 2.0**-20])
        assert kept >= share * 600 > fewer


def test_a_share_that_nothing_reaches_is_one() -> None:
    """Twenty times the same image: at no T below 1 do ten stay."""
    rows = np.ones((20, 4), np.float32)
    assert keep_share(rows, 0.5) == 1.0
    assert keep_share(rows, 0.05) == 2.0**-20


def test_a_share_is_taken_as_it_is_written() -> None:
    """0.1 of 30 is 3, though 0.1 * 30 is more as a float."""
    assert BisectionSearch.of(0.1, 30, 0.0).needed == 3
    assert BisectionSearch.of(0.5, 7, 0.0).needed == 4


def test_angles_are_those_of_the_similarities() -> None:
    rows = spectral(30, 12, 1)
    rows[4] = 0
    rows[9] = rows[2]
    found = pair_angles(rows)
    some = [i for i in range(30) if i != 4]
    pairs = [(i, j) for place, i in enumerate(some) for j in some[place + 1 :]]
    expected = [math.acos(sim(rows[i], rows[j])) for i, j in pairs]
    assert np.allclose(found, expected, atol=3e-8)
    assert len(found) == 29 * 28 / 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.floats(0, math.pi), max_size=20), min_size=1, max_size=6))
def test_moments_of_classes_merge_to_those_of_all(classes: list[list[float]]) -> None:
    parts = [AngleMoments.of(np.array(values)) for values in classes]
    whole = AngleMoments.merged(parts)
    values = np.array([value for part in classes for value in part])
    assert whole.count == len(values)
    if len(values):
        assert math.isclose(whole.mean, values.mean(), rel_tol=1e-12, abs_tol=1e-12)
        squares = np.square(values - values.mean()).sum()
        assert math.isclose(whole.squares, squares, rel_tol=1e-9, abs_tol=1e-12)
        assert (whole.lowest, whole.highest) == (values.min(), values.max())


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.01, 0.3, 0.9])
def test_above_the_threshold_of_a_rate_lies_that_share_of_the_pairs(rate: float) -> None:
    rows = spectral(1200, 40, 2)
    values = pair_angles(rows)
    step = AngleMoments.of(values).step
    found = pair_rate(thresholds.angle_histogram(values, step), rate)
    cells, counts = np.unique(np.floor(values / step + 0.5), return_counts=True)
    model = Marginal(histogram.from_cells(cells.astype(np.int64), counts, step))
    theta = math.acos(found)
    assert float(model.cdf(theta) - model.cdf(-theta)) == pytest.approx(rate, abs=1e-9)
    # The model smooths: by a step at most.
    above = np.mean(values < theta + 1.5 * step)
    below = np.mean(values < theta - 1.5 * step)
    assert below <= rate <= above


def test_a_rate_has_no_threshold_above_that_of_copies() -> None:
    values = np.full(1000, 1e-9)
    assert pair_rate(thresholds.angle_histogram(values, 1e-6), 0.5) == thresholds.HIGHEST


def test_few_pairs_do_not_tell() -> None:
    values = AngleMoments.of(np.linspace(0.1, 1, 100))
    assert values.is_sufficient(0.1)
    assert not values.is_sufficient(0.09)
