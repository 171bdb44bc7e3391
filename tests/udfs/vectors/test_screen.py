from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.udfs.duplicates.test_greedy import KINDS, images
from udfs.vectors.axes import leading_axes, spread
from udfs.vectors.byte_bound import Coarse, Codes
from udfs.vectors.cosine import Matrix, exact_similarity, margin, products, squared_norms, unit_rows
from udfs.vectors.gpu import OnDevice
from udfs.vectors.kernels import loops
from udfs.vectors.screen import Screen, Sides


def units(rows: Matrix) -> Matrix:
    return unit_rows(rows, squared_norms(rows))


def sides(screen: Screen, rows: Matrix) -> Sides:
    return screen.sides(rows, squared_norms(rows))


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
    found = screen.candidates(sides(screen, left), sides(screen, right))
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


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(1, 40),
    st.one_of(st.just(0), st.integers(1, 12)),
    st.sampled_from([0.0025, 0.005, 0.02, 0.3]),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.lists(st.sampled_from([-1.5, -0.3, 0.0, 0.5, 0.9, 0.97, 0.999, 1.0]), min_size=1),
)
def test_bytes_rule_nothing_out_wrongly(
    seed: int,
    kind: str,
    width: int,
    lead: int,
    step: float,
    wide: list[bool],
    thresholds: list[float],
) -> None:
    """Of leading axes or of whole vectors, whatever the step; rows without a place are passed."""
    if not loops.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    rows = some_images(seed, kind, 24, width)
    if len(rows) < 2:
        return
    basis = leading_axes(units(rows), min(lead, width))
    coarse = Coarse(step, tuple(wide[: len(basis) or width]))
    screen = Screen(thresholds, basis, len(basis), coarse=coarse)
    check(screen, rows[: len(rows) // 2], rows[len(rows) // 2 :], thresholds)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-11, 1e11, 1e21, 1e30])
def test_vectors_of_any_length(scale: float) -> None:
    """Products of some of these would leave the range of float32."""
    rows = spectral(90, 256, 13)
    rows[::3] *= np.float32(scale)
    basis = leading_axes(units(rows), 32)
    thresholds = [0.3, 0.99]
    screens = [Screen(thresholds, basis, 16), Screen(thresholds, basis[:0])]
    if loops.has_byte_products():
        coarse = Coarse(0.003, (False,) * 256)
        screens.append(Screen(thresholds, basis[:0], coarse=coarse))
    for screen in screens:
        check(screen, rows[:45], rows[45:], thresholds)


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
        left, right, loose = coarse.sides(projected, rest)
        assert left.shape == right.shape == (900, coarse.steps)
        assert not loose.any()
        bound = coarse.step**2 * decoded(left, right, coarse.words)
        assert (bound >= cosine).all()
        assert (bound - ideal).max() < most


def test_the_bound_of_bytes_has_what_they_leave_out() -> None:
    """Vectors of which nearly all is rounded off, or nothing lies on the axes."""
    step, count = 0.003, 8000
    small = np.full(count, 0.6 * step)
    first = math.sqrt(1 - small @ small)
    rows = np.array([np.r_[first, small], np.r_[first, -small]])
    coarse = Coarse(step, (True,) + (False,) * count)
    left, right, _ = coarse.sides(rows, np.zeros(2))
    assert (step**2 * decoded(left, right, coarse.words) >= rows @ rows.T).all()

    coarse = Coarse(step, (False,) * 4)
    left, right, _ = coarse.sides(np.zeros((1, 4)), np.ones(1))
    assert step**2 * decoded(left, right, coarse.words)[0, 0] >= 1


def decoded(left: Codes, right: Codes, words: int) -> NDArray[np.int64]:
    """Products of all rows, of which the last steps are of numbers of 16 bits."""
    steps = left.shape[1] - words
    parts = []
    for codes, more in ((left, 128), (right, 0)):
        narrow = np.ascontiguousarray(codes[:, :steps]).view(np.uint8 if more else np.int8)
        wide = np.ascontiguousarray(codes[:, steps:]).view(np.int16)
        parts.append(np.concatenate([narrow.astype(np.int64) - more, wide], axis=1))
    return np.asarray(parts[0] @ parts[1].T)


def test_rows_unlike_the_sample_are_passed_on() -> None:
    """A code fitted on small coordinates, and rows that lie on one axis."""
    rows = units(spectral(64, 64, 12))
    axes = np.eye(64, dtype=np.float32)[:8]
    coarse = Coarse(0.001, (False,) * 8)
    screen = Screen([0.5], axes, 8, coarse=coarse)
    lone = np.eye(64, dtype=np.float32)[:8]
    assert sides(screen, lone).loose.all()
    check(screen, np.concatenate([lone, rows]), np.concatenate([rows, lone]), [0.5])


def test_a_device_has_no_bytes() -> None:
    axes = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="no products of bytes"):
        Screen([0.5], axes, 4, device=OnDevice("cpu"), coarse=Coarse(0.01, (False,) * 4))


def coded(random: np.random.Generator, count: int, steps: int, words: int) -> tuple[Codes, Codes]:
    """The same whole numbers as left and as right factors: extreme ones, and any."""
    narrow = random.choice([-127, 127, 1], (count, 4 * (steps - words))).astype(np.int8)
    wide = random.choice([-4000, 4000, 3], (count, 2 * words)).astype(np.int16)
    right = np.concatenate([narrow.view(np.int32), wide.view(np.int32)], axis=1)
    left = np.concatenate([(narrow ^ np.int8(-128)).view(np.int32), wide.view(np.int32)], axis=1)
    return left, right


def test_what_passes_is_what_whole_numbers_say() -> None:
    if not loops.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    random = np.random.default_rng(0)
    for n, m in itertools.product((0, 1, 2, 5, 6, 7, 13, 64), (0, 1, 15, 63, 64, 65, 130)):
        for steps, words in ((1, 1), (2, 1), (3, 3), (9, 2), (33, 4)):
            left, right = coded(random, n, steps, words)[0], coded(random, m, steps, words)[1]
            product = decoded(left, right, words)
            loose = random.random(n) < 0.1, random.random(m) < 0.1
            for least in (int(np.median(product)) if product.size else 0, 10**8, -(10**8)):
                row, column = loops.passing(left, right, words, least, loose)
                expected = np.nonzero((product > least) | loose[0][:, None] | loose[1])
                assert np.array_equal(row, expected[0])
                assert np.array_equal(column, expected[1])


def test_numbers_above_a_bound() -> None:
    random = np.random.default_rng(1)
    for n, m in itertools.product((0, 1, 7), (0, 1, 63, 64, 65, 200)):
        product = random.integers(0, 4, (n, m)).astype(np.float32)
        for low in (-1, 0, 2.5, 3, np.inf, -np.inf):
            row, column = loops.above(product, np.float32(low))
            expected = np.nonzero(product > low)
            assert np.array_equal(row, expected[0])
            assert np.array_equal(column, expected[1])


def test_without_byte_products_bounds_are_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = units(spectral(2048, 512, 2))
    monkeypatch.setattr(loops, "has_byte_products", lambda: False)
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
    assert bool(Screen.fitted(flat, [0.4]).coarse) == loops.has_byte_products()
    assert Screen.fitted(rows, [1.0]).lead == 0
    assert Screen.fitted(rows, []).lead == 0
    assert Screen.fitted(rows[:0], [0.9]).lead == 0


def test_most_pairs_are_ruled_out_on_a_falling_spectrum() -> None:
    rows = units(spectral(2048, 512, 4))
    screen = Screen.fitted(rows, [0.97])
    found = screen.candidates(sides(screen, rows[:1000]), sides(screen, rows[1000:]))
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
    found = loops.products_at(left, right, rows, columns)
    assert found.dtype == np.float32
    assert np.abs(found - products(left, right)[rows, columns]).max() < 2 * margin(130)
    assert loops.products_at(left, right, rows[:0], columns[:0]).shape == (0,)


def test_spread_takes_rows_from_end_to_end() -> None:
    assert spread(np.arange(100), 3).tolist() == [0, 49, 99]
    assert spread(np.arange(2), 3).tolist() == [0, 1]
    assert spread(np.arange(9), 0).tolist() == []
    assert spread(np.arange(0), 4).tolist() == []


def test_bytes_are_of_the_axes_that_the_first_bound_takes() -> None:
    axes = np.eye(4, dtype=np.float32)
    for some, lead, coded in ((axes[:2], 2, 3), (axes[:0], 0, 2)):
        with pytest.raises(ValueError, match=f"bytes are of {coded} axes"):
            Screen([0.5], some, lead, coarse=Coarse(0.003, (False,) * coded))


def test_steps_are_not_too_small() -> None:
    with pytest.raises(ValueError, match="at least"):
        Coarse(1e-5, (False,))


@pytest.mark.parametrize("lead", [0, 3])
def test_a_first_bound_takes_some_of_the_axes(lead: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 2 axes"):
        Screen([0.5], np.eye(4, dtype=np.float32)[:2], lead)
