"""Which rows of a table of given vectors can be compared, and what is wrong with the others.

Use `checked` on vectors that were not made by the autoencoder of this project.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it loads Numba, which takes a second
    from udfs.vectors.cosine import Indices, Matrix

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Checked:
    """The usable rows of n rows, and what is wrong with each of the others.

    rows: (k,), the indices of the usable rows. matrix: (k, width), their vectors. wrong: a message
    for each of the n − k other rows, by its index.
    """

    rows: Indices
    matrix: Matrix
    wrong: dict[int, str]

    @property
    def digests(self) -> list[str]:
        """The sha256 of each usable row's numbers as little-endian float32, in hexadecimal."""
        return [hashlib.sha256(row.tobytes()).hexdigest() for row in self.matrix.astype("<f4")]


def checked(lengths: Indices, values: Numbers, null: Flags, width: int) -> Checked:
    """Check rows of any length: (n,), (numbers,), (numbers,) → `Checked`.

    A row is usable if it holds `width` numbers that are finite, also when rounded to float32. No
    row is usable where `width` is 0.

    Args:
        lengths: how many numbers each row holds, −1 where a row is null.
        values: the numbers of all rows, one row after the other.
        null: which of the numbers are null; these are NaN in `values`.
        width: how many numbers a row must hold.
    """
    fits = (lengths == width) & (lengths > 0)
    inside = np.repeat(fits, np.maximum(lengths, 0))
    candidates = np.flatnonzero(fits)
    wide = values[inside].reshape(len(candidates), width)
    nulls = null[inside].reshape(len(candidates), width)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is reported below
        matrix = wide.astype(np.float32)
    finite = np.isfinite(matrix)
    usable = finite.all(axis=1)
    wrong = {row: _wrong_length(int(lengths[row]), width) for row in np.flatnonzero(~fits).tolist()}
    for index in np.flatnonzero(~usable).tolist():
        first = int(np.argmin(finite[index]))
        what = _wrong_number(float(wide[index, first]), bool(nulls[index, first]))
        wrong[int(candidates[index])] = f"number {first + 1} of the vector is {what}"
    return Checked(candidates[usable], matrix[usable], wrong)


def _wrong_length(length: int, width: int) -> str:
    if length < 0:
        return "the row has no vector: fill the column that ingest.vector_column names"
    if length == 0:
        return "the vector holds no numbers"
    return (
        f"the vector holds {length} numbers, most of the table's hold {width}: give vectors of one "
        "model"
    )


def _wrong_number(value: float, is_null: bool) -> str:
    if np.isfinite(value):
        return f"{value:g}, more than float32 holds (3.4e38): scale the vectors"
    name = "null" if is_null else "NaN" if np.isnan(value) else "infinite"
    return f"{name}: give finite numbers"
