from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.vectors import KINDS, check, decoded, directed_images, prepared, spectral, units
from udfs.vectors.axes import leading_axes
from udfs.vectors.byte_bound import ByteBound
from udfs.vectors.kernels import vnni
from udfs.vectors.screen import Screen


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
    if not vnni.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    rows = directed_images(seed, kind, 24, width)
    assume(len(rows) >= 2)
    basis = leading_axes(units(rows), min(lead, width))
    byte_bound = ByteBound(step, tuple(wide[: len(basis) or width]))
    screen = Screen(thresholds, basis, len(basis), byte_bound=byte_bound)
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
        byte_bound = ByteBound.fitted(projected, step)
        left, right, unbounded = byte_bound.codes(projected, rest)
        assert left.shape == right.shape == (900, byte_bound.steps)
        assert not unbounded.any()
        bound = byte_bound.step**2 * decoded(left, right, byte_bound.word_steps)
        assert (bound >= cosine).all()
        assert (bound - ideal).max() < most


def test_the_bound_of_bytes_has_what_they_leave_out() -> None:
    """Vectors of which nearly all is rounded off, or nothing lies on the axes."""
    step, count = 0.003, 8000
    small = np.full(count, 0.6 * step)
    first = math.sqrt(1 - small @ small)
    rows = np.array([np.r_[first, small], np.r_[first, -small]])
    byte_bound = ByteBound(step, (True,) + (False,) * count)
    left, right, _ = byte_bound.codes(rows, np.zeros(2))
    assert (step**2 * decoded(left, right, byte_bound.word_steps) >= rows @ rows.T).all()

    byte_bound = ByteBound(step, (False,) * 4)
    left, right, _ = byte_bound.codes(np.zeros((1, 4)), np.ones(1))
    assert step**2 * decoded(left, right, byte_bound.word_steps)[0, 0] >= 1


def test_the_bound_of_bytes_holds_where_no_other_term_has_anything_left_over() -> None:
    """One vector is rounded off by 126.5·step² on its only axis, the others by nothing."""
    step = 0.003
    lengths = step * np.arange(1, 300)
    rounded_off = np.array([100 * step + 126.5 * step**2])
    byte_bound = ByteBound(step, (True,))
    left, right, unbounded = byte_bound.codes(np.r_[rounded_off, lengths][:, None], np.zeros(300))
    assert not unbounded.any()
    bound = step**2 * decoded(left[:1], right[1:], byte_bound.word_steps)[0]
    assert (bound >= rounded_off * lengths - 1e-12).all()
    assert (bound - rounded_off * lengths).min() < 2 * step**2


def test_rows_unlike_the_sample_are_passed_on() -> None:
    """A code fitted on small coordinates, and rows that lie on one axis."""
    rows = units(spectral(64, 64, 12))
    axes = np.eye(64, dtype=np.float32)[:8]
    byte_bound = ByteBound(0.001, (False,) * 8)
    screen = Screen([0.5], axes, 8, byte_bound=byte_bound)
    lone = np.eye(64, dtype=np.float32)[:8]
    assert prepared(screen, lone).unbounded.all()
    if not vnni.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    check(screen, np.concatenate([lone, rows]), np.concatenate([rows, lone]), [0.5])


def test_steps_are_not_too_small() -> None:
    with pytest.raises(ValueError, match="at least"):
        ByteBound(1e-5, (False,))
