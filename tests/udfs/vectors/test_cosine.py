from __future__ import annotations

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from udfs.vectors import cosine
from udfs.vectors.cosine import (
    Matrix,
    decision_bounds,
    exact_dot,
    exact_similarity,
    margin,
    products,
    similarities,
    squared_norms,
    unit_rows,
)

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    -1e-45,
    1.1754942e-38,
    3.4028235e38,
    -3.4028235e38,
    1 + 2**-23,
]
ENTRIES = st.one_of(FINITE, st.sampled_from(EDGES).map(lambda x: float(np.float32(x))))


def rational_dot(a: Matrix, b: Matrix) -> float:
    """D by its definition: the exact sum, rounded once."""
    return float(
        sum(
            (Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)),
            Fraction(0),
        )
    )


def fast_dots(a: Matrix, b: Matrix) -> cosine.Vector:
    return cosine._dots(a, b, np.sqrt(squared_norms(a) * squared_norms(b)))


def rows(shape: tuple[int, int]) -> st.SearchStrategy[Matrix]:
    return hnp.arrays(np.float32, shape, elements=ENTRIES)


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(rows(shape), rows(shape)))


def same(a: cosine.Vector, b: list[float]) -> bool:
    return a.tobytes() == np.array(b, np.float64).tobytes()


@settings(deadline=None, max_examples=300)
@given(PAIRS)
def test_dots_of_any_numbers_are_correctly_rounded(pair: tuple[Matrix, Matrix]) -> None:
    a, b = pair
    expected = [rational_dot(x, y) for x, y in zip(a, b, strict=True)]
    assert [exact_dot(x, y) for x, y in zip(a, b, strict=True)] == expected
    assert same(fast_dots(a, b) + 0.0, [x + 0.0 for x in expected])
    assert same(squared_norms(a), [rational_dot(x, x) for x in a])


@settings(deadline=None, max_examples=200)
@given(PAIRS, st.integers(-140, 100), st.randoms(use_true_random=False))
def test_dots_that_cancel_are_correctly_rounded(
    pair: tuple[Matrix, Matrix], power: int, random: Random
) -> None:
    a, b = pair
    small = np.full((len(a), 1), 2.0**power, np.float32)
    left = np.concatenate([a, a, small], axis=1)
    right = np.concatenate([b, -b, small], axis=1)
    mixed = np.random.default_rng(random.randrange(2**32)).permutation(left.shape[1])
    left, right = left[:, mixed], right[:, mixed]
    expected = [rational_dot(x, y) for x, y in zip(left, right, strict=True)]
    assert expected == [2.0 ** (2 * power)] * len(a) or power < -149
    assert same(fast_dots(left, right), expected)


# Sums at, just beside and exactly between two float64 numbers; 2^53 + 1 is such a middle.
@pytest.mark.parametrize("tail", [0.0, 2.0**-100, -(2.0**-100), 2.0**-20, -(2.0**-20), 1.0, -1.0])
@pytest.mark.parametrize("head", [[2.0**53, 1.0], [2.0**53, 3.0], [2.0**53, -0.5], [2.0**53, -1.5]])
def test_ties_are_broken_by_what_lies_beyond_them(head: list[float], tail: float) -> None:
    terms = [*head, tail]
    a = np.array([[math.copysign(2.0 ** (math.frexp(x)[1] // 2), x) for x in terms]], np.float32)
    b = np.array([[x / y for x, y in zip(terms, a[0].tolist(), strict=True)]], np.float32)
    expected = rational_dot(a[0], b[0])
    assert expected == float(sum(map(Fraction, terms)))
    assert same(fast_dots(a, b), [expected])


def test_what_is_proven_is_right_and_what_is_not_falls_back() -> None:
    # 48-bit products under a large one: the plain float64 sum is wrong for most of these.
    random = np.random.default_rng(0)
    a = random.standard_normal((4000, 12)).astype(np.float32)
    b = random.standard_normal((4000, 12)).astype(np.float32)
    a[:, 0] *= 2.0 ** random.integers(-40, 40, 4000)
    b[:, 1] *= 2.0 ** random.integers(-40, 40, 4000)
    scale = np.sqrt(squared_norms(a) * squared_norms(b))
    value, proven = cosine._proven_dots(a, b, scale)
    expected = np.array([rational_dot(x, y) for x, y in zip(a, b, strict=True)])
    assert (value == expected)[proven].all()
    assert proven.mean() > 0.99
    plain = np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))
    assert (plain != expected).mean() > 0.1


def test_latents_need_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    a = np.maximum(random.standard_normal((300, 1024)), 0).astype(np.float32)
    b = np.maximum(a + 0.3 * random.standard_normal(a.shape), 0).astype(np.float32)
    expected = [exact_similarity(x, y) for x, y in zip(a, b, strict=True)]
    monkeypatch.setattr(cosine, "exact_dot", lambda a, b: pytest.fail("the proof does not hold"))
    assert same(similarities(a, b, squared_norms(a), squared_norms(b)), expected)


@settings(deadline=None, max_examples=200)
@given(PAIRS)
def test_similarities_are_the_exact_one(pair: tuple[Matrix, Matrix]) -> None:
    a, b = pair
    b[0] = a[0]
    found = similarities(a, b, squared_norms(a), squared_norms(b))
    expected = [exact_similarity(x, y) for x, y in zip(a, b, strict=True)]
    assert np.array_equal(found, np.array(expected), equal_nan=True)
    swapped = similarities(b, a, squared_norms(b), squared_norms(a))
    assert np.array_equal(found, swapped, equal_nan=True)
    assert np.array_equal(np.isnan(found), ~(a.any(axis=1) & b.any(axis=1)))
    assert (np.abs(found[~np.isnan(found)]) <= 1).all()
    assert found[0] == 1 or not a[0].any()


def test_similarity_of_known_angles() -> None:
    a, b = np.array([3, 4], np.float32), np.array([4, 3], np.float32)
    assert exact_similarity(a, b) == 24 / 25
    assert exact_similarity(a, -b) == -24 / 25
    assert exact_similarity(a, np.array([-4, 3], np.float32)) == 0
    assert exact_similarity(a, -a) == -1
    assert math.isnan(exact_similarity(a, np.zeros(2, np.float32)))
    huge, tiny = np.float32(3e38) * np.sign(a), np.float32(1e-45) * np.sign(a)
    assert exact_similarity(huge, tiny) == 1


def test_similarity_is_clamped() -> None:
    # Parallel vectors; three roundings alone carry D / √(D·D) beyond 1.
    random = np.random.default_rng(2)
    a = random.integers(1, 2**22, (500, 40)) * 2.0 ** random.integers(0, 9, (500, 40))
    a, b = a.astype(np.float32), (3 * a).astype(np.float32)
    unclamped = [
        rational_dot(x, y) / math.sqrt(rational_dot(x, x) * rational_dot(y, y))
        for x, y in zip(a, b, strict=True)
    ]
    assert max(unclamped) > 1
    assert similarities(a, b, squared_norms(a), squared_norms(b)).max() == 1
    assert similarities(a, -b, squared_norms(a), squared_norms(b)).min() == -1
    beyond = int(np.argmax(unclamped))
    assert exact_similarity(a[beyond], b[beyond]) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_norms_name_the_row_that_is_not_finite(bad: float) -> None:
    matrix = np.ones((5, 3), np.float32)
    matrix[3, 1] = bad
    with pytest.raises(ValueError, match="row 3 holds NaN or infinity"):
        squared_norms(matrix)


def test_no_rows_and_no_width() -> None:
    assert squared_norms(np.empty((0, 5), np.float32)).shape == (0,)
    assert squared_norms(np.empty((2, 0), np.float32)).tolist() == [0, 0]


@settings(deadline=None, max_examples=200)
@given(rows((4, 9)))
def test_unit_rows_are_within_their_roundoff(matrix: Matrix) -> None:
    matrix = matrix[matrix.any(axis=1)]
    units = unit_rows(matrix, squared_norms(matrix)).astype(np.float64)
    wide = matrix.astype(np.longdouble)
    true = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
    assert (np.sqrt(((units - true) ** 2).sum(axis=1)) <= 2.0**-24 + 2.0**-50).all()


@settings(deadline=None, max_examples=200)
@given(PAIRS)
def test_products_lie_within_the_margin(pair: tuple[Matrix, Matrix]) -> None:
    a, b = (x[x.any(axis=1)] for x in pair)
    found = products(unit_rows(a, squared_norms(a)), unit_rows(b, squared_norms(b)))
    true = np.array([[exact_similarity(x, y) for y in b] for x in a]).reshape(found.shape)
    assert (np.abs(found - true) <= margin(a.shape[1])).all()


def test_a_float32_sum_one_by_one_lies_within_the_margin() -> None:
    # The slowest growing order: each term is rounded against the whole sum so far.
    for width in (1, 2, 33, 1024, 30000):
        unit = unit_rows(np.ones((1, width), np.float32), np.array([float(width)]))[0]
        total = np.add.accumulate(unit * unit, dtype=np.float32)[-1]
        assert abs(float(total) - 1) <= margin(width)


@pytest.mark.parametrize("width", [0, 1, 2, 40, 1024, 2**20])
def test_margin_covers_every_rounding_and_little_else(width: int) -> None:
    u = Fraction(1, 2**24)
    sums = width * u / (1 - width * u)
    units = 2 * u + u * u
    float64 = (width + 20) * Fraction(1, 2**53)
    subnormal = width * Fraction(1, 2**120)
    bound = sums * (1 + u) ** 2 + units + float64 + subnormal
    assert bound < Fraction(margin(width)) < bound + 3 * u + sums * sums


def test_margin_refuses_widths_without_a_bound() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        margin(2**20 + 1)


@settings(deadline=None)
@given(st.floats(allow_nan=False), st.integers(1, 2000))
def test_decision_bounds_are_rounded_outwards(threshold: float, width: int) -> None:
    low, high = decision_bounds(threshold, width)
    assert low.dtype == high.dtype == np.float32
    if threshold >= 1:
        assert low == high == np.inf
    else:
        clipped = max(threshold, -2.0)
        assert float(low) <= clipped - margin(width) <= float(np.nextafter(low, np.float32(2)))
        assert float(high) >= clipped + margin(width) >= float(np.nextafter(high, np.float32(-4)))
