"""All pairs of images whose similarity is above a threshold (spec, section 3)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs import bounds
from udfs.bounds import Screen, Sides
from udfs.cosine import Matrix, screen, similarities_at, squared_norms, unit_rows

Indices = NDArray[np.int64]


def similar_pairs(
    rows: Matrix,
    threshold: float,
    *,
    block: int = 1024,
    threads: int = 1,
    bounded: bool = True,
) -> tuple[Indices, Indices]:
    """The pairs (i, j), i < j, of rows with Sim > threshold, in rising order: (pairs,) twice.

    rows: (n, width) float32; a zero row has no Sim and is in no pair. The pairs depend on the rows
    and T alone. `bounded` False compares all by plain products.

    Raises ValueError where a number is NaN or infinite, or T is NaN. Cost: n²/2 products of the
    depth that the bounds need, 9 to 97 on latents of width 1024; memory: the pairs, the unit
    vectors and `threads` times (block, block).
    """
    if np.isnan(threshold):
        raise ValueError("threshold is NaN")
    squared = squared_norms(rows)
    names = np.flatnonzero(squared > 0)
    trial = bounds.sample(names) if bounded else names[:0]
    finder = Screen.fitted(unit_rows(rows[trial], squared[trial]), [threshold])
    starts = range(0, len(names), block)
    tiles = [(a, b) for a in starts for b in starts if a <= b]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:

        def of_block(first: int) -> Sides:
            places = names[first : first + block]
            return finder.sides(unit_rows(rows[places], squared[places]))

        sides = dict(zip(starts, pool.map(of_block, starts), strict=True))

        def of_tile(tile: tuple[int, int]) -> tuple[Indices, Indices]:
            left, right = tile
            found = _possible(finder, sides[left], sides[right], threshold, left == right)
            i, j, sure = names[left + found[0]], names[right + found[1]], found[2]
            unsure = np.flatnonzero(~sure)
            sure[unsure] = (
                similarities_at(rows.__getitem__, squared, i[unsure], j[unsure]) > threshold
            )
            return i[sure], j[sure]

        pairs = list(pool.map(of_tile, tiles))
    codes = np.concatenate([np.empty(0, np.int64), *(i * len(rows) + j for i, j in pairs)])
    codes.sort()
    first, second = np.divmod(codes, max(1, len(rows)))
    return first, second


def _possible(
    finder: Screen, left: Sides, right: Sides, threshold: float, square: bool
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Rows and columns that may be similar, and whether they surely are."""
    low, high = screen(threshold, left.units.shape[1])
    row, column, value = finder.candidates(left, right)
    some = np.flatnonzero((value > low) & (row < column) if square else value > low)
    return row[some], column[some], value[some] > high
