from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_greedy import KINDS, images
from udfs import bounds, coarse
from udfs.bounds import Screen, leading_axes, spread
from udfs.coarse import Coarse
from udfs.cosine import (
    Matrix,
    OnDevice,
    byte_products,
    exact_similarity,
    has_byte_products,
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


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([0.0025, 0.005, 0.02, 0.3]),
    st.integers(1, 3),
    st.lists(st.sampled_from([-1.5, -0.3, 0.0, 0.5, 0.9, 0.97, 0.999, 1.0]), min_size=1),
)
def test_bytes_rule_nothing_out_wrongly(
    seed: int, kind: str, width: int, lead: int, step: float, parts: int, thresholds: list[float]
) -> None:
    """Whatever the step; rows that have no place in so few bytes are passed on."""
    if not has_byte_products():
        pytest.skip("this processor has no products of bytes")
    rows = some_images(seed, kind, 24, width)
    if len(rows) < 2:
        return
    basis = leading_axes(units(rows), min(lead, width))
    coarse = Coarse(step, (parts,) * len(basis))
    screen = Screen(thresholds, basis, len(basis), coarse=coarse)
    check(screen, rows[: len(rows) // 2], rows[len(rows) // 2 :], thresholds)


def test_the_bound_of_bytes_is_one_and_tight() -> None:
    rows = units(spectral(900, 512, 11))
    axes = leading_axes(rows, 48)
    projected = rows.astype(np.float64) @ axes.T
    rest = np.maximum(0, 1 - np.square(projected).sum(axis=1)) + 1e-7
    cosine = rows.astype(np.float64) @ rows.T
    length = np.sqrt(rest)
    ideal = projected @ projected.T + np.outer(length, length)
    for step, most in ((0.0025, 0.016), (0.005, 0.035)):
        coarse = Coarse.fitted(projected, step)
        assert coarse is not None
        left, right, loose = coarse.sides(projected, rest)
        assert left.shape == right.shape == (900, coarse.depth)
        assert not loose.any()
        bound = coarse.step**2 * (left.astype(np.int64) @ right.T.astype(np.int64))
        assert (bound >= cosine).all()
        assert (bound - ideal).max() < most


def test_numbers_in_bytes() -> None:
    for parts in (1, 2, 3, 4):
        numbers = np.arange(-127.0 * parts, 127 * parts + 1)
        found = coarse._in_bytes(numbers, parts)
        assert (found.sum(axis=0) == numbers).all()
        assert np.abs(found).max() == 127


def test_rows_unlike_the_sample_are_passed_on() -> None:
    """A code fitted on small coordinates, and rows that lie on one axis."""
    rows = units(spectral(64, 64, 12))
    axes = np.eye(64, dtype=np.float32)[:8]
    coarse = Coarse(0.001, (1,) * 8)
    screen = Screen([0.5], axes, 8, coarse=coarse)
    lone = np.eye(64, dtype=np.float32)[:8]
    assert screen.sides(lone).loose.all()
    check(screen, np.concatenate([lone, rows]), np.concatenate([rows, lone]), [0.5])


def test_a_device_has_no_bytes() -> None:
    axes = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="no products of bytes"):
        Screen([0.5], axes, 4, device=OnDevice("cpu"), coarse=Coarse(0.01, (1,) * 4))


def test_products_of_bytes_are_exact() -> None:
    if not has_byte_products():
        pytest.skip("this processor has no products of bytes")
    random = np.random.default_rng(0)
    numbers = (1, 2, 3, 17, 64)
    for n, m, depth in itertools.product(numbers, numbers, (1, 2, 3, 17, 64, 129)):
        left, right = (
            random.choice([-127, 127, 1], (k + 2, depth)).astype(np.int8) for k in (n, m)
        )
        expected = left.astype(np.int64) @ right.T.astype(np.int64)
        some = random.permutation(n + 2)[:n]  # a single one has strange strides
        turned = np.asfortranarray(left[1 : n + 1])
        memory = np.full((n, m), 77, np.int32)
        assert np.array_equal(byte_products(left[some], right[:m]), expected[some][:, :m])
        assert np.array_equal(byte_products(turned, right[2:]), expected[1 : n + 1, 2:])
        found = byte_products(left[:n], right[1 : m + 1], memory)
        assert found is memory
        assert np.array_equal(found, expected[:n, 1 : m + 1])
    assert byte_products(left[:0], right).shape == (0, len(right))


def test_without_byte_products_bounds_are_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = units(spectral(2048, 512, 2))
    monkeypatch.setattr(bounds, "has_byte_products", lambda: False)
    screen = Screen.fitted(rows, [0.97])
    assert screen.lead > 0
    assert screen.coarse is None


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
