"""What the measurements have in common: a warehouse's latents, and pairs of them as numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray

from udfs import bounds, frames
from udfs.cosine import Matrix

Pairs = NDArray[np.int64]


def classes(warehouse: str) -> Iterator[tuple[str, list[str], Matrix]]:
    """Label, ids and latents of each class, in the order of the ids' bytes."""
    table = DeltaTable(f"{warehouse}/latents").to_pyarrow_dataset()
    labels = sorted(set(table.to_table(columns=["label"]).column("label").to_pylist()))
    for label in labels:
        rows = table.to_table(columns=["image_id", "latent"], filter=ds.field("label") == label)
        rows = rows.sort_by("image_id")
        yield label, rows.column("image_id").to_pylist(), _matrix(rows)


def spread_latents(warehouse: str, count: int) -> Matrix:
    """So many latents, evenly spread over the table in the order of class and id."""
    table = DeltaTable(f"{warehouse}/latents").to_pyarrow_table(
        columns=["label", "image_id", "latent"]
    )
    table = table.sort_by([("label", "ascending"), ("image_id", "ascending")])
    return _matrix(table.take(bounds.spread(np.arange(len(table)), count)))


def coded(left: Pairs, right: Pairs, count: int) -> Pairs:
    """Pairs of `count` rows as i·count + j, rising; those with i < j alone."""
    upper = left < right
    return np.sort(left[upper] * count + right[upper])


def _matrix(rows: pa.Table) -> Matrix:
    return np.ascontiguousarray(frames.matrix(rows.column("latent")))
