"""Products of vectors on a GPU, for `udfs.vectors.screen` where a torch device is given.

torch is imported when the first product is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from udfs.vectors.cosine import Indices, Matrix

_GATHERED = 2**26  # numbers gathered at a time: 256 MB


class DeviceProducts:
    """Products computed on a torch device; pairs that are ruled out are not copied back.

    They are computed in float32, not in TF32, so their error is within `cosine.margin`, as that of
    `cosine.products` is. device: a name that torch knows, "cuda" or "cpu".
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def entries_above(
        self, left: Matrix, right: Matrix, bound: np.float32
    ) -> tuple[Indices, Indices, Matrix]:
        """Entries of left·rightᵀ above a bound: (n, width), (m, width) → (entries,) three times.

        Rows, which rise, columns and values.
        """
        import torch

        with torch.inference_mode():
            product = self._on_device(left) @ self._on_device(right).T
            entries = (product > float(bound)).nonzero()
            values: Matrix = product[entries[:, 0], entries[:, 1]].cpu().numpy()
            rows, columns = entries.T.cpu().numpy()
        return rows, columns, values

    def products_at(self, left: Matrix, right: Matrix, rows: Indices, columns: Indices) -> Matrix:
        """Single entries of left·rightᵀ: (n, width), (m, width), (entries,) × 2 → (entries,)."""
        import torch

        values = np.empty(len(rows), np.float32)
        step = max(1, _GATHERED // max(1, left.shape[1]))
        with torch.inference_mode():
            a, b = self._on_device(left), self._on_device(right)
            for first in range(0, len(rows), step):
                part = slice(first, first + step)
                i, j = (torch.from_numpy(x[part]).to(self.device) for x in (rows, columns))
                values[part] = (a[i] * b[j]).sum(dim=1).cpu().numpy()
        return values

    def _on_device(self, rows: Matrix) -> Any:
        import torch

        if torch.get_float32_matmul_precision() != "highest":
            torch.set_float32_matmul_precision("highest")
        return torch.tensor(rows, device=self.device)
