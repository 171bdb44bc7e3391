"""Histograms on a grid through 0 (the class mean), and rules for the width of a cell.

Use `step_of` and `from_values` to make a histogram of values at hand; use `step` and `from_cells`
where values are counted elsewhere, as Spark does (docs/method.md, "The spline density").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Cells = NDArray[np.int64]
Array = NDArray[np.float64]

MOST_CELLS = 4096  # a cell is at least 1/4096 of the range wide
FURTHEST = 2**62  # cells lie nearer to 0, so that their numbers and sums fit 64-bit integers
RULES = ("scott", "fd", "sturges", "normal")
QUARTILE_RULES = ("fd", "normal")  # the rules that need the interquartile range


@dataclass(frozen=True)
class Histogram:
    """Counts of values in cells of width h: the variational series of the paper, before eq. 2.

    Cell i covers [t_i − h/2, t_i + h/2) around t_i = i·h, i ∈ Z. Histograms of equal steps can be
    added, exactly: `a + b`.

    Attributes:
        origin: the centre of the first cell, a multiple of `step`, in the unit of the values.
        step: h > 0, in the unit of the values.
        counts: (cells,), from the first cell to the last one without a gap; not negative, and at
            least one above 0.

    Raises:
        ValueError: the origin is no multiple of the step, or the step or counts are out of range.

    """

    origin: float
    step: float
    counts: Cells

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, dtype=np.int64)
        _check_steps(self.step)
        first = self.origin / self.step
        if not math.isfinite(first) or abs(first - round(first)) > 1e-6:
            raise ValueError(f"origin: is {self.origin}, must be a multiple of step, {self.step}")
        if counts.ndim != 1:
            raise ValueError(f"counts: shape {counts.shape}, must be a list of numbers")
        _check_counts(counts)
        object.__setattr__(self, "counts", counts)

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of values; ValueError if the steps differ."""
        if not isinstance(other, Histogram):
            return NotImplemented
        if self.step != other.step:
            raise ValueError(f"step: {self.step} and {other.step}; must be equal to add counts up")
        cells = np.concatenate([self.cells, other.cells])
        return from_cells(cells, np.concatenate([self.counts, other.counts]), self.step)

    @property
    def n(self) -> int:
        """The number N of values."""
        return int(self.counts.sum())

    @property
    def first(self) -> int:
        """The number i of the first cell."""
        return round(self.origin / self.step)

    @property
    def cells(self) -> Cells:
        """The number i of each cell: (cells,)."""
        return self.first + np.arange(self.counts.size)

    @property
    def probabilities(self) -> Array:
        """The share p_i = n_i/N of each cell: (cells,)."""
        return np.asarray(self.counts / self.n, np.float64)

    @property
    def centres(self) -> Array:
        """The centre t_i of each cell: (cells,)."""
        return np.asarray(self.cells * self.step, np.float64)


@dataclass(frozen=True)
class Joint:
    """Counts of the occupied cells of a histogram over several axes (paper, p_{i1…in}, eq. 2).

    `joint` makes one of cells in any order. Histograms of equal steps can be added, exactly:
    `a + b`.

    Attributes:
        cells: (m, axes), the numbers of the m occupied cells along each axis; no two are equal.
        counts: (m,), above 0.
        steps: (axes,), the width of a cell along each axis, above 0.

    Raises:
        ValueError: the shapes do not fit, a cell comes twice, or a count or step is not above 0.

    """

    cells: Cells
    counts: Cells
    steps: Array

    def __post_init__(self) -> None:
        cells, counts = np.asarray(self.cells, np.int64), np.asarray(self.counts, np.int64)
        steps = np.asarray(self.steps, np.float64)
        if cells.ndim != 2 or counts.shape != cells.shape[:1] or steps.shape != cells.shape[1:]:
            raise ValueError(
                f"cells, counts, steps: shapes {cells.shape}, {counts.shape}, {steps.shape}; must "
                "be (m, axes), (m,), (axes,)"
            )
        _check_steps(steps)
        _check_counts(counts)
        if counts.min() < 1 or len(np.unique(cells, axis=0)) < len(cells):
            raise ValueError("cells: one twice, or one of no value; `joint` adds such up")
        for name, value in (("cells", cells), ("counts", counts), ("steps", steps)):
            object.__setattr__(self, name, value)

    def __add__(self, other: Joint) -> Joint:
        """Return the histogram of both sets of values; ValueError if the steps differ."""
        if not isinstance(other, Joint):
            return NotImplemented
        if not np.array_equal(self.steps, other.steps):
            raise ValueError(
                f"steps: {self.steps} and {other.steps}; must be equal to add counts up"
            )
        cells = np.concatenate([self.cells, other.cells])
        return joint(cells, np.concatenate([self.counts, other.counts]), self.steps)

    @property
    def n(self) -> int:
        """The number N of values."""
        return int(self.counts.sum())

    @property
    def probabilities(self) -> Array:
        """The share n_i/N of each occupied cell: (m,)."""
        return np.asarray(self.counts / self.n, np.float64)

    @property
    def centres(self) -> Array:
        """The centre of each occupied cell: (m, axes)."""
        return np.asarray(self.cells * self.steps, np.float64)

    def marginal(self, axis: int) -> Histogram:
        """Return the histogram along one axis, counted from 0: the other axes are summed out."""
        if not 0 <= axis < len(self.steps):
            raise ValueError(f"axis: is {axis}, must lie in 0 … {len(self.steps) - 1}")
        return from_cells(self.cells[:, axis], self.counts, float(self.steps[axis]))


def cell(values: ArrayLike, step: ArrayLike) -> Cells:
    """Return the cell of each value, i = ⌊t/h + ½⌋, in an array of the same shape.

    Args:
        values: t, of any shape; points (n, axes) take steps (axes,).
        step: h > 0.

    Raises:
        ValueError: a value is NaN or infinite, or lies 2⁶² or more cells from 0.

    """
    numbers = np.floor(np.asarray(values, np.float64) / np.asarray(step, np.float64) + 0.5)
    if not (np.abs(numbers) < FURTHEST).all():
        raise ValueError("values: NaN, infinite or too large for this step; leave them out")
    return numbers.astype(np.int64)


def from_values(values: ArrayLike, step: float) -> Histogram:
    """Return the histogram of values (n,) with cells of a width.

    Raises:
        ValueError: there are no values, or one is not finite.

    >>> cells = from_values([-0.6, 0.1, 0.2, 1.4], step=1.0)
    >>> cells.counts.tolist(), cells.centres.tolist()
    ([1, 2, 1], [-1.0, 0.0, 1.0])

    """
    cells = cell(values, step).ravel()
    if not cells.size:
        raise ValueError("values: there are none")
    first = int(cells.min())
    return Histogram(first * step, step, np.bincount(cells - first))


def from_cells(cells: ArrayLike, counts: ArrayLike, step: float) -> Histogram:
    """Return the histogram of pairs of cell and count in any order; equal cells are added."""
    cells = np.asarray(cells, np.int64)
    first = int(cells.min())
    dense = np.zeros(int(cells.max()) - first + 1, np.int64)
    np.add.at(dense, cells - first, np.asarray(counts, np.int64))
    return Histogram(first * step, step, dense)


def joint(cells: ArrayLike, counts: ArrayLike, steps: ArrayLike) -> Joint:
    """Return the joint histogram of cells (m, axes) and counts (m,), in any order.

    Counts of equal cells are added; cells of no value are left out.
    """
    distinct, index = np.unique(np.asarray(cells, np.int64), axis=0, return_inverse=True)
    totals = np.zeros(len(distinct), np.int64)
    np.add.at(totals, index.ravel(), np.asarray(counts, np.int64))
    return Joint(distinct[totals != 0], totals[totals != 0], np.asarray(steps, np.float64))


def step_scott(n: int, sigma: float) -> float:
    """Return Scott's step 3.4908·σ·n^(−1/3), σ with divisor n (Biometrika 66, 1979)."""
    return float(3.4908 * sigma * n ** (-1 / 3))


def step_fd(n: int, iqr: float) -> float:
    """Return 2·IQR·n^(−1/3) (Freedman & Diaconis, Z. Wahrscheinlichkeitstheorie 57, 1981)."""
    return float(2 * iqr * n ** (-1 / 3))


def step_sturges(n: int, extent: float) -> float:
    """Return range/(log₂ n + 1) (Sturges, J. Am. Stat. Assoc. 21, 1926)."""
    return extent / (math.log2(n) + 1)


def step_normal(n: int, sigma: float, iqr: float) -> float:
    """Return 1.88·min(σ, IQR/1.349)·n^(−1/5), the best step of the spline for normal data.

    It minimises the integrated squared error of the spline density, a kernel estimate of binned
    values, whose best step falls as n^(−1/5); that of a histogram falls as n^(−1/3). It smooths
    away separated modes, for which Scott's rule is better.
    """
    return float(1.88 * min(sigma, iqr / 1.349) * n ** (-1 / 5))


def step(
    rule: str | int, n: int, sigma: float, extent: float, quartiles: Sequence[float] = ()
) -> float:
    """Return the width of a cell by a rule: at least extent/4096, and 1 if all values are equal.

    Args:
        rule: "scott", "fd", "sturges", "normal", or a number m ≥ 1 of cells, for extent/m.
        n: the number of values.
        sigma: their standard deviation, divisor n.
        extent: the largest value minus the smallest.
        quartiles: the 25th and 75th percentile, which "fd" and "normal" need. If they are equal,
            these rules become "scott".

    Raises:
        ValueError: another rule, or no quartiles where they are needed.

    """
    width = max(_width(rule, n, sigma, extent, quartiles), extent / MOST_CELLS)
    return width if width > 0 else 1.0


def _width(
    rule: str | int, n: int, sigma: float, extent: float, quartiles: Sequence[float]
) -> float:
    if isinstance(rule, int) and not isinstance(rule, bool) and rule >= 1:
        return extent / rule
    if rule not in RULES:
        rules = ", ".join(RULES)
        raise ValueError(f"step: {rule!r} is not a rule; use {rules} or a number of cells")
    if rule in QUARTILE_RULES:
        if len(quartiles) != 2:
            raise ValueError(f"step: {rule!r} needs the quartiles of the values")
        iqr = quartiles[1] - quartiles[0]
        if iqr > 0:
            return step_fd(n, iqr) if rule == "fd" else step_normal(n, sigma, iqr)
    return step_sturges(n, extent) if rule == "sturges" else step_scott(n, sigma)


def step_of(values: ArrayLike, rule: str | int = "scott") -> float:
    """Return the width of a cell for values (n,) by a rule, as `step`; ValueError if n is 0."""
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("values: there are none")
    quartiles = np.percentile(values, [25, 75]).tolist() if rule in QUARTILE_RULES else ()
    return step(rule, values.size, float(values.std()), float(np.ptp(values)), quartiles)


def _check_steps(steps: ArrayLike) -> None:
    steps = np.asarray(steps, np.float64)
    if not ((steps > 0) & (steps < np.inf)).all():
        raise ValueError(f"step: is {steps}, must be positive")


def _check_counts(counts: Cells) -> None:
    if not counts.size or counts.min() < 0 or not counts.any():
        raise ValueError("counts: must be non-negative numbers with one above 0")
