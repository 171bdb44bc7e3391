"""Which images stay: the greedy cover of a class in a total order.

Paper, "Постановка задачі": i and j are duplicates when Sim(t_i, t_j) > T. Which image of a group
stays is ours; spec, section 3, "Greedy in a total order" and "One primitive".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from udfs.duplicates.cover_search import (
    _FEW,
    CPU,
    Cover,
    Flags,
    Indices,
    _blocks,
    _check,
    _checked_flags,
    _checked_order,
    _Kept,
    _on,
    _Search,
    _Vectors,
)
from udfs.vectors import axes
from udfs.vectors.cosine import Matrix
from udfs.vectors.screen import Screen


def cover(
    reference: Matrix | None,
    candidates: Matrix,
    threshold: float,
    order: Indices | None = None,
    *,
    block: int = 1024,
) -> Cover:
    """`covers` for one threshold."""
    return covers(reference, candidates, [threshold], order, block=block)[0]


def covers(
    reference: Matrix | None,
    candidates: Matrix,
    thresholds: Sequence[float],
    order: Indices | None = None,
    *,
    block: int = 1024,
    standing: Flags | None = None,
    undecided: Flags | None = None,
    device: str = CPU,
) -> list[Cover]:
    """Greedy covers of the candidates, one per threshold; the thresholds share the products.

    The reference images come first, as they stand, and are never removed; they may resemble each
    other. The candidates follow in `order` (their indices; None: as they stand). A candidate
    is kept unless an image kept before it has Sim > T, strictly; the first such is its keeper. A
    zero vector has no Sim: it is kept and stands for none.

    reference: (m, width) float32 or None. candidates: (n, width) float32. standing: (thresholds,
    m), at which thresholds a reference image stands for others, and undecided: (thresholds, n), at
    which a candidate is to be decided; None: at all. device: where products are computed, as torch
    names it. The result depends on these, the order and T alone, not on `block`, threads, the BLAS
    or the device: bounds and float32 products decide where they are further from T than their
    error, the exact Sim decides the rest.

    Raises TypeError where a matrix is not float32, ValueError where shapes do not fit, a number is
    NaN or infinite, `order` is no permutation, a threshold is NaN or `block` is below 1.

    Cost: at most n·m + n·kept products of vectors, 1 µs for each removal's exact Sim at width 1024;
    memory: the vectors of the reference and of the images kept once more, (block, block) products.
    """
    vectors = _Vectors.checked(reference, candidates)
    sequence = _checked_order(order, len(candidates))
    _check(thresholds, block)
    places = vectors.with_direction(np.arange(len(vectors.squared)))
    screen = Screen.fitted(vectors.units(axes.sample(places)), thresholds, _on(device))
    kept = _Kept(len(thresholds), len(vectors.squared), screen, vectors.width)
    kept.refer(vectors, _checked_flags("standing", standing, thresholds, vectors.first_candidate))
    flags = _checked_flags("undecided", undecided, thresholds, len(candidates))
    search = _Search(vectors, thresholds, screen, kept, block, flags)
    for part in _blocks(vectors.with_direction(vectors.first_candidate + sequence), block):
        search.settle(part)
    return search.result()


class Reference:
    """Images that stand, made ready once to be compared with many batches of candidates."""

    def __init__(
        self,
        rows: Matrix,
        thresholds: Sequence[float],
        standing: Flags | None = None,
        device: str = CPU,
    ) -> None:
        """rows: (m, width) float32. standing: (thresholds, m), where each stands for others.

        Raises as `covers`.
        """
        _check(thresholds, 1)
        self._vectors = _Vectors.checked(rows, rows[:0])
        self._thresholds = thresholds
        places = self._vectors.with_direction(np.arange(len(rows)))
        # Candidates are many: that finding axes takes longer than comparing some does not matter.
        # Comparing one with few images takes less than projecting it does.
        sample = axes.spread(places, axes.SAMPLE if len(places) >= _FEW else 0)
        self._screen = Screen.fitted(self._vectors.units(sample), thresholds, _on(device))
        self._kept = _Kept(len(thresholds), len(rows), self._screen, self._vectors.width)
        flags = _checked_flags("standing", standing, thresholds, len(rows))
        self._kept.refer(self._vectors, flags)

    def against(
        self, candidates: Matrix, undecided: Flags | None = None, *, block: int = 1024
    ) -> list[Cover]:
        """Which candidates a reference image stands for, one cover per threshold.

        As `covers`, but candidates are not compared with each other: `kept` says that no reference
        image has Sim > T.
        """
        vectors = self._vectors.followed_by(candidates)
        flags = _checked_flags("undecided", undecided, self._thresholds, len(candidates))
        search = _Search(vectors, self._thresholds, self._screen, self._kept, block, flags)
        first = vectors.first_candidate
        for part in _blocks(vectors.with_direction(np.arange(first, len(vectors.squared))), block):
            search.compare(part)
        return search.result()
