"""Histograms on a grid through the class mean, from sparse counts (spec §5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMALLEST_STEP = 4096  # h is at least range/4096


@dataclass(frozen=True)
class Histogram:
    """Counts in cells of width `step`, dense from the first to the last non-empty cell.

    origin: the centre of the first cell; cell i covers [t_i − h/2, t_i + h/2), t_i = i·h, i ∈ Z.
    """

    origin: float
    step: float
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, dtype=np.int64)
        if not self.step > 0 or not np.isfinite(self.step):
            raise ValueError(f"step: is {self.step}, must be positive")
        if counts.ndim != 1 or not counts.size or counts.min() < 0 or not counts.any():
            raise ValueError("counts: must be a list of non-negative numbers with one above 0")
        object.__setattr__(self, "counts", counts)

    @property
    def n(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """p_i = n_i/N."""
        return np.asarray(self.counts / self.n, np.float64)

    @property
    def centres(self) -> NDArray[np.float64]:
        """t_i of each cell."""
        first = round(self.origin / self.step)
        return np.asarray((first + np.arange(self.counts.size)) * self.step, np.float64)


def cell(values: ArrayLike, step: float) -> NDArray[np.int64]:
    """The cell of each value: i = floor(t/h + 1/2)."""
    return np.floor(np.asarray(values, np.float64) / step + 0.5).astype(np.int64)


def from_cells(cells: NDArray[np.int64], counts: NDArray[np.int64], step: float) -> Histogram:
    """A histogram of (cell, count) pairs in any order; pairs of one cell add up, exactly."""
    cells = np.asarray(cells, np.int64)
    first = int(cells.min())
    dense = np.zeros(int(cells.max()) - first + 1, np.int64)
    np.add.at(dense, cells - first, counts)
    return Histogram(first * step, step, dense)


def step_scott(n: int, sigma: float) -> float:
    """3.4908·σ·n^(−1/3), σ with divisor n (Scott 1979)."""
    return float(3.4908 * sigma * n ** (-1 / 3))


def step(rule: str | float, n: int, sigma: float, extent: float) -> float:
    """The width of a cell by a rule ("scott") or as given; at least extent/4096, always positive.

    n: values; sigma: their standard deviation (divisor n); extent: largest minus smallest. Where
    all values are equal, any width puts them into one cell: 1 is taken.
    """
    if isinstance(rule, str) and rule != "scott":
        raise ValueError(f"step: {rule!r} is not a rule; use scott or a number")
    width = step_scott(n, sigma) if isinstance(rule, str) else float(rule)
    width = max(width, extent / SMALLEST_STEP)
    return width if width > 0 else 1.0
