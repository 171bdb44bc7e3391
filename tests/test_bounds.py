from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_greedy import KINDS, images
from udfs.bounds import Screen, leading_axes, spread
from udfs.cosine import (
    Matrix,
    exact_similarity,
    margin,
    products,
    products_at,
    squared_norms,
    unit_rows,
)


def units(rows: Matrix) -> Matrix:
    return unit_rows(rows, squared_norms(rows))


def some_images(seed: int, kind: str, count: int, width: int) -> Matrix:
    rows = images(np.random.default_rng(seed), kind, count, width)
    return rows[np.any(rows != 0, axis=1)]


def spectral(count: int, width: int, seed: int) -> Matrix:
    """Rows of a falling spectrum, as latents have."""
    random = np.random.default_rng(seed)
    scale = 0.9 ** np.arange(width)
    turned = np.linalg.qr(random.standard_normal((width, width)))[0]
    rows = (random.standard_normal((count, width)) * scale + 2 * scale) @ turned
    return np.asarray(rows, np.float32)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.sampled_from([-1.5, -0.3, 0.0, 0.5, 0.9, 0.97, 0.999, 1.0]), min_size=1),
)
def test_nothing_is_ruled_out_or_let_in_wrongly(
    seed: int, kind: str, width: int, axes: int, lead: int, thresholds: list[float]
) -> None:
    rows = some_images(seed, kind, 24, width)
    if len(rows) < 2:
        return
    basis = leading_axes(units(rows), min(axes, width))
    screen = Screen(thresholds, basis, min(lead, len(basis)))
    check(screen, rows[: len(rows) // 2], rows[len(rows) // 2 :], thresholds)


def check(screen: Screen, left: Matrix, right: Matrix, thresholds: list[float]) -> None:
    found = screen.candidates(screen.sides(units(left)), screen.sides(units(right)))
    order = found.row * len(right) + found.column
    assert (np.diff(order) > 0).all()
    whole = found.dense((len(left), len(right)))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            true = exact_similarity(a, b)
            if whole[i, j] == np.inf:
                assert true > max(thresholds)
            elif whole[i, j] == -np.inf:
                assert true <= min(thresholds)
            else:
                assert abs(whole[i, j] - true) <= margin(left.shape[1])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_both_ways_to_look_closer(kind: str) -> None:
    rows = spectral(120, 256, 1)
    if kind == "dense":  # most pairs pass the first bound
        rows = (rows + 40 * rows[:1]).astype(np.float32)
    basis = leading_axes(units(rows), 64)
    for threshold in (0.8, 0.95, 0.999):
        for lead in (8, 32, 64):
            check(Screen([threshold], basis, lead), rows[:60], rows[60:], [threshold])


def test_bounds_are_chosen_where_they_pay_and_only_there() -> None:
    rows = units(spectral(2048, 512, 2))
    assert Screen.fitted(rows, [0.97]).lead > 0
    flat = units(np.random.default_rng(3).standard_normal((2048, 512)).astype(np.float32))
    assert Screen.fitted(flat, [0.1]).lead == 0
    assert Screen.fitted(rows, [1.0]).lead == 0
    assert Screen.fitted(rows, []).lead == 0
    assert Screen.fitted(rows[:0], [0.9]).lead == 0


def test_most_pairs_are_ruled_out_on_a_falling_spectrum() -> None:
    rows = units(spectral(2048, 512, 4))
    screen = Screen.fitted(rows, [0.97])
    found = screen.candidates(screen.sides(rows[:1000]), screen.sides(rows[1000:]))
    assert len(found.row) < 0.05 * 1000 * 1048


def test_leading_axes_are_eigenvectors() -> None:
    rows = units(spectral(500, 100, 5))
    axes = leading_axes(rows, 6)
    assert np.allclose(axes @ axes.T, np.eye(6), atol=1e-6)
    values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    captured = np.linalg.norm(rows @ axes.T) ** 2
    assert math.isclose(captured, values[::-1][:6].sum(), rel_tol=1e-3)
    assert abs(axes[0] @ vectors[:, -1]) > 0.9999


def test_single_products_are_those_of_the_matrix_product() -> None:
    random = np.random.default_rng(6)
    left, right = units(spectral(37, 130, 7)), units(spectral(53, 130, 8))
    chosen = random.random((37, 53)) < 0.2
    chosen[5] = False
    rows, columns = np.nonzero(chosen)
    found = products_at(left, right, rows, columns)
    assert found.dtype == np.float32
    assert np.abs(found - products(left, right)[rows, columns]).max() < 2 * margin(130)
    assert products_at(left, right, rows[:0], columns[:0]).shape == (0,)


def test_spread_takes_rows_from_end_to_end() -> None:
    assert spread(np.arange(100), 3).tolist() == [0, 49, 99]
    assert spread(np.arange(2), 3).tolist() == [0, 1]
    assert spread(np.arange(9), 0).tolist() == []
    assert spread(np.arange(0), 4).tolist() == []


@pytest.mark.parametrize("lead", [0, 3])
def test_a_first_bound_takes_some_of_the_axes(lead: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 2 axes"):
        Screen([0.5], np.eye(4, dtype=np.float32)[:2], lead)
