"""The nearest vectors of some among many that come in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from udfs.vectors.cosine import Matrix, margin, products, similarities_at, squared_norms, unit_rows


class Nearest:
    """Of each of some vectors the most similar row, exact, of rows that come in any portions.

    Sim decides, of equal ones the smallest id by its UTF-8 bytes: so portions and their order do
    not matter. Zero vectors have no Sim: as rows they are passed over, and of such a vector there
    is no nearest.
    """

    def __init__(self, vectors: Matrix) -> None:
        """vectors: (n, width) float32; ValueError where one holds NaN or infinity."""
        self.vectors = vectors
        self.squared = squared_norms(vectors)
        self.names = np.flatnonzero(self.squared > 0)
        self.units = unit_rows(vectors[self.names], self.squared[self.names])
        self.similarity = np.full(len(vectors), -np.inf)  # −inf: none was seen
        self.ids: list[str | None] = [None] * len(vectors)

    def look(self, ids: Sequence[str], rows: Matrix) -> None:
        """Take rows (m, width) float32 into account, by their ids.

        A float32 product is within `cosine.margin` of Sim: whatever may be the best by that has its
        exact Sim computed. Cost: n·m products, and 2 µs for each that is so close to the best.
        """
        squared = squared_norms(rows)
        known = np.flatnonzero(squared > 0)
        if not len(known) or not len(self.names):
            return
        product = products(self.units, unit_rows(rows[known], squared[known])).astype(np.float64)
        off = margin(rows.shape[1])
        low = np.maximum(product.max(axis=1) - 2 * off, self.similarity[self.names] - off)
        place, row = np.nonzero(product >= low[:, None])
        left, right = self.names[place], known[row]
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
            other = self.ids[i]
            if other is None or ids[j].encode() < other.encode():
                self.ids[i] = ids[j]
