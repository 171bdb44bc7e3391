from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.vectors import spectral, units
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import AXES, FEW, FLOOR, Moments, Whitening


def second_moments(rows: Matrix) -> NDArray[np.float64]:
    """Of unit vectors, in float64."""
    found = units(rows).astype(np.float64)
    return found.T @ found / len(found)


def test_axes_and_divisors_are_those_of_the_second_moments() -> None:
    rows = spectral(800, 30, 2)
    whiten = Whitening.fitted(Moments.of(rows))
    values = np.linalg.eigvalsh(second_moments(rows))[::-1]
    wanted = values[values > 1e-6 * values[0]] + FLOOR + FEW / 800
    assert np.allclose(whiten.deviations**2, wanted, rtol=1e-6)
    assert not whiten.mean.any()
    largest = np.take_along_axis(whiten.axes, np.abs(whiten.axes).argmax(1)[:, None], axis=1)
    assert (largest > 0).all()


def test_each_axis_counts_its_moment_over_that_and_the_floor() -> None:
    rows = spectral(3000, 200, 1)
    rows[5] = 0
    whiten = Whitening.fitted(Moments.of(rows))
    found = whiten(rows)
    assert found.dtype == np.float32
    assert found.shape[1] == len(whiten.axes) <= AXES
    assert not found[5].any()
    others = np.delete(found, 5, axis=0).astype(np.float64)
    values = np.linalg.eigvalsh(second_moments(np.delete(rows, 5, axis=0)))[::-1][
        : len(whiten.axes)
    ]
    wanted = values / (values + FLOOR + FEW / 2999)
    assert np.allclose(others.T @ others / 2999, np.diag(wanted), atol=1e-5)
    assert wanted[0] > 0.9


def scenes(count: int, copies: int, seed: int) -> Matrix:
    """So many latents, and so many more like each: cosines of one about 0.98, of two about 0.5."""
    draw = np.random.default_rng(seed)
    places = draw.normal(size=(count, 1024)) + 1
    near = np.repeat(places, copies, axis=0)
    return (near + 0.15 * draw.normal(size=near.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("count", "copies"), [(1, 2), (1, 30), (2, 10), (20, 10), (40, 50), (600, 2)]
)
def test_copies_stay_near_however_many_there_are(count: int, copies: int) -> None:
    """Were all axes to count the same, those that tell copies apart would part them."""
    rows = scenes(count, copies, 6)
    found = units(Whitening.fitted(Moments.of(rows))(rows))
    cosines = found @ found.T
    same = np.repeat(np.arange(count), copies)
    near = same[:, None] == same
    assert cosines[near].min() > 0.85
    assert cosines[~near].max(initial=-1) < 0.85


def test_a_vector_does_not_depend_on_what_comes_with_it() -> None:
    rows = spectral(2500, 40, 3)
    whiten = Whitening.fitted(Moments.of(rows))
    whole = whiten(rows)
    for some in (slice(0, 1), slice(1000, 2400), slice(2499, 2500)):
        assert np.array_equal(whiten(rows[some]), whole[some])


def test_moments_are_the_same_in_whatever_order_they_are_added() -> None:
    rows = spectral(2500, 10, 4)
    rows[7] = 0
    whole = Moments.of(rows)
    mixed = np.random.default_rng(0).permutation(rows)
    for first in (1, 900, 2499):
        both = Moments.of(mixed[first:]) + Moments.of(mixed[:first])
        assert both.count == whole.count == 2499
        assert np.array_equal(both.products, whole.products)
    units = rows[rows.any(axis=1)].astype(np.float64)
    units /= np.linalg.norm(units, axis=1)[:, None]
    assert np.abs(whole.mean_products - units.T @ units / 2499).max() < 1e-7


@given(st.integers(1, 9), st.integers(1, 5))
def test_moments_in_a_line_are_the_same(n: int, width: int) -> None:
    moments = Moments.of(np.random.default_rng(n).normal(size=(n, width)).astype(np.float32))
    twice = Moments.from_flat(moments.flat() + moments.flat())
    assert twice.count == 2 * n
    assert np.array_equal(twice.products, 2 * moments.products)


def test_moments_of_more_latents_than_fit_are_refused() -> None:
    many = Moments(2**26, np.diag([2**61, 2**61]))
    assert (many + many).products[0, 0] == 2**62
    with pytest.raises(ValueError, match="no room"):
        many + many + Moments(1, np.diag([1, 2**12]))


def test_scale_of_a_latent_does_not_matter() -> None:
    rows = spectral(500, 12, 5)
    whiten = Whitening.fitted(Moments.of(rows))
    assert np.array_equal(whiten(rows * np.float32(4)), whiten(rows))


def test_equal_latents_have_one_axis_and_no_latent_none() -> None:
    for rows in (np.array([[0, 0], [1, 2]]), np.ones((9, 3)), np.ones((1000, 64))):
        latents = rows.astype(np.float32)
        whiten = Whitening.fitted(Moments.of(latents))
        assert len(whiten.axes) == 1
        assert (whiten(latents).any(axis=1) == latents.any(axis=1)).all()
    with pytest.raises(ValueError, match="all latents are zero"):
        Whitening.fitted(Moments.of(np.zeros((2, 3), np.float32)))


def test_fewer_axes_are_the_leading_ones() -> None:
    rows = np.abs(np.random.default_rng(0).normal(size=(300, 40))).astype(np.float32)
    moments = Moments.of(rows)
    whole, few = Whitening.fitted(moments), Whitening.fitted(moments, 5)
    assert len(few.axes) == 5
    assert np.allclose(few.axes, whole.axes[:5], atol=1e-9)
    assert np.allclose(few.deviations, whole.deviations[:5])
