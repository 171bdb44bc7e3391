"""All pairs of images whose similarity is above a threshold (spec, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors import axes
from udfs.vectors.cosine import Matrix, Vector, screen, similarities_at, squared_norms, unit_rows
from udfs.vectors.kernels.loops import Places
from udfs.vectors.screen import Screen, Sides

Indices = NDArray[np.int64]

_BITS = 31  # of a row's number: two are sorted as one


def similar_pairs(
    rows: Matrix,
    threshold: float,
    *,
    block: int = 2048,
    threads: int = 1,
    bounded: bool = True,
) -> tuple[Indices, Indices]:
    """The pairs (i, j), i < j, of rows with Sim > threshold, in rising order: (pairs,) twice.

    rows: (n, width) float32; a zero row has no Sim and is in no pair. The pairs depend on the rows
    and T alone. `bounded` False compares all by plain products.

    Raises ValueError where a number is NaN or infinite, or T is NaN. Cost: n²/2 products of the
    depth that the bounds need, on latents of width 1024 of 40 to 120 bytes; memory: the pairs, some
    700 bytes a row for the bounds (without them the unit vectors) and `threads` times
    (block, block).
    """
    ready = Searched(rows, threshold, block=block, bounded=bounded, threads=threads)
    starts = range(0, len(ready.names), block)
    tiles = [(a, b) for a in starts for b in starts if a <= b]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:

        def of_tile(tile: tuple[int, int]) -> Indices:
            left, right = tile
            found = _possible(
                ready.finder, ready.sides[left], ready.sides[right], threshold, left == right
            )
            i, j, sure = ready.names[left + found[0]], ready.names[right + found[1]], found[2]
            unsure = np.flatnonzero(~sure)
            similarity = similarities_at(rows.__getitem__, ready.squared, i[unsure], j[unsure])
            sure[unsure] = similarity > threshold
            codes: Indices = (i[sure] << _BITS) | j[sure]
            return codes

        codes = np.concatenate([np.empty(0, np.int64), *pool.map(of_tile, tiles)])
    codes.sort()
    return codes >> _BITS, codes & ((1 << _BITS) - 1)


class Searched:
    """Rows made ready once, to be searched for what resembles others."""

    def __init__(
        self,
        rows: Matrix,
        threshold: float,
        *,
        block: int = 1024,
        bounded: bool | None = None,
        threads: int = 1,
    ) -> None:
        """rows: (n, width) float32. bounded: whether bounds are looked for; None: in any case.

        Raises ValueError where a number is NaN or infinite, or T is NaN.
        """
        if np.isnan(threshold):
            raise ValueError("threshold is NaN")
        self.rows = rows
        self.threshold = threshold
        trial = np.arange(len(rows))
        if bounded is None:
            trial = axes.spread(trial, axes.SAMPLE)
        else:
            trial = axes.sample(trial) if bounded else trial[:0]
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            fitting = pool.submit(self._fitted, trial)
            starts = range(0, len(rows), block)
            norms = pool.map(lambda a: squared_norms(rows[a : a + block], a), starts)
            self.squared = np.concatenate([np.empty(0), *norms])
            self.names = np.flatnonzero(self.squared > 0)
            self.finder = fitting.result()
            starts = range(0, len(self.names), block)

            def of_block(first: int) -> Sides:
                places: Indices | slice = self.names[first : first + block]
                if len(self.names) == len(rows):
                    places = slice(first, first + block)  # copies nothing
                return self.finder.sides(rows[places], self.squared[places])

            self.sides = dict(zip(starts, pool.map(of_block, starts), strict=True))

    def _fitted(self, trial: Indices) -> Screen:
        """A screen for vectors like these rows, as far as they have a direction."""
        squared = squared_norms(self.rows[trial])
        some = squared > 0
        units = unit_rows(self.rows[trial[some]], squared[some])
        return Screen.fitted(units, [self.threshold])

    def pairs(
        self, others: Matrix, allowed: Callable[[Indices, Indices], NDArray[np.bool_]]
    ) -> tuple[Indices, Indices, Vector]:
        """Allowed pairs of a row i and one j of `others` with Sim > T: i, j, Sim, (pairs,) each.

        others: (m, width) float32. allowed: of pairs (i, j), which are wanted at all.
        """
        n = len(self.rows)
        squared = np.concatenate([self.squared, squared_norms(others)])
        names = np.flatnonzero(squared[n:] > 0)
        right = self.finder.sides(others[names], squared[n:][names])

        def rows(places: Indices) -> Matrix:
            return np.where(
                (places < n)[:, None],
                self.rows[np.minimum(places, n - 1)],
                others[np.maximum(places - n, 0)],
            )

        found: list[tuple[Indices, Indices]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for first, left in self.sides.items():
            row, column, _ = _possible(self.finder, left, right, self.threshold, False)
            i, j = self.names[first + row], names[column]
            some = allowed(i, j)
            found.append((i[some], j[some]))
        i, j = (np.concatenate(part) for part in zip(*found, strict=True))
        similarity = similarities_at(rows, squared, i, n + j)
        above = similarity > self.threshold
        return i[above], j[above], similarity[above]


def _possible(
    finder: Screen, left: Sides, right: Sides, threshold: float, square: bool
) -> tuple[Places, Places, NDArray[np.bool_]]:
    """Rows and columns that may be similar, and whether they surely are."""
    low, high = screen(threshold, left.rows.shape[1])
    row, column, value = finder.candidates(left, right)
    some = np.flatnonzero((value > low) & (row < column) if square else value > low)
    return row[some], column[some], value[some] > high
