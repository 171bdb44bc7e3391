"""Which rows of given vectors can be compared, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pytest

from udfs.vectors import validation
from udfs.vectors.validation import Checked


def checked(rows: Sequence[Sequence[float | None] | None], width: int) -> Checked:
    """Rows as a column of lists of doubles holds them: None is null."""
    lengths = np.array([-1 if row is None else len(row) for row in rows], np.int64)
    numbers = [number for row in rows if row is not None for number in row]
    values = np.array([math.nan if number is None else number for number in numbers], float)
    return validation.checked(lengths, values, np.array([n is None for n in numbers], bool), width)


def test_finite_rows_of_the_width_are_usable_in_float32() -> None:
    found = checked([[0.1, 2.0], [0.0, 0.0], [1e-50, -3.0]], 2)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.matrix.dtype == np.float32
    assert np.array_equal(found.matrix, np.array([[0.1, 2], [0, 0], [0, -3]], np.float32))
    assert found.wrong == {}
    digest = hashlib.sha256(np.array([0.1, 2.0], "<f4").tobytes()).hexdigest()
    assert found.digests[0] == digest != found.digests[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "the row has no vector"),
        ([], "the vector holds no numbers"),
        ([1.0], "the vector holds 1 numbers, most of the table's hold 2"),
        ([1.0, 2.0, 3.0], "the vector holds 3 numbers"),
        ([None, 1.0], "number 1 of the vector is null"),
        ([1.0, math.nan], "number 2 of the vector is NaN"),
        ([1.0, -math.inf], "number 2 of the vector is infinite"),
        ([-1e39, math.nan], "number 1 of the vector is -1e+39, more than float32 holds"),
    ],
)
def test_an_unusable_row_says_why_and_hides_no_other(
    row: list[float | None] | None, message: str
) -> None:
    found = checked([[1.0, 2.0], row, [3.0, 4.0]], 2)
    assert found.rows.tolist() == [0, 2]
    assert found.matrix.tolist() == [[1, 2], [3, 4]]
    assert found.wrong.keys() == {1}
    assert found.wrong[1].startswith(message)


def test_no_row_fits_a_width_of_0() -> None:
    assert checked([[], [1.0]], 0).wrong.keys() == {0, 1}
    assert checked([], 3).rows.tolist() == []
