from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from udfs.vectors.validation import Checked, checked


def check(rows: list[list[float | None] | None], width: int) -> Checked:
    """Rows as a table has them: None for a null row or number."""
    lengths = np.array([-1 if row is None else len(row) for row in rows], np.int64)
    numbers = [number for row in rows if row is not None for number in row]
    values = np.array([math.nan if number is None else number for number in numbers], np.float64)
    return checked(lengths, values, np.array([number is None for number in numbers], bool), width)


def test_usable_rows_are_rounded_to_float32_and_hashed() -> None:
    result = check([[0.1, 2.0], None, [3.0, -0.0]], 2)
    assert result.rows.tolist() == [0, 2]
    assert result.matrix.dtype == np.float32
    assert result.matrix.tolist() == [[float(np.float32(0.1)), 2.0], [3.0, 0.0]]
    expected = [hashlib.sha256(np.array(row, "<f4").tobytes()).hexdigest() for row in result.matrix]
    assert result.digests == expected
    assert list(result.wrong) == [1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "the row has no vector"),
        ([], "the vector holds no numbers"),
        ([1.0], "the vector holds 1 numbers, most of the table's hold 2"),
        ([1.0, 2.0, 3.0], "the vector holds 3 numbers, most of the table's hold 2"),
        ([1.0, None], "number 2 of the vector is null"),
        ([math.nan, math.inf], "number 1 of the vector is NaN"),
        ([1.0, -math.inf], "number 2 of the vector is infinite"),
        ([1e39, 1.0], "number 1 of the vector is 1e+39, more than float32 holds"),
    ],
)
def test_each_other_row_says_what_is_wrong(row: list[float | None] | None, message: str) -> None:
    result = check([[1.0, 2.0], row, [3.0, 4.0]], 2)
    assert result.rows.tolist() == [0, 2]
    assert list(result.wrong) == [1]
    assert result.wrong[1].startswith(message)


def test_no_row_fits_a_width_of_zero() -> None:
    result = check([[], [1.0]], 0)
    assert result.rows.tolist() == []
    assert sorted(result.wrong) == [0, 1]
