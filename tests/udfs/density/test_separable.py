"""The separable model: the product of its marginals, and the laws that follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.densities import (
    follows,
    marginals,
    points,
)
from udfs.density import histogram
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable


@settings(deadline=None)
@given(st.lists(marginals(), min_size=1, max_size=4), st.integers(0, 2**31))
def test_separable_is_the_product(axes: list[Marginal], seed: int) -> None:
    draw = np.random.default_rng(seed)
    where = np.stack([draw.choice(points(axis), 20) for axis in axes], axis=1)
    model = Separable(axes)
    expected = np.prod([axis.density(where[:, k]) for k, axis in enumerate(axes)], axis=0)
    assert np.allclose(model.density(where), expected, rtol=1e-12)
    inside = expected > 0
    assert np.allclose(model.log_density(where)[inside], np.log(expected[inside]), atol=1e-9)
    assert (model.log_density(where)[~inside] == -np.inf).all()
    with pytest.raises(ValueError, match="one column a marginal"):
        model.density(where[:, :-1])


@settings(deadline=None)
@given(st.lists(marginals(), min_size=1, max_size=4), st.integers(0, 2**31))
def test_separable_has_what_its_marginals_have(axes: list[Marginal], seed: int) -> None:
    model = Separable(axes)
    where = model.sample(50, seed)
    assert where.shape == (50, len(axes))
    columns = list(zip(axes, where.T, strict=True))
    steps = np.array([axis.histogram.step for axis in axes])
    assert np.allclose(model.cdf(where), np.prod([a.cdf(t) for a, t in columns], axis=0))
    expected = model.density(where)[:, None] * model.log_gradient(where)
    scale = (model.density(where).max() / steps.min()) * 1e-12
    assert np.allclose(model.gradient(where), expected, rtol=1e-9, atol=scale)
    back = model.from_uniform(model.to_uniform(where))
    again = model.from_normal(model.to_normal(where))
    dense = np.stack([a.value(t) > 1e-3 for a, t in columns], axis=1)
    assert np.allclose((back / steps)[dense], (where / steps)[dense], atol=1e-8)
    assert np.allclose((again / steps)[dense], (where / steps)[dense], atol=1e-6)
    assert model.mean.tolist() == [axis.mean for axis in axes]
    assert model.variance.tolist() == [axis.variance for axis in axes]
    assert model.entropy() == pytest.approx(sum(axis.entropy() for axis in axes))


def test_the_columns_of_a_separable_sample_are_independent() -> None:
    axis = Marginal(histogram.Histogram(0.0, 1.0, np.array([3, 0, 0, 1])))
    drawn = Separable([axis, axis]).sample(20_000, 3)
    assert abs(np.cov(drawn.T)[0, 1]) < 0.03 * axis.variance
    assert follows(drawn[:, 1], axis)
