"""All similarities of a class, beside their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vectors import KINDS, images, sim, spectral
from udfs.evaluation import pair_histogram
from udfs.evaluation.pair_histogram import (
    STEP,
    class_similarities,
    heat_map,
    pair_id,
    pair_keys,
    row_keys,
)
from udfs.vectors.cosine import Matrix

EDGES = [0.25, 0.5, 0.75, 0.9375, 1.0]  # edges of bins too: Sim of whole numbers lies on them


def named(count: int) -> list[str]:
    return [f"class/{i:04}ü.png" for i in range(count)]


def definition(rows: Matrix) -> dict[tuple[int, int], float]:
    found = {
        (i, j): sim(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows))
    }
    return {pair: value for pair, value in found.items() if not math.isnan(value)}


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(0, 30),
    st.integers(1, 6),
    st.integers(1, 9),
)
def test_counts_and_pairs_are_those_of_every_two_images(
    seed: int, kind: str, count: int, width: int, most: int
) -> None:
    rows = images(np.random.default_rng(seed), kind, count, width)
    keys = row_keys(named(count), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_histogram, "_ROWS", 7)
        found = class_similarities(rows, EDGES, keys, most)
    expected = definition(rows)
    for place, number in enumerate(found.bins.counts.tolist()):
        low = found.bins.origin + place * STEP
        assert number == sum(low <= value < low + STEP for value in expected.values())
    assert found.bins.counts.sum() == len(expected)
    assert not len(found.bins.counts) or found.bins.counts[[0, -1]].all()

    drawn = found.drawn
    for stratum, (low, high) in enumerate(itertools.pairwise(EDGES)):
        inside = [pair for pair, value in expected.items() if low < value <= high]
        assert found.population[stratum] == len(inside)
        codes = {pair: int(pair_keys(keys[[pair[0]]], keys[[pair[1]]])[0]) for pair in inside}
        wanted = sorted(inside, key=lambda pair: (codes[pair], pair))[:most]
        own = drawn.stratum == stratum
        pairs = list(zip(drawn.i[own].tolist(), drawn.j[own].tolist(), strict=True))
        assert pairs == wanted
        assert drawn.similarity[own].tolist() == [expected[pair] for pair in pairs]


def test_copies_lie_in_the_bin_that_begins_at_one() -> None:
    """A float64 product would put half of them below 1."""
    rows = np.repeat(spectral(1, 40, 2), 30, axis=0)
    found = class_similarities(rows, [0.99, 1.0], row_keys(named(30), 0), 5)
    assert (found.bins.origin, found.bins.counts.tolist()) == (1.0, [435])
    assert found.population.tolist() == [435]


def test_without_strata_nothing_is_drawn() -> None:
    found = class_similarities(spectral(20, 8, 1), [], row_keys(named(20), 0), 5)
    assert found.bins.counts.sum() == 190
    assert not len(found.population)
    assert not len(found.drawn.i)


def test_a_class_of_nothing_has_no_similarities() -> None:
    for rows in (np.zeros((3, 4), np.float32), np.empty((0, 4), np.float32)):
        found = class_similarities(rows, EDGES, row_keys(named(len(rows)), 0), 5)
        assert (found.bins.origin, len(found.bins.counts)) == (0.0, 0)
        assert found.population.tolist() == [0] * 4


@pytest.mark.parametrize("lowest", [0.0, -1.0])
def test_a_heat_map_shows_every_similarity(lowest: float) -> None:
    rows = np.random.default_rng(1).normal(size=(12, 6)).astype(np.float32)
    rows[3] = 0
    rows[8] = rows[2]
    found = heat_map(rows, lowest)
    assert found.shape == (12, 12)
    assert found.dtype == np.uint8
    assert (found == found.T).all()
    for i in range(12):
        for j in range(12):
            value = sim(rows[i], rows[j])
            share = 0.0 if math.isnan(value) else max(0.0, (value - lowest) / (1 - lowest))
            assert abs(found[i, j] - 255 * share) <= 0.5 + 1e-9
    assert found[8, 2] == found[0, 0] == 255
    assert not found[3].any()


def test_keys_of_pairs_are_as_good_as_random() -> None:
    keys = row_keys(named(300), 1)
    i, j = np.triu_indices(300, 1)
    numbers = np.sort(pair_keys(keys[i], keys[j]) / 2.0**64)
    apart = np.abs(numbers - (np.arange(len(numbers)) + 0.5) / len(numbers)).max()
    assert apart < 1.63 / math.sqrt(len(numbers))  # Kolmogorov and Smirnov's, at 1 %
    assert len(np.unique(numbers)) == len(numbers)
    other = row_keys(named(300), 2)
    assert (pair_keys(other[i], other[j]) != pair_keys(keys[i], keys[j])).all()


def test_a_pair_has_one_name() -> None:
    assert pair_id("raw", "a", "b") == pair_id("raw", "b", "a")
    assert (
        len({pair_id("raw", "a", "b"), pair_id("whitened", "a", "b"), pair_id("raw", "a", "c")})
        == 3
    )
