"""Principal axes against their definition, and repeatable to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.densities import cloud
from udfs.density import pca


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(2, 60), st.integers(2, 40), st.integers(1, 5))
def test_axes_by_definition(seed: int, n: int, width: int, components: int) -> None:
    latents = cloud(seed, n, width)
    axes = pca.principal_axes(latents, components)
    wide = latents.astype(np.float64)
    covariance = np.cov(wide, rowvar=False).reshape(width, width)
    values = np.linalg.eigvalsh(covariance)[::-1]
    k = min(components, n - 1, width)
    assert axes.axes.shape == (k, width)
    assert np.allclose(axes.mean, wide.mean(axis=0))
    assert np.allclose(axes.eigenvalues, values[:k], rtol=1e-9)
    assert np.allclose(covariance @ axes.axes.T, axes.axes.T * axes.eigenvalues, atol=1e-9)
    assert np.allclose(axes.axes @ axes.axes.T, np.eye(k), atol=1e-10)
    largest = np.argmax(np.abs(axes.axes), axis=1)
    assert (axes.axes[np.arange(k), largest] > 0).all()
    projections = pca.project(latents, axes)
    assert np.allclose(projections, (wide - axes.mean) @ axes.axes.T, atol=1e-9)
    assert np.allclose(projections.var(axis=0, ddof=1), axes.eigenvalues, rtol=1e-7)


def test_of_equal_entries_the_first_is_positive() -> None:
    latents = np.array([[1, -1], [-1, 1], [2, -2], [-2, 2]], np.float32)
    axes = pca.principal_axes(latents, 1)
    assert axes.axes[0] == pytest.approx([2**-0.5, -(2**-0.5)])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_classes_have_fewer_components(n: int) -> None:
    axes = pca.principal_axes(cloud(1, n, 8), 3)
    assert len(axes.axes) == n - 1
    assert pca.project(cloud(1, n, 8), axes).shape == (n, n - 1)


def test_equal_images_have_no_component() -> None:
    latents = np.tile(cloud(2, 1, 16), (30, 1))
    axes = pca.principal_axes(latents, 3)
    assert axes.axes.shape == (0, 16)


@pytest.mark.parametrize("n", [900, 1500, 3000])
def test_projections_do_not_depend_on_the_other_rows(n: int) -> None:
    latents = cloud(3, n, 32)
    axes = pca.principal_axes(latents, 3)
    whole = pca.project(latents, axes)
    parts = [pca.project(latents[start : start + 7], axes) for start in range(0, 70, 7)]
    assert np.array_equal(np.concatenate(parts), whole[:70])
    assert np.array_equal(pca.principal_axes(latents.copy(), 3).axes, axes.axes)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_groups_apart_add_up_to_the_whole(group: int) -> None:
    """Bit for bit: what one task does with a class, and what its groups and a driver do."""
    latents = cloud(4, 4500, 48)
    whole = pca.principal_axes(latents, 3, group)
    parts = [part.copy() for part in pca.groups(latents, group)]
    assert [len(part) for part in parts] == [
        min(group * pca.BLOCK, 4500 - start) for start in range(0, 4500, group * pca.BLOCK)
    ]
    centre = pca.centre(pca.added(pca.sums(part) for part in parts), len(latents))
    total = pca.added(pca.products(part, centre.mean) for part in parts)
    axes = pca.from_products(total, centre, 3)
    for name in ("mean", "axes", "eigenvalues"):
        assert np.array_equal(getattr(axes, name), getattr(whole, name)), name
    projections = pca.project(latents, whole)
    apart = [pca.project(part, axes) for part in parts]
    assert np.array_equal(np.concatenate(apart), projections)
    spread = pca.merged(pca.spread(part) for part in apart)
    again = pca.merged(pca.spread(part) for part in pca.groups(projections, group))
    assert np.array_equal(spread.sigma, again.sigma)
    assert spread.n == len(latents)
    assert np.allclose(spread.sigma, projections.std(axis=0), rtol=1e-12)
    assert np.array_equal(spread.lowest, projections.min(axis=0))
    assert np.array_equal(spread.highest, projections.max(axis=0))


def test_the_order_of_a_sum_shows_in_its_last_bits() -> None:
    """Else the fixed order would prove nothing."""
    latents = cloud(4, 4500, 48)
    mean = latents.mean(axis=0, dtype=np.float64)
    parts = [pca.products(part, mean) for part in pca.groups(latents, 1)]
    assert not np.array_equal(pca.added(parts), pca.added(reversed(parts)))
