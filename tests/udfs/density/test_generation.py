"""New observations: points of the density, and the latents made of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from udfs.density import generation, histogram, pca
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable
from udfs.vectors.cosine import Matrix


def cloud(n: int = 60, width: int = 12, middle: float = 5.0) -> Matrix:
    return np.random.default_rng(3).normal(middle, 1.0, (n, width)).astype(np.float32)


def model_of(projections: NDArray[np.float64]) -> Separable:
    return Separable(
        [
            Marginal(histogram.from_cells(np.floor(column / 0.5 + 0.5), np.ones(len(column)), 0.5))
            for column in projections.T
        ]
    )


@pytest.mark.parametrize("sampled", [1, 2, 3, 9])
def test_points_are_drawn_on_the_leading_axes_and_0_on_the_others(sampled: int) -> None:
    rows = cloud()
    model = model_of(pca.project(rows, pca.principal_axes(rows, 3)))
    points = generation.points(model, 400, sampled, generation.class_generator(1, "town"))
    assert points.shape == (400, 3)
    assert (points[:, sampled:] == 0).all()
    for axis, column in list(zip(model.marginals, points.T, strict=True))[:sampled]:
        assert np.isfinite(axis.log_density(column)).all()
        assert abs(column.mean() - axis.mean) < 5 * np.sqrt(axis.variance / 400)


def test_a_class_has_random_numbers_of_its_own() -> None:
    first = generation.class_generator(0, "ünits").random(4)
    assert np.array_equal(generation.class_generator(0, "ünits").random(4), first)
    for seed, label in ((1, "ünits"), (0, "units")):
        assert not np.array_equal(generation.class_generator(seed, label).random(4), first)


def test_latents_lie_where_they_were_drawn_unless_an_entry_is_set_to_0() -> None:
    rows = cloud()
    axes = pca.principal_axes(rows, 3)
    points = np.random.default_rng(4).normal(size=(50, 3))
    latents = generation.latents(points, axes.mean, axes.axes)
    assert latents.dtype == np.float32
    assert (latents > 0).all()
    assert np.allclose(pca.project(latents, axes), points, atol=1e-5)
    near = cloud(middle=0.5)  # many entries would be below 0
    axes = pca.principal_axes(near, 3)
    latents = generation.latents(points, axes.mean, axes.axes)
    expected = np.array(
        [axes.mean + sum(c * a for c, a in zip(p, axes.axes, strict=True)) for p in points]
    )
    assert (expected < 0).any()
    assert np.allclose(latents, np.where(expected < 0, 0, expected), rtol=1e-6)
