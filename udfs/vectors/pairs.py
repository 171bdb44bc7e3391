"""All pairs of vectors whose similarity is above a threshold.

Use `similar_pairs` for the pairs within one set, and `SearchableRows` for the pairs of one set with
several other sets. The pairs are exact: see section "Which images stay" of docs/method.md.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.vectors.axes import SAMPLE, fitting_sample, spread
from udfs.vectors.cosine import (
    Indices,
    Matrix,
    Vector,
    decision_bounds,
    similarities_at,
    squared_norms,
    unit_rows,
)
from udfs.vectors.kernels.loops import IndexArray
from udfs.vectors.screen import BoundedVectors, Screen

_BITS = 31  # of a row's index: two of them are sorted as one number


def similar_pairs(
    rows: Matrix,
    threshold: float,
    *,
    block: int = 2048,
    threads: int = 1,
    bounded: bool = True,
) -> tuple[Indices, Indices]:
    """The pairs (i, j), i < j, of rows with Sim > threshold: (n, width) → (pairs,) twice.

    Args:
        rows: float32; a zero row has no Sim and is in no pair.
        threshold: T. The pairs depend on the rows and T alone.
        block: rows that are compared with as many others at a time.
        threads: blocks that are compared at a time.
        bounded: whether bounds rule pairs out; False compares all pairs by plain products.

    Returns:
        i and j, in rising order.

    Raises:
        ValueError: a number is NaN or infinite, or T is NaN.

    Cost: n²/2 products of the depth that the bounds need, 40 to 120 bytes for latents of width
    1024. Memory: the pairs, some 700 bytes a row for the bounds (without them the unit vectors) and
    `threads` times (block, block).

    >>> rows = np.array([[1, 0], [0, 1], [3, 4], [0, 5]], np.float32)
    >>> i, j = similar_pairs(rows, 0.7)
    >>> list(zip(i.tolist(), j.tolist()))
    [(1, 2), (1, 3), (2, 3)]
    """
    prepared = SearchableRows(rows, threshold, block=block, bounded=bounded, threads=threads)
    starts = range(0, len(prepared.directed), block)
    tiles = [(a, b) for a in starts for b in starts if a <= b]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:

        def codes_of_tile(tile: tuple[int, int]) -> Indices:
            left, right = tile
            row, column, sure = _possible_pairs(
                prepared.screen,
                prepared.blocks[left],
                prepared.blocks[right],
                threshold,
                upper=left == right,
            )
            i, j = prepared.directed[left + row], prepared.directed[right + column]
            unsure = np.flatnonzero(~sure)
            similarity = similarities_at(rows.__getitem__, prepared.squared, i[unsure], j[unsure])
            sure[unsure] = similarity > threshold
            codes: Indices = (i[sure] << _BITS) | j[sure]
            return codes

        codes = np.concatenate([np.empty(0, np.int64), *pool.map(codes_of_tile, tiles)])
    codes.sort()
    return codes >> _BITS, codes & ((1 << _BITS) - 1)


class SearchableRows:
    """Rows that are prepared once, to be searched for rows that resemble other vectors.

    directed: the indices of the rows that are not zero. screen: the bounds that were fitted on
    them. blocks: the prepared vectors by the position in `directed` of each block's first row.
    """

    def __init__(
        self,
        rows: Matrix,
        threshold: float,
        *,
        block: int = 1024,
        bounded: bool | None = None,
        threads: int = 1,
    ) -> None:
        """Prepare rows (n, width) float32 for one threshold.

        bounded: whether bounds are fitted where there are enough rows for them to pay; None fits
        them in any case. Raises ValueError where a number is NaN or infinite, or T is NaN.
        """
        if np.isnan(threshold):
            raise ValueError("threshold is NaN")
        self.rows = rows
        self.threshold = threshold
        trial = np.arange(len(rows))
        if bounded is None:
            trial = spread(trial, SAMPLE)
        else:
            trial = fitting_sample(trial) if bounded else trial[:0]
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            fitting = pool.submit(self._fitted, trial)
            starts = range(0, len(rows), block)
            norms = pool.map(lambda a: squared_norms(rows[a : a + block], a), starts)
            self.squared = np.concatenate([np.empty(0), *norms])
            self.directed = np.flatnonzero(self.squared > 0)
            self.screen = fitting.result()
            starts = range(0, len(self.directed), block)

            def prepared(first: int) -> BoundedVectors:
                part: Indices | slice = self.directed[first : first + block]
                if len(self.directed) == len(rows):
                    part = slice(first, first + block)  # copies nothing
                return self.screen.prepare(rows[part], self.squared[part])

            self.blocks = dict(zip(starts, pool.map(prepared, starts), strict=True))

    def _fitted(self, trial: Indices) -> Screen:
        """A screen for vectors like these rows, without those that are zero."""
        squared = squared_norms(self.rows[trial])
        directed = squared > 0
        units = unit_rows(self.rows[trial[directed]], squared[directed])
        return Screen.fitted(units, [self.threshold])

    def pairs(
        self, others: Matrix, allowed: Callable[[Indices, Indices], NDArray[np.bool_]]
    ) -> tuple[Indices, Indices, Vector]:
        """Pairs of a row i and a vector j of `others` with Sim > T: (m, width) → (pairs,) × 3.

        allowed: says of pairs (i, j) which of them may be returned. Returns i, j and Sim. Raises
        ValueError where a number of `others` is NaN or infinite.
        """
        n = len(self.rows)
        squared = np.concatenate([self.squared, squared_norms(others)])
        directed = np.flatnonzero(squared[n:] > 0)
        right = self.screen.prepare(others[directed], squared[n:][directed])

        def rows(indices: Indices) -> Matrix:
            return np.where(
                (indices < n)[:, None],
                self.rows[np.minimum(indices, n - 1)],
                others[np.maximum(indices - n, 0)],
            )

        possible: list[tuple[Indices, Indices]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for first, left in self.blocks.items():
            row, column, _ = _possible_pairs(self.screen, left, right, self.threshold)
            i, j = self.directed[first + row], directed[column]
            wanted = allowed(i, j)
            possible.append((i[wanted], j[wanted]))
        i, j = (np.concatenate(part) for part in zip(*possible, strict=True))
        similarity = similarities_at(rows, squared, i, n + j)
        above = similarity > self.threshold
        return i[above], j[above], similarity[above]


def _possible_pairs(
    screen: Screen,
    left: BoundedVectors,
    right: BoundedVectors,
    threshold: float,
    *,
    upper: bool = False,
) -> tuple[IndexArray, IndexArray, NDArray[np.bool_]]:
    """Rows and columns of the pairs that may be similar, and whether they surely are.

    upper: whether only pairs with row < column are wanted.
    """
    low, high = decision_bounds(threshold, left.rows.shape[1])
    row, column, value = screen.candidates(left, right)
    possible = np.flatnonzero((value > low) & (row < column) if upper else value > low)
    return row[possible], column[possible], value[possible] > high
