"""The most similar row of each of some vectors, among rows that arrive in batches.

Use `Nearest` where the rows do not fit into memory together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from udfs.vectors.cosine import Matrix, margin, products, similarities_at, squared_norms, unit_rows


class Nearest:
    """For each of some vectors, the exact most similar row of all batches so far.

    The row with the highest Sim wins, of equal ones the one whose id is smallest by its UTF-8
    bytes. So neither the batches nor their order matter. A zero vector has no Sim: it has no
    nearest row, and zero rows are ignored.

    vectors: (n, width). similarity: (n,) float64, the highest Sim so far, −inf where there is none.
    ids: the id of that row, None where there is none.

    >>> nearest = Nearest(np.array([[1, 0], [0, 1]], np.float32))
    >>> nearest.update(["a", "b"], np.array([[4, 3], [1, 0]], np.float32))
    >>> nearest.update(["c"], np.array([[0, 2]], np.float32))
    >>> nearest.ids, nearest.similarity.tolist()
    (['b', 'c'], [1.0, 1.0])
    """

    def __init__(self, vectors: Matrix) -> None:
        """vectors: (n, width) float32; ValueError where one holds NaN or infinity."""
        self.vectors = vectors
        self.squared = squared_norms(vectors)
        self.directed = np.flatnonzero(self.squared > 0)
        self.units = unit_rows(vectors[self.directed], self.squared[self.directed])
        self.similarity = np.full(len(vectors), -np.inf)
        self.ids: list[str | None] = [None] * len(vectors)

    def update(self, ids: Sequence[str], rows: Matrix) -> None:
        """Take a batch of rows (m, width) float32 with their ids into account.

        A float32 product is within `cosine.margin` of Sim, so the exact Sim is computed of every
        row that may be the nearest by its product. Raises ValueError where a row holds NaN or
        infinity. Cost: n·m products, and 2 µs for each exact Sim.
        """
        squared = squared_norms(rows)
        directed = np.flatnonzero(squared > 0)
        if not len(directed) or not len(self.directed):
            return
        units = unit_rows(rows[directed], squared[directed])
        product = products(self.units, units).astype(np.float64)
        off = margin(rows.shape[1])
        low = np.maximum(product.max(axis=1) - 2 * off, self.similarity[self.directed] - off)
        left, right = np.nonzero(product >= low[:, None])
        left, right = self.directed[left], directed[right]
        both = np.concatenate([self.vectors, rows])
        similarity = similarities_at(
            both.__getitem__,
            np.concatenate([self.squared, squared]),
            left,
            len(self.vectors) + right,
        )
        best = self.similarity.copy()
        np.maximum.at(best, left, similarity)
        for i in np.flatnonzero(best > self.similarity).tolist():
            self.ids[i] = None
        self.similarity = best
        winners = similarity == best[left]
        for i, j in zip(left[winners].tolist(), right[winners].tolist(), strict=True):
            current = self.ids[i]
            if current is None or ids[j].encode() < current.encode():
                self.ids[i] = ids[j]
