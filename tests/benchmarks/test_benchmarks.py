from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import densities, growth, rules
from tests.support.vectors import KINDS, images, sim
from udfs.duplicates.greedy import covers
from udfs.vectors.cosine import Matrix
from udfs.vectors.pairs import similar_pairs


def arc(*degrees: float) -> Matrix:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "ours", "earlier", "component"),
    [
        ((0, 10, 20), [1, 0, 1], [1, 0, 0], [1, 0, 0]),  # a chain: the last is like no kept one
        ((0, 20, 10), [1, 1, 0], [1, 1, 0], [1, 0, 0]),  # the last joins two that are unlike
        ((0, 20, 40), [1, 1, 1], [1, 1, 1], [1, 1, 1]),
    ],
)
def test_rules_by_hand(
    degrees: tuple[float, ...], ours: list[int], earlier: list[int], component: list[int]
) -> None:
    threshold = float(np.cos(np.radians(12)))
    found = rules.outcomes("", arc(*degrees), [threshold], 1)
    kept = {one.rule: one.images - one.removed for one in found}
    assert kept == {
        rules.OURS: sum(ours),
        rules.EARLIER: sum(earlier),
        rules.COMPONENT: sum(component),
    }
    pairs = similar_pairs(arc(*degrees), threshold)
    assert rules.any_earlier(*pairs, 3).tolist() == [bool(one) for one in earlier]
    assert rules.one_per_component(*pairs, 3).tolist() == [bool(one) for one in component]


def test_what_nothing_stands_for_is_counted() -> None:
    threshold = float(np.cos(np.radians(12)))
    found = {one.rule: one for one in rules.outcomes("", arc(0, 10, 20), [threshold], 1)}
    assert (found[rules.OURS].alone, found[rules.OURS].drop) == (0, 0.0)
    assert found[rules.EARLIER].alone == found[rules.COMPONENT].alone == 1
    drop = threshold - np.cos(np.radians(20))
    assert found[rules.EARLIER].drop == pytest.approx(drop, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from(KINDS), st.integers(1, 25), st.integers(1, 30))
def test_rules_keep_less_and_less(seed: int, kind: str, count: int, width: int) -> None:
    rows = images(np.random.default_rng(seed), kind, count, width)
    pairs = similar_pairs(rows, 0.5)
    ours = covers(None, rows, [0.5])[0].kept
    earlier = rules.any_earlier(*pairs, count)
    component = rules.one_per_component(*pairs, count)
    assert not (earlier & ~ours).any()
    assert not (component & ~earlier).any()
    for kept in (ours, earlier, component):
        nearest = [
            max(sim(rows[i], rows[j]) for j in np.flatnonzero(kept) if rows[j].any())
            for i in np.flatnonzero(~kept)
        ]
        assert rules.nearest_kept(rows, kept).tolist() == nearest


def test_the_squared_error_of_a_known_estimate() -> None:
    """∫(N(0, 1) − N(0, s²))² = 1/√(4π) + 1/(s√(4π)) − 2/√(2π(1 + s²)); of bars, by hand."""
    truth, _, _, uniform = densities.TRUTHS
    s = 1.5
    expected = (1 + 1 / s) / np.sqrt(4 * np.pi) - 2 / np.sqrt(2 * np.pi * (1 + s * s))
    for points in (densities.POINTS, densities.POINTS_OF_KERNELS):
        found = truth.squared_error(lambda t: truth.density(t / s) / s, points)
        assert found == pytest.approx(expected, rel=1e-6)
        assert truth.squared_error(truth.density, points) == 0
        half = uniform.squared_error(lambda t: np.where((t > 0) & (t < 0.5), 2.0, 0.0), points)
        assert half == pytest.approx(1.0)


@pytest.mark.parametrize("truth", densities.TRUTHS, ids=lambda truth: truth.name)
def test_every_method_comes_near_the_truth(truth: densities.Truth) -> None:
    """Draws follow the density, and every estimate integrates to 1 within the bounds."""
    found = densities.errors(truth, {2000: 1})
    assert found[densities.SPLINE][2000][0] < 0.05
    values = truth.draw(np.random.default_rng(0), 2000)
    for fit in densities.METHODS.values():
        t = np.linspace(truth.low, truth.high, 6001)
        assert fit(values)(t).sum() * (t[1] - t[0]) == pytest.approx(1, abs=0.01)
    drawn = densities.figure({truth.name: found for truth in densities.TRUTHS})
    assert len(drawn.axes) == len(densities.TRUTHS)


def test_seconds_are_taken_apart() -> None:
    sizes = [(12_500, 4_000), (25_000, 9_000), (100_000, 35_000), (1_000_000, 350_000)]
    rows = [(n, kept, 9 + 2e-4 * n + 4e-10 * n * kept) for n, kept in sizes]
    parts, deviation = growth.made_of(rows)
    assert np.allclose(parts, [9, 2e-4, 4e-10])
    assert deviation < 1e-9
    _, deviation = growth.made_of([(n, kept, t * (1 + (n == 25_000))) for n, kept, t in rows])
    assert deviation > 0.1
