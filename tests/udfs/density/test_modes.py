"""Which modes are more than chance: noise has one, clusters as many as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.density import histogram, modes
from udfs.density.marginal import Marginal

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


LEVEL, DRAWS = 0.05, 200


counts_of = st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(
    lambda counts: counts[0] > 0 and counts[-1] > 0
)


def mixed(centres: list[float], shares: list[float]) -> Draw:
    """A mixture of normals of deviation 1."""
    return lambda rng, n: rng.normal(size=n) + rng.choice(centres, n, p=shares)


ONE: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "gamma": lambda rng, n: rng.gamma(2, size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "t with 3 degrees": lambda rng, n: rng.standard_t(3, size=n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
}


MORE: dict[str, tuple[Draw, list[float]]] = {
    "halves": (mixed([-2.5, 2.5], [0.5, 0.5]), [-2.5, 2.5]),
    "80 to 20": (mixed([-2.5, 2.5], [0.8, 0.2]), [-2.5, 2.5]),
    "thirds": (mixed([-5, 0, 5], [0.3, 0.4, 0.3]), [-5, 0, 5]),
    "long tails": (
        lambda rng, n: rng.standard_t(3, size=n) + rng.choice([-4, 4], n, p=[0.7, 0.3]),
        [-4, 4],
    ),
}


def found(draw: Draw, n: int, times: int) -> list[modes.Modes]:
    """The modes of so many samples, at Scott's step."""
    rng = np.random.default_rng(n)
    samples = [draw(rng, n) for _ in range(times)]
    return [
        modes.stable(histogram.from_values(x, histogram.step_of(x)), DRAWS, LEVEL) for x in samples
    ]


@pytest.mark.parametrize(("n", "times"), [(100, 60), (700, 60), (5000, 40), (50_000, 13)])
@pytest.mark.parametrize("name", ONE)
def test_noise_is_no_mode(name: str, n: int, times: int) -> None:
    several = sum(one.stable > 1 for one in found(ONE[name], n, times))
    assert several <= 0.08 * times


@pytest.mark.parametrize(("n", "times"), [(500, 40), (5000, 10)])
@pytest.mark.parametrize("name", MORE)
def test_clusters_are_found_where_they_are(name: str, n: int, times: int) -> None:
    draw, centres = MORE[name]
    right = [one for one in found(draw, n, times) if one.stable == len(centres)]
    assert len(right) >= 0.95 * times
    assert all(one.p_value <= LEVEL for one in right)
    positions = np.array([one.positions for one in right])
    assert np.median(positions, axis=0) == pytest.approx(np.array(centres), abs=0.4)


@settings(deadline=None)
@given(counts_of, st.floats(0, 1))
def test_levels_are_the_minimum_they_are_defined_by(counts: list[int], share: float) -> None:
    """Σ (u_i − n_i) from the left, from ε on, stays within ±ε: ε where u jumps up, −ε down."""
    whole = modes.flattened(np.array(counts))
    flat = modes.flattened(np.array(counts), penalty=share * whole.penalty)
    levels, penalty = flat.levels(), flat.penalty
    assert levels.shape == (len(counts),)
    jumps = np.diff(levels, prepend=0, append=0)
    sums = penalty + np.concatenate([[0.0], np.cumsum(levels - counts)])
    rounding = 1e-7
    assert (np.abs(sums) <= penalty + rounding).all()
    up, down = jumps > rounding, jumps < -rounding
    np.testing.assert_allclose(sums[up], penalty, atol=rounding)
    np.testing.assert_allclose(sums[down], -penalty, atol=rounding)


@settings(deadline=None)
@given(counts_of)
def test_modes_vanish_one_by_one_and_first_are_the_splines(counts: list[int]) -> None:
    cells = histogram.Histogram(0.0, 1.0, np.array(counts))
    own = Marginal(cells).modes()
    flats = [modes.flattened(cells.counts, k) for k in range(len(own), 0, -1)]
    penalties = [flat.penalty for flat in flats]
    assert penalties[0] == 0
    assert penalties == sorted(penalties)
    assert [flat.modes for flat in flats] == [len(flat.tops()) for flat in flats]
    assert [flat.modes for flat in flats] == list(range(len(own), 0, -1))
    np.testing.assert_array_equal(flats[0].levels(), counts)
    mirrored = modes.flattened(cells.counts[::-1])
    assert mirrored.penalty == pytest.approx(penalties[-1])
    np.testing.assert_allclose(mirrored.levels()[::-1], flats[-1].levels(), atol=1e-9)


def test_two_modes_by_hand() -> None:
    """The tops of 6 and 4 sink by 2ε, the valley of 0 rises by 2ε: 4 and it meet at ε = 1."""
    flat = modes.flattened(np.array([6, 0, 4]))
    assert (flat.modes, flat.penalty) == (1, 1.0)
    assert flat.levels().tolist() == [4, 2, 2]
    assert flat.tops() == [slice(0, 1)]


def test_a_histogram_of_one_mode_needs_no_draws() -> None:
    cells = histogram.Histogram(-2.0, 2.0, np.array([1, 4, 2]))
    one = modes.stable(cells, DRAWS, LEVEL)
    assert (one.stable, one.p_value) == (1, 1.0)
    assert one.positions == pytest.approx(Marginal(cells).modes())


@settings(deadline=None)
@given(counts_of.map(lambda counts: [count % 4 + (count > 0) for count in counts]))
def test_positions_rise_within_the_histogram(counts: list[int]) -> None:
    """Small counts: many tops meet both their neighbours at once."""
    cells = histogram.Histogram(0.0, 1.0, np.array(counts))
    one = modes.stable(cells, 19, LEVEL)
    assert one.positions.shape == (one.stable,)
    assert (np.diff(one.positions) > 0).all()
    assert (np.abs(one.positions - (len(counts) - 1) / 2) <= len(counts) / 2).all()


def test_the_same_seed_gives_the_same_and_too_few_draws_are_refused() -> None:
    x = np.random.default_rng(0).random(300)
    cells = histogram.from_values(x, histogram.step_of(x))
    first, again = (modes.stable(cells, DRAWS, LEVEL, seed=3) for _ in range(2))
    assert (first.stable, first.p_value) == (again.stable, again.p_value)
    assert modes.least_draws(0.05) == 19
    modes.stable(cells, 19, LEVEL)
    with pytest.raises(ValueError, match="must be at least 19"):
        modes.stable(cells, 18, LEVEL)


def test_parts_are_the_clusters_whatever_the_units_of_the_axes() -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice(3, 600, p=[0.5, 0.1, 0.4])
    points = rng.normal(size=(600, 2)) * [1, 100]
    points += np.array([[-6, 0], [0, 800], [6, 0]])[truth]
    found = modes.parts(points, 0, np.array([-6.0, 0.0, 6.0]))
    assert (found == truth + 1).mean() > 0.99
    again = modes.parts(points, 0, np.array([-6.0, 0.0, 6.0]))
    np.testing.assert_array_equal(found, again)
    two = modes.parts(points, 0, np.array([-6.0, 4.0, 900.0]))  # no point is nearest to the last
    assert set(two.tolist()) == {1, 2}
