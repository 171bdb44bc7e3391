from __future__ import annotations

import numpy as np
import pytest

from tests.test_bounds import spectral, units
from udfs.whitening import AXES, Moments, Whitening


def test_whitened_vectors_have_unit_covariance() -> None:
    rows = spectral(3000, 200, 1)
    rows[5] = 0
    whiten = Whitening.fitted(Moments.of(rows))
    found = whiten(rows)
    assert found.dtype == np.float32
    assert found.shape[1] == len(whiten.axes) <= AXES
    assert not found[5].any()
    others = np.delete(found, 5, axis=0).astype(np.float64)
    assert np.allclose(others.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(np.cov(others.T), np.eye(found.shape[1]), atol=2e-3)


def test_axes_are_those_of_the_covariance_of_unit_vectors() -> None:
    rows = spectral(800, 30, 2)
    whiten = Whitening.fitted(Moments.of(rows))
    values = np.linalg.eigvalsh(np.cov(units(rows).astype(np.float64).T))[::-1]
    wanted = values[values > 1e-6 * values[0]]
    assert np.allclose(whiten.deviations**2, wanted, rtol=1e-6)
    largest = np.take_along_axis(whiten.axes, np.abs(whiten.axes).argmax(1)[:, None], axis=1)
    assert (largest > 0).all()


@pytest.mark.parametrize(("latents", "most", "axes"), [(60, 256, 30), (60, 12, 12), (2, 256, 1)])
def test_at_most_half_as_many_axes_as_latents(latents: int, most: int, axes: int) -> None:
    rows = spectral(latents + 1, 200, 5)
    rows[0] = 0  # is none of them
    assert len(Whitening.fitted(Moments.of(rows), most).axes) == axes


def test_a_copy_in_a_small_set_stays_near() -> None:
    """With an axis for every latent all cosines would be alike, copy or not."""
    rows = spectral(61, 200, 6)
    rows[60] = rows[0] * np.float32(1.01) + np.float32(1e-3)
    found = (
        units(Whitening.fitted(Moments.of(rows))(rows))
        @ units(Whitening.fitted(Moments.of(rows))(rows)).T
    )
    assert found[60, 0] > 0.9
    assert np.triu(found[:60, :60], 1).max() < 0.9


def test_a_vector_does_not_depend_on_what_comes_with_it() -> None:
    rows = spectral(2500, 40, 3)
    whiten = Whitening.fitted(Moments.of(rows))
    whole = whiten(rows)
    for some in (slice(0, 1), slice(1000, 2400), slice(2499, 2500)):
        assert np.array_equal(whiten(rows[some]), whole[some])


def test_moments_add_up() -> None:
    rows = spectral(2048, 10, 4)
    both = Moments.of(rows[:1024]) + Moments.of(rows[1024:])
    whole = Moments.of(rows)
    assert both.count == whole.count == 2048
    assert np.array_equal(both.total, whole.total)
    assert np.array_equal(both.products, whole.products)


def test_scale_of_a_latent_does_not_matter() -> None:
    rows = spectral(500, 12, 5)
    whiten = Whitening.fitted(Moments.of(rows))
    assert np.array_equal(whiten(rows * np.float32(4)), whiten(rows))


def test_what_has_no_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="1 latents are not zero"):
        Whitening.fitted(Moments.of(np.array([[0, 0], [1, 2]], np.float32)))
    with pytest.raises(ValueError, match="one direction"):
        Whitening.fitted(Moments.of(np.ones((9, 3), np.float32)))
    same = np.random.default_rng(6).random((1, 64), np.float32).repeat(1000, axis=0)
    with pytest.raises(ValueError, match="one direction"):
        Whitening.fitted(Moments.of(same))


def test_fewer_axes_are_the_leading_ones() -> None:
    rows = np.abs(np.random.default_rng(0).normal(size=(300, 40))).astype(np.float32)
    moments = Moments.of(rows)
    whole, few = Whitening.fitted(moments), Whitening.fitted(moments, 5)
    assert len(few.axes) == 5
    assert np.allclose(few.axes, whole.axes[:5], atol=1e-9)
    assert np.allclose(few.deviations, whole.deviations[:5])
