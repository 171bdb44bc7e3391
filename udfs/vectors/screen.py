"""Which pairs cannot be similar: bounds on their cosine from a few leading axes, without loss.

Unit vectors are written as x = (x_k, rest): their coordinates on k leading axes, and what is
orthogonal to these. By Cauchy and Schwarz x·y lies within ‖rest_x‖·‖rest_y‖ of x_k·y_k, and
x_k·y_k + ‖rest_x‖·‖rest_y‖ is itself a product of vectors of k + 1 numbers. One matrix product of
depth k + 1 rules out most pairs; those left are looked at with more axes, and what is still open
as a whole (spec, section 3). The same idea by levels of a rotated index is FAISS's
IndexFlatIPPanorama (arXiv 2510.00566). What is lost by rounding is inside the bounds.
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

from udfs.vectors.axes import Rows, leading_axes, spread
from udfs.vectors.byte_bound import Coarse, Codes
from udfs.vectors.cosine import FLOAT32_ROUNDOFF, Matrix, products, screen, unit_rows
from udfs.vectors.gpu import OnDevice
from udfs.vectors.kernels import loops
from udfs.vectors.kernels.loops import Places

_At = Callable[[Matrix, Matrix, Any, Any], Matrix]  # products of some pairs of rows
Flags = NDArray[np.bool_]

AXES = 127  # of the second bound, with the rest's length 512 bytes; of latents 99.6 % of the energy
LEAD = (8, 16, 24, 32, 48, 64, 96)  # axes that the first bound may take
COARSE_LEAD = (16, 32, 48, 64, 96)  # the same in bytes
STEPS = (0.004, 0.003, 0.002, 0.001)  # of the bytes of whole vectors


_TRIAL = 512  # rows whose pairs with as many others tell how much a bound rules out
_CHUNK = 128  # numbers a float32 sum of a projection runs over
_SHORT = 2.0**-40  # of lengths whose float32 products stay well inside the range
_LONG = 2.0**40
# Nanoseconds a pair on one core, measured; their ratios alone decide, and only what is done first.
_SCAN = 0.1  # to compare one with a bound
_PRODUCT = (0.6, 0.024)  # a matrix product: at depth 0, and for each number more
_COARSE = (0.05, 0.022)  # a product of whole numbers, compared: the same, for each step
_HIT = 3.0  # to note one that passes
_SINGLE = (10.0, 0.1)  # one entry of such a product by itself: the same


def product_cost(depth: int) -> float:
    """What an entry of a matrix product of this depth costs."""
    return _PRODUCT[0] + _PRODUCT[1] * depth


def coarse_cost(steps: int) -> float:
    """What an entry of a product of whole numbers costs."""
    return _COARSE[0] + _COARSE[1] * steps


def single_cost(depth: int) -> float:
    """What one entry of such a product costs that is computed by itself."""
    return _SINGLE[0] + _SINGLE[1] * depth


@dataclass(frozen=True)
class Sides:
    """Vectors as the bounds want them.

    rows: (n, width), and their lengths (n,): of products of whole vectors. near: (n, lead + 1), the
    unit vectors' coordinates on the lead axes and the length of the rest. far: (n, axes + 1), the
    same for all axes. Without axes near and far are empty.
    left, right, loose: what takes the place of near where the first bound is of bytes (`Coarse`).
    """

    rows: Matrix
    lengths: NDArray[np.float64]
    near: Matrix
    far: Matrix
    left: Codes
    right: Codes
    loose: Flags

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: Rows | slice) -> Self:
        """Some of them; a slice copies nothing."""
        return type(self)(*(part[rows] for part in self.parts()))

    @classmethod
    def empty(cls, count: int, like: Self) -> Self:
        """Room for so many; memory is touched only as far as it is filled."""
        return cls(*(np.empty((count, *part.shape[1:]), part.dtype) for part in like.parts()))

    def put(self, rows: slice, others: Self) -> None:
        """Fill some of them."""
        for mine, theirs in zip(self.parts(), others.parts(), strict=True):
            mine[rows] = theirs

    def parts(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


class Candidates(NamedTuple):
    """Pairs in rising order of (row, column).

    value: the product of the two unit vectors where that had to be computed, +inf where Sim is
    surely above every threshold.
    """

    row: Places
    column: Places
    value: Matrix

    def dense(self, shape: tuple[int, int]) -> Matrix:
        """As a matrix, −inf where there is no candidate."""
        matrix = np.full(shape, -np.inf, np.float32)
        matrix[self.row, self.column] = self.value
        return matrix


class Screen:
    """What rules pairs of unit vectors out, and lets certain ones in, for a list of thresholds."""

    def __init__(
        self,
        thresholds: Sequence[float],
        axes: Matrix,
        lead: int = 0,
        device: OnDevice | None = None,
        coarse: Coarse | None = None,
    ) -> None:
        """axes: (k, width) float32, nearly orthonormal, by falling energy; (0, width) for none.

        device: where products are computed; None: here, by NumPy. coarse: what the first bound has
        of its `lead` axes, or, where there are none, of the vectors as they are; None: float32.

        Raises ValueError where the first bound would take none of the axes, or more, where bytes
        are of other axes than it takes, or on a device.
        """
        if len(axes) and not 1 <= lead <= len(axes):
            raise ValueError(f"lead is {lead}; it must lie between 1 and the {len(axes)} axes")
        if coarse and len(coarse.wide) != (lead if len(axes) else axes.shape[1]):
            raise ValueError(f"bytes are of {len(coarse.wide)} axes, the first bound is of others")
        if device and coarse:
            raise ValueError("a device computes no products of bytes: give it no coarse bound")
        self._memory = threading.local()
        self._device = device
        self.axes = axes
        self.lead = lead
        self.coarse = coarse
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
        low, high = max(low, -2.0), max(high, -2.0)  # below −1 all the same, and inside float32
        self.plain = screen(low, self.width)[0]
        self.near = _down(low - self._widening(lead + 1))
        self.least = coarse.least(low - self._widening(lead + 1)) if coarse else 0
        self.far = _down(low - self._widening(count + 1))
        self.certain = math.inf if high >= 1 else _up(high + self._widening(count + 1))

    @classmethod
    def fitted(
        cls, units: Matrix, thresholds: Sequence[float], device: OnDevice | None = None
    ) -> Self:
        """A screen for vectors like a sample of unit vectors (n, width): bounds where they pay.

        Which axes these are decides how long a search takes, never what it finds.
        """
        width = units.shape[1]
        best = cls(thresholds, np.empty((0, width), np.float32), device=device)
        if len(units) < 2 or width < 4 * LEAD[0] or min(thresholds, default=1.0) >= 1:
            return best
        # Of so small matrices a second thread takes nothing off, and where other programs want the
        # cores it waits for its turn: seconds instead of a tenth.
        with threadpool_limits(1, user_api="blas"):
            axes = leading_axes(units, min(AXES, width // 4))
            trial = spread(units, 2 * _TRIAL)
            in_bytes = device is None and loops.has_byte_products()
            least = _SCAN + product_cost(width)
            for lead in COARSE_LEAD if in_bytes else LEAD:
                if lead <= len(axes):
                    coarse = Coarse.fitted(trial @ axes[:lead].T) if in_bytes else None
                    tried = cls(thresholds, axes, lead, device, coarse)
                    cost = tried.cost(trial)
                    if cost < least:
                        best, least = tried, cost
            for step in STEPS if in_bytes and coarse_cost(width // 4) < least else ():
                tried = cls(thresholds, axes[:0], coarse=Coarse.fitted(trial, step))
                cost = tried.cost(trial)
                if cost < least:
                    best, least = tried, cost
        return best

    def cost(self, units: Matrix) -> float:
        """Expected nanoseconds a pair of vectors like some unit vectors (n, width)."""
        left, right = (self.sides(units[k::2], np.ones(len(units[k::2]))) for k in (0, 1))
        pairs = len(left) * len(right)
        near = len(self._passing(left, right)[0]) / pairs
        cost = near * _HIT
        if self.coarse:
            cost += coarse_cost(self.coarse.steps)
        else:
            cost += product_cost(self.lead + 1) + _SCAN
        open_ = near
        if len(self.axes):
            far = products(left.far, right.far)
            low = far - 2 * np.outer(left.far[:, -1], right.far[:, -1])
            open_ = np.count_nonzero((far > self.far) & (low <= self.certain)) / pairs
            depth = len(self.axes) + 1
            cost += min(near * single_cost(depth), product_cost(depth) + _SCAN)
        return cost + min(open_ * single_cost(self.width), product_cost(self.width))

    def sides(self, rows: Matrix, squared: NDArray[np.float64]) -> Sides:
        """Vectors (n, width) of some direction, and the squares of their lengths (n,)."""
        n, count = len(rows), len(self.axes)
        lengths = np.sqrt(squared)
        bounded = bool(count or self.coarse)
        # Only pairs are divided by lengths, never whole products; and squares must stay in range.
        if not bounded or lengths.min(initial=1) < _SHORT or lengths.max(initial=1) > _LONG:
            rows, lengths = unit_rows(rows, squared), np.ones(n)
        empty = np.empty((n, 0), np.float32)
        if not bounded:
            return Sides(rows, lengths, empty, empty, *_no_codes(n))
        if not count and self.coarse:
            coarse = self.coarse.sides(rows / lengths[:, None], np.zeros(n))
            return Sides(rows, lengths, empty, empty, *coarse)
        projected = np.zeros((n, count))
        for first in range(0, self.width, _CHUNK):
            part = slice(first, first + _CHUNK)
            projected += rows[:, part] @ self.axes[:, part].T
        projected /= lengths[:, None]
        leading = projected[:, : self.lead]
        of_lead = _squares(leading)
        of_all = of_lead + _squares(projected[:, self.lead :])
        far = self._with_rest(projected, of_all)
        if self.coarse:
            rest = np.maximum(0.0, 1.0 - of_lead + self._slack())
            return Sides(rows, lengths, empty, far, *self.coarse.sides(leading, rest))
        return Sides(rows, lengths, self._with_rest(leading, of_lead), far, *_no_codes(n))

    def candidates(self, left: Sides, right: Sides) -> Candidates:
        """The pairs of a row of `left` and one of `right` that may be similar, and what is known.

        All others have Sim ≤ every threshold.
        """
        if self._device:
            return self._on_device(self._device, left, right)
        if not len(self.axes) and not self.coarse:
            product = self._products(left.rows, right.rows)
            row, column = loops.above(product, self.plain)
            return Candidates(row, column, product[row, column])
        row, column = self._passing(left, right)
        if not len(self.axes):
            value = self._values(left, right, row, column, self._whole)
            some = np.flatnonzero(value > self.plain)
            return Candidates(row[some], column[some], value[some])
        return self._settled(left, right, *self._second(left, right, row, column), self._whole)

    def _passing(self, left: Sides, right: Sides) -> tuple[Places, Places]:
        """Rows and columns of the pairs that pass the first bound."""
        if self.coarse:
            loose = left.loose, right.loose
            return loops.passing(left.left, right.right, self.coarse.words, self.least, loose)
        return loops.above(self._products(left.near, right.near), self.near)

    def _on_device(self, device: OnDevice, left: Sides, right: Sides) -> Candidates:
        if not len(self.axes):
            return Candidates(*device.above(left.rows, right.rows, self.plain))
        row, column, _ = device.above(left.near, right.near, self.near)
        upper = device.at(left.far, right.far, row, column)
        some = np.flatnonzero(upper > self.far)
        return self._settled(left, right, row[some], column[some], upper[some], device.at)

    def _settled(
        self,
        left: Sides,
        right: Sides,
        row: Places,
        column: Places,
        upper: Matrix,
        at: _At,
    ) -> Candidates:
        """What passes the second bound, and the product of those that it does not let in."""
        lower = upper - 2 * left.far[row, -1] * right.far[column, -1]
        certain = lower > self.certain
        value = np.full(len(row), np.inf, np.float32)
        open_ = np.flatnonzero(~certain)
        value[open_] = self._values(left, right, row[open_], column[open_], at)
        return Candidates(row, column, value)

    @staticmethod
    def _values(left: Sides, right: Sides, row: Places, column: Places, at: _At) -> Matrix:
        """Products of whole unit vectors."""
        product = at(left.rows, right.rows, row, column)
        return np.asarray(product / (left.lengths[row] * right.lengths[column]), np.float32)

    def _second(
        self, left: Sides, right: Sides, row: Places, column: Places
    ) -> tuple[Places, Places, Matrix]:
        """Which of these pairs pass the second bound, and that bound."""
        depth, pairs = len(self.axes) + 1, len(left) * len(right)
        if row.size * single_cost(depth) < pairs * product_cost(depth):
            return loops.products_above(left.far, right.far, row, column, self.far)
        far = self._products(left.far, right.far)
        row, column = loops.above(far, self.far)
        return row, column, far[row, column]

    def _whole(self, left: Matrix, right: Matrix, row: Places, column: Places) -> Matrix:
        """Products of whole vectors, by the cheaper of two ways."""
        if row.size * single_cost(self.width) < len(left) * len(right) * product_cost(self.width):
            return loops.products_at(left, right, row, column)
        return self._products(left, right)[row, column]

    def _products(self, left: Matrix, right: Matrix) -> Matrix:
        """`products` in memory that this thread uses again: take what is wanted of it at once."""
        return products(left, right, self._memory_of((len(left), len(right))))

    def _memory_of(self, shape: tuple[int, int]) -> Matrix:
        """A matrix of this thread's memory."""
        wanted = shape[0] * shape[1]
        buffer: Matrix | None = getattr(self._memory, "buffer", None)
        if buffer is None or buffer.size < wanted:
            buffer = self._memory.buffer = np.empty(wanted, np.float32)
        return buffer[:wanted].reshape(shape)

    def _with_rest(self, projected: NDArray[np.float64], squares: NDArray[np.float64]) -> Matrix:
        """Coordinates and the length of the rest, rounded up, as float32."""
        rest = np.sqrt(np.maximum(0.0, 1.0 - squares + self._slack()))
        joined = np.concatenate([projected, rest[:, None]], axis=1).astype(np.float32)
        joined[:, -1] = np.nextafter(joined[:, -1], np.float32(np.inf))
        return joined

    def _slack(self) -> float:
        """How much longer the square of a rest may be than one minus the coordinates' squares."""
        return 2 * self.error * (1 + self.error) + 2 * self.skew + 2.0**-22

    def _widening(self, depth: int) -> float:
        """How far a computed bound of this depth may lie on the wrong side of the true one.

        The projections' errors in both factors, the axes' skew, rounding coordinates to float32,
        and a float32 sum of `depth` products of vectors hardly longer than 1; that the unit
        vectors are rounded themselves. Doubled, for what second-order terms there are.
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
