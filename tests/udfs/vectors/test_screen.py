from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.vectors import KINDS, check, directed_images, prepared, spectral, units
from udfs.vectors.axes import leading_axes
from udfs.vectors.byte_bound import ByteBound
from udfs.vectors.gpu import DeviceProducts
from udfs.vectors.kernels import vnni
from udfs.vectors.screen import Screen, _down, _up


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
    rows = directed_images(seed, kind, 24, width)
    assume(len(rows) >= 2)
    basis = leading_axes(units(rows), min(axes, width))
    screen = Screen(thresholds, basis, min(lead, len(basis)))
    check(screen, rows[: len(rows) // 2], rows[len(rows) // 2 :], thresholds)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-11, 1e11, 1e21, 1e30])
def test_vectors_of_any_length(scale: float) -> None:
    """Products of some of these would leave the range of float32."""
    rows = spectral(90, 256, 13)
    rows[::3] *= np.float32(scale)
    basis = leading_axes(units(rows), 32)
    thresholds = [0.3, 0.99]
    screens = [Screen(thresholds, basis, 16), Screen(thresholds, basis[:0])]
    if vnni.has_byte_products():
        byte_bound = ByteBound(0.003, (False,) * 256)
        screens.append(Screen(thresholds, basis[:0], byte_bound=byte_bound))
    for screen in screens:
        check(screen, rows[:45], rows[45:], thresholds)


def test_a_device_has_no_bytes() -> None:
    axes = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="no products of bytes"):
        Screen(
            [0.5], axes, 4, device=DeviceProducts("cpu"), byte_bound=ByteBound(0.01, (False,) * 4)
        )


def test_without_byte_products_bounds_are_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = units(spectral(2048, 512, 2))
    monkeypatch.setattr(vnni, "has_byte_products", lambda: False)
    screen = Screen.fitted(rows, [0.97])
    assert screen.lead > 0
    assert screen.byte_bound is None


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
    assert bool(Screen.fitted(flat, [0.4]).byte_bound) == vnni.has_byte_products()
    assert Screen.fitted(rows, [1.0]).lead == 0
    assert Screen.fitted(rows, []).lead == 0
    assert Screen.fitted(rows[:0], [0.9]).lead == 0


def test_most_pairs_are_ruled_out_on_a_falling_spectrum() -> None:
    rows = units(spectral(2048, 512, 4))
    screen = Screen.fitted(rows, [0.97])
    found = screen.candidates(prepared(screen, rows[:1000]), prepared(screen, rows[1000:]))
    assert len(found.row) < 0.05 * 1000 * 1048


def test_bytes_are_of_the_axes_that_the_first_bound_takes() -> None:
    axes = np.eye(4, dtype=np.float32)
    for some, lead, coded in ((axes[:2], 2, 3), (axes[:0], 0, 2)):
        with pytest.raises(ValueError, match=f"bytes are of {coded} axes"):
            Screen([0.5], some, lead, byte_bound=ByteBound(0.003, (False,) * coded))


@pytest.mark.parametrize("lead", [0, 3])
def test_a_first_bound_takes_some_of_the_axes(lead: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 2 axes"):
        Screen([0.5], np.eye(4, dtype=np.float32)[:2], lead)


def test_bounds_are_rounded_away_from_what_they_bound() -> None:
    for value in (-1.5, -0.3, -1e-9, 0.0, 1e-9, 0.3, 1.0):
        assert float(_down(value)) < value < float(_up(value))
