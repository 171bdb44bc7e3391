"""Which pairs of vectors cannot be similar, by bounds on their cosine, without losing a pair.

Use `Screen.fitted` on a sample of a set, `Screen.prepare` on its vectors, a block at a time, and
`Screen.candidates` on pairs of blocks; `udfs.vectors.pairs` and `udfs.duplicates.greedy` do so.

Unit vectors are written as x = (x_k, rest): their coordinates on k leading axes, and what is
orthogonal to these. By Cauchy and Schwarz x·y lies within ‖rest_x‖·‖rest_y‖ of x_k·y_k, and
x_k·y_k + ‖rest_x‖·‖rest_y‖ is itself a product of vectors of k + 1 numbers. A first bound of few
axes (`lead`) rules out most pairs in one matrix product. The pairs that pass it are bounded again
by all axes (`full`), and for those that are still open the whole vectors are multiplied (section
"Which images stay" of docs/method.md). FAISS's IndexFlatIPPanorama (arXiv 2510.00566) bounds in the
same way, level by level. Every rounding error is added to the bounds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors.axes import leading_axes, spread
from udfs.vectors.byte_bound import ByteBound, Codes
from udfs.vectors.cosine import (
    FLOAT32_ROUNDOFF,
    Indices,
    Matrix,
    decision_bounds,
    products,
    unit_rows,
)
from udfs.vectors.gpu import DeviceProducts
from udfs.vectors.kernels import loops, vnni
from udfs.vectors.kernels.loops import IndexArray

Flags = NDArray[np.bool_]
_ProductsAt = Callable[[Matrix, Matrix, Any, Any], Matrix]  # products of some pairs of rows

AXES = 127  # of the second bound; with the rest's length 512 bytes; 99.6 % of latents' energy
LEAD = (8, 16, 24, 32, 48, 64, 96)  # numbers of axes that the first bound may take
BYTE_LEAD = (16, 32, 48, 64, 96)  # the same where the first bound is in bytes
BYTE_STEPS = (0.004, 0.003, 0.002, 0.001)  # units in which whole vectors may be coded in bytes


_TRIAL = 512  # rows whose pairs with as many others show how much a bound rules out
_CHUNK = 128  # numbers that one float32 sum of a projection runs over
_SHORT = 2.0**-40  # the range of lengths whose float32 products neither overflow nor underflow
_LONG = 2.0**40
# Nanoseconds a pair on one core, measured. Only their ratios matter, and they decide which bounds
# are used, never which pairs are found.
_SCAN = 0.1  # to compare a product with a bound
_PRODUCT = (0.6, 0.024)  # a matrix product: at depth 0, and for each number more
_BYTE_PRODUCT = (0.05, 0.022)  # a product of whole numbers with its comparison: at 0 steps, a step
_HIT = 3.0  # to write down a pair that passes
_SINGLE = (10.0, 0.1)  # a product of two rows by itself: at depth 0, and for each number more


def product_cost(depth: int) -> float:
    """Nanoseconds for an entry of a matrix product of this depth."""
    return _PRODUCT[0] + _PRODUCT[1] * depth


def byte_product_cost(steps: int) -> float:
    """Nanoseconds for an entry of a product of whole numbers of so many steps."""
    return _BYTE_PRODUCT[0] + _BYTE_PRODUCT[1] * steps


def single_cost(depth: int) -> float:
    """Nanoseconds for an entry of a matrix product that is computed by itself."""
    return _SINGLE[0] + _SINGLE[1] * depth


@dataclass(frozen=True)
class BoundedVectors:
    """Vectors prepared for the bounds of a `Screen`.

    rows: (n, width), the vectors, and lengths: (n,), their lengths, for products of whole vectors.
    lead: (n, lead + 1) float32, the unit vectors' coordinates on the lead axes and the length of
    the rest. full: (n, axes + 1), the same for all axes. Both have no columns where there are no
    axes. left_codes, right_codes: (n, steps), what replaces `lead` where the first bound is in
    bytes, as left and as right factors. unbounded: (n,), the rows that the bytes do not bound.
    """

    rows: Matrix
    lengths: NDArray[np.float64]
    lead: Matrix
    full: Matrix
    left_codes: Codes
    right_codes: Codes
    unbounded: Flags

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: Indices | slice) -> Self:
        """The vectors at some rows; a slice copies nothing."""
        return type(self)(*(part[rows] for part in self.parts()))

    @classmethod
    def empty(cls, count: int, like: Self) -> Self:
        """Room for `count` vectors; memory is touched only as far as it is filled."""
        return cls(*(np.empty((count, *part.shape[1:]), part.dtype) for part in like.parts()))

    def put(self, rows: slice, others: Self) -> None:
        """Overwrite some rows with other vectors."""
        for mine, theirs in zip(self.parts(), others.parts(), strict=True):
            mine[rows] = theirs

    def parts(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


class Candidates(NamedTuple):
    """Pairs that may be similar, in rising order of (row, column).

    value: the product of the two unit vectors where it had to be computed, within `cosine.margin`
    of Sim; +inf where a bound proves that Sim is above every threshold.
    """

    row: IndexArray
    column: IndexArray
    value: Matrix

    def dense(self, shape: tuple[int, int]) -> Matrix:
        """The values as a matrix, −inf where there is no candidate."""
        matrix = np.full(shape, -np.inf, np.float32)
        matrix[self.row, self.column] = self.value
        return matrix


class Screen:
    """Bounds that rule pairs of vectors out, and let certain pairs in, for a list of thresholds.

    Its attributes `low_whole`, `low_lead`, `low_full` and `low_bytes` are what a product of whole
    vectors, of the first and of the second bound, or of codes must exceed for Sim to be above the
    lowest threshold. A lower bound above `certain` proves that Sim is above the highest one.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        axes: Matrix,
        lead: int = 0,
        device: DeviceProducts | None = None,
        byte_bound: ByteBound | None = None,
    ) -> None:
        """Make the bounds of given axes.

        Args:
            thresholds: values of T.
            axes: (k, width) float32, nearly orthonormal, in order of falling energy; (0, width) for
                no axes.
            lead: how many of the axes the first bound takes.
            device: where products are computed; None for NumPy.
            byte_bound: how the first bound codes coordinates on its `lead` axes in bytes, or, where
                there are no axes, the unit vectors themselves; None for float32.

        Raises:
            ValueError: the first bound takes none or more than all of the axes, the bytes are of
                another number of coordinates, or there are both bytes and a device.
        """
        if len(axes) and not 1 <= lead <= len(axes):
            raise ValueError(f"lead is {lead}; it must lie between 1 and the {len(axes)} axes")
        if byte_bound and len(byte_bound.wide) != (lead if len(axes) else axes.shape[1]):
            raise ValueError(
                f"bytes are of {len(byte_bound.wide)} axes, the first bound is of others"
            )
        if device and byte_bound:
            raise ValueError("a device computes no products of bytes: give it no byte bound")
        self._memory = threading.local()
        self._device = device
        self.axes = axes
        self.lead = lead
        self.byte_bound = byte_bound
        self.width = axes.shape[1]
        count = len(axes)
        product = axes.astype(np.float64) @ axes.T.astype(np.float64)
        # ‖QᵀQ − 1‖: how far the axes are from orthonormal.
        self.skew = float(np.linalg.norm(product - np.eye(count)))
        # How far a computed projection may lie from the true one: each coordinate errs by the sums
        # of _CHUNK float32 products, which Cauchy and Schwarz bound over the chunks together.
        relative = (_CHUNK + 4) * FLOAT32_ROUNDOFF
        self.error = math.sqrt(count) * relative / (1 - relative) * (1 + self.skew)
        low, high = min(thresholds, default=1.0), max(thresholds, default=1.0)
        # Every T below −1 means the same, and −2 lies inside float32.
        low, high = max(low, -2.0), max(high, -2.0)
        self.low_whole = decision_bounds(low, self.width)[0]
        low_lead = low - self._widening(lead + 1)
        self.low_lead = _down(low_lead)
        self.low_bytes = byte_bound.scaled_threshold(low_lead) if byte_bound else 0
        self.low_full = _down(low - self._widening(count + 1))
        self.certain = math.inf if high >= 1 else _up(high + self._widening(count + 1))

    @classmethod
    def fitted(
        cls, units: Matrix, thresholds: Sequence[float], device: DeviceProducts | None = None
    ) -> Self:
        """The bounds of least expected cost for vectors like a sample of unit vectors (n, width).

        Bounds that cost more than they save are left out. Which bounds are chosen decides how long
        a search takes, never what it finds.
        """
        width = units.shape[1]
        best = cls(thresholds, np.empty((0, width), np.float32), device=device)
        if len(units) < 2 or width < 4 * LEAD[0] or min(thresholds, default=1.0) >= 1:
            return best
        # Matrices are so small that a second thread saves nothing. Where other programs use the
        # cores, it waits for its turn: seconds instead of a tenth.
        with threadpool_limits(1, user_api="blas"):
            axes = leading_axes(units, min(AXES, width // 4))
            trial = spread(units, 2 * _TRIAL)
            in_bytes = device is None and vnni.has_byte_products()
            least = _SCAN + product_cost(width)
            for lead in BYTE_LEAD if in_bytes else LEAD:
                if lead <= len(axes):
                    byte_bound = ByteBound.fitted(trial @ axes[:lead].T) if in_bytes else None
                    screen = cls(thresholds, axes, lead, device, byte_bound)
                    cost = screen.cost(trial)
                    if cost < least:
                        best, least = screen, cost
            whole_in_bytes = in_bytes and byte_product_cost(width // 4) < least
            for step in BYTE_STEPS if whole_in_bytes else ():
                screen = cls(thresholds, axes[:0], byte_bound=ByteBound.fitted(trial, step))
                cost = screen.cost(trial)
                if cost < least:
                    best, least = screen, cost
        return best

    def cost(self, units: Matrix) -> float:
        """Expected nanoseconds a pair, for vectors like some unit vectors (n, width)."""
        left, right = (self.prepare(units[k::2], np.ones(len(units[k::2]))) for k in (0, 1))
        pairs = len(left) * len(right)
        passing = len(self._first_bound(left, right)[0]) / pairs
        cost = passing * _HIT
        if self.byte_bound:
            cost += byte_product_cost(self.byte_bound.steps)
        else:
            cost += product_cost(self.lead + 1) + _SCAN
        open_ = passing
        if len(self.axes):
            upper = products(left.full, right.full)
            lower = upper - 2 * np.outer(left.full[:, -1], right.full[:, -1])
            open_ = np.count_nonzero((upper > self.low_full) & (lower <= self.certain)) / pairs
            depth = len(self.axes) + 1
            cost += min(passing * single_cost(depth), product_cost(depth) + _SCAN)
        return cost + min(open_ * single_cost(self.width), product_cost(self.width))

    def prepare(self, rows: Matrix, squared: NDArray[np.float64]) -> BoundedVectors:
        """Vectors for `candidates`: (n, width) float32, (n,) → `BoundedVectors` of length n.

        squared: the squares of their lengths, none of them zero.
        """
        n, count = len(rows), len(self.axes)
        lengths = np.sqrt(squared)
        bounded = bool(count or self.byte_bound)
        # Pairs that pass are divided by lengths, whole products never; squares must stay in range.
        if not bounded or lengths.min(initial=1) < _SHORT or lengths.max(initial=1) > _LONG:
            rows, lengths = unit_rows(rows, squared), np.ones(n)
        empty = np.empty((n, 0), np.float32)
        if not bounded:
            return BoundedVectors(rows, lengths, empty, empty, *_no_codes(n))
        if not count and self.byte_bound:
            codes = self.byte_bound.codes(rows / lengths[:, None], np.zeros(n))
            return BoundedVectors(rows, lengths, empty, empty, *codes)
        projected = np.zeros((n, count))
        for first in range(0, self.width, _CHUNK):
            part = slice(first, first + _CHUNK)
            projected += rows[:, part] @ self.axes[:, part].T
        projected /= lengths[:, None]
        leading = projected[:, : self.lead]
        lead_squares = _squares(leading)
        full_squares = lead_squares + _squares(projected[:, self.lead :])
        full = self._with_rest(projected, full_squares)
        if self.byte_bound:
            rest = np.maximum(0.0, 1.0 - lead_squares + self._slack())
            codes = self.byte_bound.codes(leading, rest)
            return BoundedVectors(rows, lengths, empty, full, *codes)
        lead = self._with_rest(leading, lead_squares)
        return BoundedVectors(rows, lengths, lead, full, *_no_codes(n))

    def candidates(self, left: BoundedVectors, right: BoundedVectors) -> Candidates:
        """The pairs of a row of `left` and a row of `right` that may be similar.

        All other pairs have Sim ≤ every threshold.
        """
        if self._device:
            return self._candidates_on_device(self._device, left, right)
        if not len(self.axes) and not self.byte_bound:
            product = self._products(left.rows, right.rows)
            row, column = loops.entries_above(product, self.low_whole)
            return Candidates(row, column, product[row, column])
        row, column = self._first_bound(left, right)
        if not len(self.axes):
            value = self._values(left, right, row, column, self._products_at)
            above = np.flatnonzero(value > self.low_whole)
            return Candidates(row[above], column[above], value[above])
        row, column, upper = self._second_bound(left, right, row, column)
        return self._valued(left, right, row, column, upper, self._products_at)

    def _first_bound(
        self, left: BoundedVectors, right: BoundedVectors
    ) -> tuple[IndexArray, IndexArray]:
        """Rows and columns of the pairs that pass the first bound."""
        if self.byte_bound:
            return vnni.pairs_above(
                left.left_codes,
                right.right_codes,
                self.byte_bound.word_steps,
                self.low_bytes,
                (left.unbounded, right.unbounded),
            )
        return loops.entries_above(self._products(left.lead, right.lead), self.low_lead)

    def _candidates_on_device(
        self, device: DeviceProducts, left: BoundedVectors, right: BoundedVectors
    ) -> Candidates:
        if not len(self.axes):
            return Candidates(*device.entries_above(left.rows, right.rows, self.low_whole))
        row, column, _ = device.entries_above(left.lead, right.lead, self.low_lead)
        upper = device.products_at(left.full, right.full, row, column)
        above = np.flatnonzero(upper > self.low_full)
        return self._valued(
            left, right, row[above], column[above], upper[above], device.products_at
        )

    def _valued(
        self,
        left: BoundedVectors,
        right: BoundedVectors,
        row: IndexArray,
        column: IndexArray,
        upper: Matrix,
        products_at: _ProductsAt,
    ) -> Candidates:
        """Candidates of the pairs that pass the second bound, `upper`.

        +inf for the pairs that are certain, the product of the whole vectors for the others.
        """
        lower = upper - 2 * left.full[row, -1] * right.full[column, -1]
        certain = lower > self.certain
        value = np.full(len(row), np.inf, np.float32)
        open_ = np.flatnonzero(~certain)
        value[open_] = self._values(left, right, row[open_], column[open_], products_at)
        return Candidates(row, column, value)

    @staticmethod
    def _values(
        left: BoundedVectors,
        right: BoundedVectors,
        row: IndexArray,
        column: IndexArray,
        products_at: _ProductsAt,
    ) -> Matrix:
        """Products of the whole unit vectors of some pairs."""
        product = products_at(left.rows, right.rows, row, column)
        return np.asarray(product / (left.lengths[row] * right.lengths[column]), np.float32)

    def _second_bound(
        self, left: BoundedVectors, right: BoundedVectors, row: IndexArray, column: IndexArray
    ) -> tuple[IndexArray, IndexArray, Matrix]:
        """Rows and columns of those of some pairs that pass the second bound, and its values."""
        depth, pairs = len(self.axes) + 1, len(left) * len(right)
        if row.size * single_cost(depth) < pairs * product_cost(depth):
            return loops.products_above(left.full, right.full, row, column, self.low_full)
        # This may return pairs that the first bound ruled out; they are decided like all others.
        upper = self._products(left.full, right.full)
        row, column = loops.entries_above(upper, self.low_full)
        return row, column, upper[row, column]

    def _products_at(
        self, left: Matrix, right: Matrix, row: IndexArray, column: IndexArray
    ) -> Matrix:
        """Products of some pairs of whole vectors, by the cheaper of two ways."""
        if row.size * single_cost(self.width) < len(left) * len(right) * product_cost(self.width):
            return loops.products_at(left, right, row, column)
        return self._products(left, right)[row, column]

    def _products(self, left: Matrix, right: Matrix) -> Matrix:
        """`products` in memory that this thread's next call overwrites."""
        return products(left, right, self._thread_memory((len(left), len(right))))

    def _thread_memory(self, shape: tuple[int, int]) -> Matrix:
        """A matrix of this thread's memory, which grows as needed and is used again."""
        size = shape[0] * shape[1]
        buffer: Matrix | None = getattr(self._memory, "buffer", None)
        if buffer is None or buffer.size < size:
            buffer = self._memory.buffer = np.empty(size, np.float32)
        return buffer[:size].reshape(shape)

    def _with_rest(self, projected: NDArray[np.float64], squares: NDArray[np.float64]) -> Matrix:
        """Coordinates and the length of the rest, which is rounded up, as float32."""
        rest = np.sqrt(np.maximum(0.0, 1.0 - squares + self._slack()))
        joined = np.concatenate([projected, rest[:, None]], axis=1).astype(np.float32)
        joined[:, -1] = np.nextafter(joined[:, -1], np.float32(np.inf))
        return joined

    def _slack(self) -> float:
        """How much longer the square of a rest may be than one minus the coordinates' squares."""
        return 2 * self.error * (1 + self.error) + 2 * self.skew + 2.0**-22

    def _widening(self, depth: int) -> float:
        """How far a computed bound of this depth may lie on the wrong side of the true one.

        It adds up the projections' errors in both factors, the axes' skew, the rounding of
        coordinates to float32, the error of a float32 sum of `depth` products of vectors hardly
        longer than 1, and the rounding of the unit vectors. It is doubled to cover second-order
        terms.
        """
        projections = 2 * self.error + 2 * self.skew
        return 2 * (projections + (depth + 8) * FLOAT32_ROUNDOFF)


def _squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _no_codes(count: int) -> tuple[Codes, Codes, Flags]:
    empty = np.empty((count, 0), np.int32)
    return empty, empty, np.zeros(count, np.bool_)


def _down(value: float) -> np.float32:
    return np.float32(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _up(value: float) -> np.float32:
    return np.float32(np.nextafter(np.float32(value), np.float32(np.inf)))
