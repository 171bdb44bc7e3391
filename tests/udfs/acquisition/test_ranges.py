"""Which values are shown: by tags, by usual ranges, or the values' own; the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.acquisition import ranges
from udfs.acquisition.ranges import Depth, Range, Spread, fitted, full, levels, pooled

DRAW = np.random.default_rng(0)


def spread_of(values: NDArray[np.generic]) -> Spread:
    spread = ranges.spread([values], values.size)
    assert spread is not None
    return spread


def uniform(low: float, high: float, kind: str) -> NDArray[np.generic]:
    values = DRAW.uniform(low, high, 5000)
    values[:2] = low, high
    return values.astype(kind)


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("uint16", uniform(0, 4095, "u2"), (0, 4095)),  # 12 of 16 bits
        ("uint16", uniform(90, 1023, "u2"), (0, 1023)),
        ("uint16", uniform(0, 6200, "u2"), (0, 8191)),  # reflectance
        ("uint16", uniform(0, 65535, "u2"), (0, 65535)),
        ("uint16", uniform(0, 33000, "u2"), (0, 65535)),
        ("uint16", uniform(31744, 35000, "u2"), (31744, 35000)),  # an offset of 2¹⁵
        ("uint16/12", uniform(3, 200, "u2"), (0, 4095)),  # tags state the bits
        ("uint16/12", uniform(0, 65520, "u2"), (0, 65535)),  # they lie in the upper bits
        ("uint32", uniform(0, 4e9, "u4"), (0, 2**32 - 1)),
        ("int16", uniform(0, 2000, "i2"), (0, 2047)),
        ("int16", uniform(-1024, 3071, "i2"), (-1024, 3071)),  # Hounsfield units
        ("int16", uniform(-30000, 30000, "i2"), (-32768, 32767)),
        ("float32", uniform(0, 0.9, "f8"), (0, 1)),
        ("float32", uniform(0, 0.125, "f8"), (0, 0.125)),
        ("float32", uniform(0, 255, "f8"), (0, 255)),
        ("float32", uniform(812, 1346, "f8"), (812, 1346)),  # heights in metres
        ("float64", uniform(-40, 30, "f8"), (-40, 30)),
        ("uint16", np.full(9, 700, "u2"), (0, 1023)),  # one value
        ("float32", np.full(9, -3.5), (0, 1)),
    ],
)
def test_auto_finds_the_range_that_is_meant(
    kind: str, values: NDArray[np.generic], shown: Range
) -> None:
    assert fitted(kind, spread_of(values), "auto") == shown


@pytest.mark.parametrize("odd", [-9999.0, -3.4e38, 1e9])
def test_a_value_far_beyond_all_others_stands_for_no_data(odd: float) -> None:
    heights = uniform(812, 1346, "f8")
    heights[100:900] = odd
    assert fitted("float32", spread_of(heights), "auto") == (812, 1346)


def test_two_values_are_a_drawing_and_none_of_them_is_left_out() -> None:
    assert fitted("uint16", spread_of(np.array([0, 65535], "u2")), "auto") == (0, 65535)


def test_a_hot_pixel_does_not_darken_a_picture_of_12_bits() -> None:
    values = uniform(0, 4095, "u2")
    values[7] = 65535
    assert fitted("uint16", spread_of(values), "auto") == (0, 4095)


def test_percentiles_are_those_of_the_values() -> None:
    values = DRAW.normal(100, 20, 40_000)
    low, high = fitted("float32", spread_of(values), "percentile:2,98")
    share = [(values < edge).mean() for edge in (low, high)]
    assert share == pytest.approx([0.02, 0.98], abs=0.004)


@given(st.lists(st.lists(st.integers(-99, 99), min_size=1), min_size=1), st.randoms())
@settings(deadline=None, max_examples=100)
def test_files_are_pooled_in_any_order_and_their_ends_are_exact(
    files: list[list[int]], shuffled: object
) -> None:
    spreads = [spread_of(np.array(values, "i2")) for values in files]
    found = pooled(spreads)
    assert found == pooled(spreads[::-1])
    values = sorted({value for each in files for value in each})
    assert (found.edges[0], found.edges[-1]) == (values[0], values[-1])
    if len(values) > 1:
        assert (found.edges[1], found.edges[2]) == (values[1], values[-2])


def test_values_in_parts_spread_as_they_do_together() -> None:
    values = uniform(-5, 5, "f4").reshape(50, 100)
    values[3] = np.nan
    whole = spread_of(values)
    assert ranges.spread([values[:7], values[7:]], values.size) == whole
    assert np.isfinite(whole.quantiles).all()
    assert ranges.spread([values[3:4]], 100) is None


def test_levels_go_from_black_to_white_and_beyond_them_is_clipped() -> None:
    values = np.array([-1, 0, 1, 2, 4095, 9999], np.float32)
    assert levels(values, (0, 4095)).tolist() == [0, 0, 0, 0, 255, 255]
    odd = np.array([np.nan, np.inf, -np.inf])
    assert levels(odd, (0, 1)).tolist() == [0, 255, 0]
    every = np.arange(65536).astype(np.uint16)
    assert np.array_equal(levels(every, full("uint16")), (every.astype(int) + 128) // 257)


def test_a_kind_tells_type_bits_and_bands() -> None:
    assert ranges.kind_of(np.dtype(">u2"), 12, 3) == "uint16/12x3"
    assert ranges.kind_of(np.dtype("u2"), 16, 1) == "uint16"
    assert full("uint16/12x3") == (0, 4095)
    assert full("int16") == (-32768, 32767)
    assert full("float64x3") == (0, 1)


def test_a_fixed_range_comes_before_one_of_the_file_alone() -> None:
    fixed = {"uint16": (3.0, 9.0)}
    assert Depth("auto", fixed).range_of("uint16") == (3, 9)
    assert Depth("auto", fixed).range_of("uint16x3") is None
    assert Depth("full", fixed).range_of("uint16") == (0, 65535)
    assert Depth((1.0, 2.0), fixed).range_of("uint16") == (1, 2)


@pytest.mark.parametrize("rule", ["percentile:98,2", "percentile:2", "percentile:-1,5", "mean:2,3"])
def test_other_percentiles_are_none(rule: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        ranges.percentiles(rule)
