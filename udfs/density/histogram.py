"""Histograms on a grid through 0, the class mean, and rules for the width of a cell (spec §5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Cells = NDArray[np.int64]
Array = NDArray[np.float64]

SMALLEST_STEP = 4096  # h is at least range/4096
FURTHEST = 2**62  # cells are numbered by 64-bit integers
RULES = ("scott", "fd", "sturges", "normal")
OF_QUARTILES = ("fd", "normal")  # the rules that need the interquartile range


@dataclass(frozen=True)
class Histogram:
    """Counts in cells of width `step`, dense from the first to the last non-empty cell.

    origin: the centre of the first cell, a multiple of `step`; cell i covers
    [t_i − h/2, t_i + h/2) around t_i = i·h, i ∈ Z (paper, the variational series before eq. 2).
    Histograms of one grid add up, exactly: `a + b`.
    """

    origin: float
    step: float
    counts: Cells

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, dtype=np.int64)
        _check_steps(self.step)
        place = self.origin / self.step
        if not math.isfinite(place) or abs(place - round(place)) > 1e-6:
            raise ValueError(f"origin: is {self.origin}, must be a multiple of step, {self.step}")
        if counts.ndim != 1:
            raise ValueError(f"counts: shape {counts.shape}, must be a list of numbers")
        _check_counts(counts)
        object.__setattr__(self, "counts", counts)

    def __add__(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values; ValueError where the steps differ."""
        if not isinstance(other, Histogram):
            return NotImplemented
        if self.step != other.step:
            raise ValueError(f"step: {self.step} and {other.step}; must be equal to add counts up")
        cells = np.concatenate([self.cells, other.cells])
        return from_cells(cells, np.concatenate([self.counts, other.counts]), self.step)

    @property
    def n(self) -> int:
        """Number of values."""
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
        """p_i = n_i/N: (cells,)."""
        return np.asarray(self.counts / self.n, np.float64)

    @property
    def centres(self) -> Array:
        """t_i of each cell: (cells,)."""
        return np.asarray(self.cells * self.step, np.float64)


@dataclass(frozen=True)
class Joint:
    """Counts of the occupied cells of a histogram over several axes (paper, p_{i1…in}).

    cells: (m, axes), the numbers i of each occupied cell, distinct; counts: (m,), all above 0;
    steps: (axes,), the width of a cell along each axis. `joint` makes one of cells in any order.
    Histograms of one grid add up, exactly: `a + b`.
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
        """The histogram of both sets of values; ValueError where the steps differ."""
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
        """Number of values."""
        return int(self.counts.sum())

    @property
    def probabilities(self) -> Array:
        """The p_i of each occupied cell: (m,)."""
        return np.asarray(self.counts / self.n, np.float64)

    @property
    def centres(self) -> Array:
        """The centre of each occupied cell: (m, axes)."""
        return np.asarray(self.cells * self.steps, np.float64)

    def marginal(self, axis: int) -> Histogram:
        """The histogram along one axis (from 0): the counts of all cells with the same i there."""
        if not 0 <= axis < len(self.steps):
            raise ValueError(f"axis: is {axis}, must lie in 0 … {len(self.steps) - 1}")
        return from_cells(self.cells[:, axis], self.counts, float(self.steps[axis]))


def cell(values: ArrayLike, step: ArrayLike) -> Cells:
    """The cell of each value: i = floor(t/h + 1/2). Points (n, axes) take steps (axes,).

    Raises ValueError where a value is NaN or infinite, or 2⁶² cells and more from 0.
    """
    places = np.floor(np.asarray(values, np.float64) / np.asarray(step, np.float64) + 0.5)
    if not (np.abs(places) < FURTHEST).all():
        raise ValueError("values: NaN, infinite or too large for this step; leave them out")
    return places.astype(np.int64)


def from_values(values: ArrayLike, step: float) -> Histogram:
    """The histogram of values (n,); ValueError where there are none or one is not finite."""
    cells = cell(values, step).ravel()
    if not cells.size:
        raise ValueError("values: there are none")
    first = int(cells.min())
    return Histogram(first * step, step, np.bincount(cells - first))


def from_cells(cells: ArrayLike, counts: ArrayLike, step: float) -> Histogram:
    """A histogram of (cell, count) pairs in any order; pairs of one cell add up, exactly."""
    cells = np.asarray(cells, np.int64)
    first = int(cells.min())
    dense = np.zeros(int(cells.max()) - first + 1, np.int64)
    np.add.at(dense, cells - first, np.asarray(counts, np.int64))
    return Histogram(first * step, step, dense)


def joint(cells: ArrayLike, counts: ArrayLike, steps: ArrayLike) -> Joint:
    """A joint histogram of cells (m, axes) with counts (m,) in any order; equal cells add up."""
    distinct, place = np.unique(np.asarray(cells, np.int64), axis=0, return_inverse=True)
    totals = np.zeros(len(distinct), np.int64)
    np.add.at(totals, place.ravel(), np.asarray(counts, np.int64))
    return Joint(distinct[totals != 0], totals[totals != 0], np.asarray(steps, np.float64))


def step_scott(n: int, sigma: float) -> float:
    """3.4908·σ·n^(−1/3), σ with divisor n (Scott, Biometrika 66, 1979)."""
    return float(3.4908 * sigma * n ** (-1 / 3))


def step_fd(n: int, iqr: float) -> float:
    """2·IQR·n^(−1/3) (Freedman & Diaconis, Z. Wahrscheinlichkeitstheorie 57, 1981)."""
    return float(2 * iqr * n ** (-1 / 3))


def step_sturges(n: int, extent: float) -> float:
    """range/(log₂ n + 1) (Sturges, J. Am. Stat. Assoc. 21, 1926)."""
    return extent / (math.log2(n) + 1)


def step_normal(n: int, sigma: float, iqr: float) -> float:
    """1.88·min(σ, IQR/1.349)·n^(−1/5): least squared error of the *spline* on normal data.

    The spline is a kernel estimate of binned values, so its best step falls as n^(−1/5), a
    histogram's as n^(−1/3). Separated modes are smoothed away by it: there Scott's is better.
    """
    return float(1.88 * min(sigma, iqr / 1.349) * n ** (-1 / 5))


def step(
    rule: str | int, n: int, sigma: float, extent: float, quartiles: Sequence[float] = ()
) -> float:
    """The width of a cell by a rule, or extent/m for m cells; at least extent/4096, above 0.

    rule: "scott", "fd", "sturges", "normal", or m ≥ 1; n: values; sigma: their standard deviation
    (divisor n); extent: largest minus smallest; quartiles: the 25th and 75th percentile, only
    needed by "fd" and "normal", which become "scott" where they are equal. Where all values are
    equal, any width puts them into one cell: 1 is taken.
    """
    width = max(_width(rule, n, sigma, extent, quartiles), extent / SMALLEST_STEP)
    return width if width > 0 else 1.0


def _width(
    rule: str | int, n: int, sigma: float, extent: float, quartiles: Sequence[float]
) -> float:
    if isinstance(rule, int) and not isinstance(rule, bool) and rule >= 1:
        return extent / rule
    if rule not in RULES:
        known = ", ".join(RULES)
        raise ValueError(f"step: {rule!r} is not a rule; use {known} or a number of cells")
    if rule in OF_QUARTILES:
        if len(quartiles) != 2:
            raise ValueError(f"step: {rule!r} needs the quartiles of the values")
        iqr = quartiles[1] - quartiles[0]
        if iqr > 0:
            return step_fd(n, iqr) if rule == "fd" else step_normal(n, sigma, iqr)
    return step_sturges(n, extent) if rule == "sturges" else step_scott(n, sigma)


def step_of(values: ArrayLike, rule: str | int = "scott") -> float:
    """The width of a cell by a rule for values (n,); ValueError where there are none."""
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("values: there are none")
    quartiles = np.percentile(values, [25, 75]).tolist() if rule in OF_QUARTILES else ()
    return step(rule, values.size, float(values.std()), float(np.ptp(values)), quartiles)


def _check_steps(steps: ArrayLike) -> None:
    steps = np.asarray(steps, np.float64)
    if not ((steps > 0) & (steps < np.inf)).all():
        raise ValueError(f"step: is {steps}, must be positive")


def _check_counts(counts: Cells) -> None:
    if not counts.size or counts.min() < 0 or not counts.any():
        raise ValueError("counts: must be non-negative numbers with one above 0")
