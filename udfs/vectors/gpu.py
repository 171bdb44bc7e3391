"""Vectors on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from udfs.vectors.cosine import _GATHERED, Indices, Matrix


class OnDevice:
    """Products computed on a torch device; what is ruled out there never comes back.

    In float32, not in TF32: the margins are those of `products`. A device as torch names it.
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def above(
        self, left: Matrix, right: Matrix, low: np.float32
    ) -> tuple[Indices, Indices, Matrix]:
        """Entries of `products` above a bound: rows, in rising order, columns and values."""
        import torch

        with torch.inference_mode():
            product = self._there(left) @ self._there(right).T
            places = (product > float(low)).nonzero()
            values: Matrix = product[places[:, 0], places[:, 1]].cpu().numpy()
            rows, columns = places.T.cpu().numpy()
        return rows, columns, values

    def at(self, left: Matrix, right: Matrix, rows: Indices, columns: Indices) -> Matrix:
        """`kernels.products_at`, of rows and columns in any order."""
        import torch

        found = np.empty(len(rows), np.float32)
        step = max(1, _GATHERED // max(1, left.shape[1]))
        with torch.inference_mode():
            a, b = self._there(left), self._there(right)
            for first in range(0, len(rows), step):
                part = slice(first, first + step)
                i, j = (torch.from_numpy(x[part]).to(self.device) for x in (rows, columns))
                found[part] = (a[i] * b[j]).sum(dim=1).cpu().numpy()
        return found

    def _there(self, rows: Matrix) -> Any:
        import torch

        if torch.get_float32_matmul_precision() != "highest":
            torch.set_float32_matmul_precision("highest")
        return torch.tensor(rows, device=self.device)
