"""What executors do with the latents of a class: the greedy cover for every rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from udfs import frames, greedy


@dataclass(frozen=True)
class Pruning:
    """The rules of a run, and how many images are compared at once."""

    rules: dict[str, float]
    space: str
    block: int

    def selection_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by class and order, to rows of `selection`: one an image and rule."""
        for label, rows in frames.groups(batches, "label"):
            yield from self._class_rows(label, rows, schema)

    def _class_rows(
        self, label: str, rows: pa.Table, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        latents = np.ascontiguousarray(frames.matrix(rows.column("latent")))
        ids = rows.column("image_id").combine_chunks()
        covers = greedy.covers(None, latents, list(self.rules.values()), block=self.block)
        for (rule, threshold), cover in zip(self.rules.items(), covers, strict=True):
            kept = pa.array(cover.kept)
            keeper = pa.array(cover.keeper, mask=cover.kept)
            columns = {
                "image_id": ids,
                "label": [label] * len(ids),
                "rule": [rule] * len(ids),
                "space": [self.space] * len(ids),
                "threshold": np.full(len(ids), threshold),
                "kept": kept,
                "kept_id": ids.take(keeper),
                "similarity": pa.array(cover.similarity, mask=cover.kept),
            }
            yield frames.record_batch(columns, schema)
