"""What the measurements have in common: a warehouse's latents, and pairs of them as numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray

from jobs.autoencoder import spaces
from jobs.settings.duplicates import RAW, Rule
from udfs import arrow
from udfs.vectors.axes import spread
from udfs.vectors.cosine import Matrix

Pairs = NDArray[np.int64]


def classes(warehouse: str, space: str = RAW) -> Iterator[tuple[str, list[str], Matrix]]:
    """Label, ids and latents, or their whitened vectors, of each class, in the order of the ids."""
    name, column = spaces.table_of(space)[0], spaces.column_of(space)
    table = DeltaTable(f"{warehouse}/{name}").to_pyarrow_dataset()
    labels = sorted(set(table.to_table(columns=["label"]).column("label").to_pylist()))
    for label in labels:
        rows = table.to_table(columns=["image_id", column], filter=ds.field("label") == label)
        rows = rows.sort_by("image_id")
        yield label, rows.column("image_id").to_pylist(), _matrix(rows, column)


def published(warehouse: str) -> tuple[Rule, str]:
    """The rule that `curated` is of, and its space."""
    curated = DeltaTable(f"{warehouse}/curated").to_pyarrow_dataset()
    row = curated.head(1, columns=["rule", "space"]).to_pylist()[0]
    return Rule.of(row["rule"]), row["space"]


def spread_latents(warehouse: str, count: int) -> Matrix:
    """So many latents, evenly spread over the table in the order of class and id."""
    table = DeltaTable(f"{warehouse}/latents").to_pyarrow_table(
        columns=["label", "image_id", "latent"]
    )
    table = table.sort_by([("label", "ascending"), ("image_id", "ascending")])
    return _matrix(table.take(spread(np.arange(len(table)), count)), "latent")


def coded(left: Pairs, right: Pairs, count: int) -> Pairs:
    """Pairs of `count` rows as i·count + j, rising; those with i < j alone."""
    upper = left < right
    return np.sort(left[upper] * count + right[upper])


def _matrix(rows: pa.Table, column: str) -> Matrix:
    return np.ascontiguousarray(arrow.matrix(rows.column(column)))
