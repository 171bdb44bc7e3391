"""Which images of a group are kept: the greedy cover of a set of vectors in a given order.

Use `covers` (or `cover`, for one threshold) for a group that one task holds, and `Reference` to
compare images that are kept already with batches of further images.

Paper, "Постановка задачі": i and j are duplicates when Sim(t_i, t_j) > T. Which image of a group is
kept is this project's choice: section "Which images stay" of docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from udfs.duplicates.cover_search import (
    Cover,
    CoverSearch,
    Flags,
    ImageVectors,
    KeptImages,
    blocks,
    check_search,
    checked_mask,
    checked_order,
)
from udfs.vectors.axes import SAMPLE, fitting_sample, spread
from udfs.vectors.cosine import Indices, Matrix
from udfs.vectors.gpu import DeviceProducts
from udfs.vectors.screen import AXES, Screen

CPU = "cpu"
_FEW = 4 * AXES  # with fewer reference images, to compare costs less than to compute bounds


def cover(
    reference: Matrix | None,
    candidates: Matrix,
    threshold: float,
    order: Indices | None = None,
    *,
    block: int = 1024,
) -> Cover:
    """The greedy cover for one threshold; see `covers`.

    >>> rows = np.array([[1, 0], [3, 4], [0, 1]], np.float32)
    >>> cover(None, rows, 0.7).kept.tolist()
    [True, True, False]
    """
    return covers(reference, candidates, [threshold], order, block=block)[0]


def covers(
    reference: Matrix | None,
    candidates: Matrix,
    thresholds: Sequence[float],
    order: Indices | None = None,
    *,
    block: int = 1024,
    reference_mask: Flags | None = None,
    pending_mask: Flags | None = None,
    device: str = CPU,
) -> list[Cover]:
    """Greedy covers of the candidates, one per threshold: (m, width), (n, width) → `Cover`s.

    The reference images come first, in the order of their rows. They are never removed and may
    resemble each other. The candidates follow in `order`. A candidate is kept unless an image that
    is kept before it has Sim > T, strictly; the first such image is its keeper. A zero vector has
    no Sim: it is kept, and is nobody's keeper.

    The result depends on the vectors, the masks, the order and T alone, not on `block`, threads,
    the BLAS library or the device: bounds and float32 products decide where they are further from T
    than their error, and the exact Sim decides the other pairs.

    Args:
        reference: float32, or None for no reference images.
        candidates: float32.
        thresholds: values of T, which share the products.
        order: (n,), the candidates' indices in the order in which they are decided; None for the
            order of the rows.
        block: candidates that are decided at a time.
        reference_mask: (thresholds, m), at which thresholds each reference image may be a keeper;
            None for all.
        pending_mask: (thresholds, n), at which thresholds each candidate is to be decided; None for
            all.
        device: where products are computed, a name that torch knows.

    Raises:
        TypeError: a matrix is not float32.
        ValueError: shapes do not fit, a number is NaN or infinite, `order` is no permutation, a
            threshold is NaN or `block` is below 1.

    Cost: at most n·m + n·kept products of vectors, and 1 µs for each removal's exact Sim at width
    1024. Memory: another copy of the vectors of the reference images and of the images that are
    kept, and (block, block) products.

    >>> rows = np.array([[1, 0], [4, 3], [0, 1]], np.float32)
    >>> strict, loose = covers(None, rows, [0.9, 0.5])
    >>> strict.kept.tolist(), loose.kept.tolist()
    ([True, True, True], [True, False, True])
    >>> loose.keeper.tolist(), loose.similarity.tolist()
    ([-1, 0, -1], [nan, 0.8, nan])
    """
    vectors = ImageVectors.checked(reference, candidates)
    sequence = checked_order(order, len(candidates))
    check_search(thresholds, block)
    images = vectors.with_direction(np.arange(len(vectors.squared)))
    sample = vectors.units(fitting_sample(images))
    screen = Screen.fitted(sample, thresholds, _products_on(device))
    kept = KeptImages(len(thresholds), len(vectors.squared), screen, vectors.width)
    kept.add_references(
        vectors, checked_mask("reference_mask", reference_mask, thresholds, vectors.first_candidate)
    )
    pending = checked_mask("pending_mask", pending_mask, thresholds, len(candidates))
    search = CoverSearch(vectors, thresholds, screen, kept, block, pending)
    for part in blocks(vectors.with_direction(vectors.first_candidate + sequence), block):
        search.settle(part)
    return search.result()


class Reference:
    """Reference images that are prepared once, to be compared with many batches of candidates."""

    def __init__(
        self,
        rows: Matrix,
        thresholds: Sequence[float],
        reference_mask: Flags | None = None,
        device: str = CPU,
    ) -> None:
        """Prepare reference images (m, width) float32.

        reference_mask: (thresholds, m), at which thresholds each image may be a keeper; None: all.
        Raises TypeError and ValueError as `covers` does.
        """
        check_search(thresholds, 1)
        self._vectors = ImageVectors.checked(rows, rows[:0])
        self._thresholds = thresholds
        images = self._vectors.with_direction(np.arange(len(rows)))
        # Candidates are many, so it does not matter that to find axes takes longer than some
        # comparisons. With few reference images, a candidate's comparisons cost less than its
        # projection.
        sample = self._vectors.units(spread(images, SAMPLE if len(images) >= _FEW else 0))
        self._screen = Screen.fitted(sample, thresholds, _products_on(device))
        self._kept = KeptImages(len(thresholds), len(rows), self._screen, self._vectors.width)
        mask = checked_mask("reference_mask", reference_mask, thresholds, len(rows))
        self._kept.add_references(self._vectors, mask)

    def against(
        self, candidates: Matrix, pending_mask: Flags | None = None, *, block: int = 1024
    ) -> list[Cover]:
        """Which candidates a reference image removes: (n, width) → one cover per threshold.

        As in `covers`, except that candidates are not compared with each other: `kept` says that no
        reference image has Sim > T. pending_mask: (thresholds, n), or None for all.
        """
        vectors = self._vectors.followed_by(candidates)
        mask = checked_mask("pending_mask", pending_mask, self._thresholds, len(candidates))
        search = CoverSearch(vectors, self._thresholds, self._screen, self._kept, block, mask)
        first = vectors.first_candidate
        for part in blocks(vectors.with_direction(np.arange(first, len(vectors.squared))), block):
            search.compare(part)
        return search.result()


def _products_on(device: str) -> DeviceProducts | None:
    """None for the CPU, where NumPy's products need no torch."""
    return None if device == CPU else DeviceProducts(device)
