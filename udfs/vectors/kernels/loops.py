"""Loops over pairs and rows of float32 matrices, compiled for any processor.

Use `entries_above` and `products_above` to select pairs, `products_at` for single entries of a
matrix product, and the others for what `udfs.vectors.cosine` needs of whole rows. Each loop
releases the interpreter's lock while it runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from udfs.vectors.kernels.compiling import compiled, emitted, inlined, summed

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]
IndexArray = NDArray[np.signedinteger[Any]]

FLAGS = 64  # columns whose flags are one word


def entries_above(matrix: Matrix, bound: np.float32) -> tuple[IndexArray, IndexArray]:
    """Rows and columns of the entries above a bound, in rising order: (n, m) → (entries,) × 2."""
    matrix = contiguous(matrix)
    flags = np.empty((len(matrix), -(-matrix.shape[1] // FLAGS)), np.uint64)
    _flag_above(matrix, np.float32(bound), flags)
    return flagged_entries(flags)


def products_at(left: Matrix, right: Matrix, rows: IndexArray, columns: IndexArray) -> Matrix:
    """Single entries of left·rightᵀ: (n, width), (m, width), (entries,) × 2 → (entries,) float32.

    Like `cosine.products` they are within `cosine.margin(width)` of the true value, for unit rows.
    No row is copied.
    """
    values = np.empty(len(rows), np.float32)
    indices = contiguous(rows, np.int32), contiguous(columns, np.int32)
    _dots(contiguous(left), contiguous(right), *indices, values)
    return values


def products_above(
    left: Matrix, right: Matrix, rows: IndexArray, columns: IndexArray, bound: np.float32
) -> tuple[IndexArray, IndexArray, Matrix]:
    """Rows, columns and values of those entries of `products_at` that are above a bound."""
    out = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    values = np.empty(len(rows), np.float32)
    indices = contiguous(rows, np.int32), contiguous(columns, np.int32)
    count = _dots_above(
        contiguous(left), contiguous(right), *indices, np.float32(bound), *out, values
    )
    return out[0][:count], out[1][:count], values[:count]


def scaled(rows: Matrix, lengths: Vector) -> Matrix:
    """Rows divided by their lengths, in float64 and rounded once: (n, width), (n,) → (n, width)."""
    result = np.empty(rows.shape, np.float32)
    _divide(contiguous(rows), lengths, result)
    return result


def squares(rows: Matrix) -> Vector:
    """Sums of squares of rows in float64, with rounding: (n, width) → (n,)."""
    result = np.empty(len(rows))
    _square(contiguous(rows), result)
    return result


def split_sums(a: Matrix, b: Matrix, sigma: Vector) -> tuple[Vector, Vector]:
    """Sums of the high and of the low parts of a row's products: (n, width) × 2, (n,) → (n,) × 2.

    The high part of a product p is (p + σ) − σ, with the row's own σ; the low part is the rest of
    p. Cost: 0.3 µs a row at width 1024.
    """
    high, low = np.empty(len(a)), np.empty(len(a))
    _split(contiguous(a), contiguous(b), sigma, high, low)
    return high, low


def contiguous(array: NDArray[Any], kind: type[Any] = np.float32) -> NDArray[Any]:
    """The array in one type and memory layout, so that each loop is compiled once."""
    return np.ascontiguousarray(array, kind)


def flagged_entries(flags: NDArray[np.uint64]) -> tuple[IndexArray, IndexArray]:
    """Rows and columns of the bits that are set, in rising order: (n, words) → (bits,) × 2."""
    entries: tuple[IndexArray, IndexArray] = _set_bits(flags)
    return entries


@inlined
def _dot(left: Matrix, right: Matrix, i: int, j: int) -> np.float32:
    total = np.float32(0)
    for a in range(left.shape[1]):
        total += left[i, a] * right[j, a]
    return total


@summed
def _dots(
    left: Matrix, right: Matrix, rows: IndexArray, columns: IndexArray, values: Matrix
) -> None:
    for k in range(len(rows)):
        values[k] = _dot(left, right, rows[k], columns[k])


@summed
def _dots_above(
    left: Matrix,
    right: Matrix,
    rows: IndexArray,
    columns: IndexArray,
    bound: np.float32,
    out_rows: IndexArray,
    out_columns: IndexArray,
    values: Matrix,
) -> int:
    count = 0
    for k in range(len(rows)):
        value = _dot(left, right, rows[k], columns[k])
        if value > bound:
            out_rows[count], out_columns[count], values[count] = rows[k], columns[k], value
            count += 1
    return count


@summed
def _square(rows: Matrix, result: Vector) -> None:
    for i in range(len(rows)):
        total = 0.0
        for a in range(rows.shape[1]):
            total += np.float64(rows[i, a]) * np.float64(rows[i, a])
        result[i] = total


@inlined
def _sum(numbers: Vector) -> float:
    total = 0.0
    for a in range(len(numbers)):
        total += numbers[a]
    return total


@compiled
def _split(a: Matrix, b: Matrix, sigma: Vector, high: Vector, low: Vector) -> None:
    upper, lower = np.empty(a.shape[1]), np.empty(a.shape[1])
    for i in range(len(a)):
        for k in range(a.shape[1]):
            product = np.float64(a[i, k]) * np.float64(b[i, k])
            upper[k] = (product + sigma[i]) - sigma[i]
            lower[k] = product - upper[k]
        high[i], low[i] = _sum(upper), _sum(lower)


@compiled
def _divide(rows: Matrix, lengths: Vector, result: Matrix) -> None:
    for i in range(len(rows)):
        for a in range(rows.shape[1]):
            result[i, a] = np.float32(np.float64(rows[i, a]) / lengths[i])


@emitted
def _above(_: Any, address: Any, bound: Any) -> Any:
    """Flags of FLAGS float32 numbers at an address: whether each is above a bound."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, bound = arguments
        kind = ir.VectorType(ir.FloatType(), FLAGS)
        undefined = ir.Constant(kind, ir.Undefined)
        numbers = builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)
        lone = builder.insert_element(undefined, bound, ir.Constant(ir.IntType(64), 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), FLAGS), [0] * FLAGS)
        bounds = builder.shuffle_vector(lone, undefined, first)
        above = builder.fcmp_ordered(">", numbers, bounds)
        return builder.bitcast(above, ir.IntType(64))

    return types.uint64(types.intp, types.float32), generate


@emitted
def _trailing_zeros(_: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@emitted
def _ones(_: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _flag_above(matrix: Matrix, bound: np.float32, flags: NDArray[np.uint64]) -> None:
    n, m = matrix.shape
    address = np.intp(matrix.ctypes.data)
    for row in range(n):
        for word in range(m // FLAGS):
            flags[row, word] = _above(address + 4 * (row * m + word * FLAGS), bound)
        if m % FLAGS:
            last = np.uint64(0)
            for column in range(m - m % FLAGS, m):
                if matrix[row, column] > bound:
                    last |= np.uint64(1) << np.uint64(column % FLAGS)
            flags[row, -1] = last


@compiled
def _set_bits(flags: NDArray[np.uint64]) -> tuple[IndexArray, IndexArray]:
    total = np.int64(0)
    for row in range(flags.shape[0]):
        for word in range(flags.shape[1]):
            total += np.int64(_ones(flags[row, word]))
    rows, columns = np.empty(total, np.int32), np.empty(total, np.int32)
    at = 0
    for row in range(flags.shape[0]):
        for word in range(flags.shape[1]):
            left = flags[row, word]
            while left:
                rows[at] = row
                columns[at] = FLAGS * word + np.int64(_trailing_zeros(left))
                at += 1
                left &= left - np.uint64(1)
    return rows, columns
