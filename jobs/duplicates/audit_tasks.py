"""The comparison of sampled images with all latents, as tasks on the executors, for the audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import audit
from udfs.vectors.cosine import Matrix

SIMILAR = arrow_frames.struct("sample_id string, image_id string, group string, cosine double")


@dataclass(frozen=True)
class SampledLatents:
    """Latents of sampled images by group, on their way to the executors.

    ids: of the images of each group, in the order of the rows of `latents`. lowest: the lowest
    threshold of each group.
    """

    ids: dict[str, list[str]]
    latents: dict[str, Matrix]
    lowest: Mapping[str, float]

    @classmethod
    def of(cls, rows: pa.Table, lowest: Mapping[str, float]) -> Self:
        """From rows with image_id, group and latent."""
        ids: dict[str, list[str]] = {}
        latents: dict[str, Matrix] = {}
        groups = rows.column("group")
        for group in groups.unique().to_pylist():
            of_group = rows.filter(pa.compute.equal(groups, group))
            ids[group] = of_group.column("image_id").to_pylist()
            latents[group] = np.array(arrow.matrix(of_group.column("latent")))
        return cls(ids, latents, lowest)

    def similar(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Images to rows of SIMILAR: sampled images of their group with a cosine above `lowest`."""
        for batch in batches:
            groups = batch.column("group")
            for group in groups.unique().to_pylist():
                if group in self.ids:
                    rows = batch.filter(pa.compute.equal(groups, group))
                    yield self._similar(group, rows, schema)

    def _similar(self, group: str, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        latents = arrow.matrix(rows.column("latent"))
        above = self.lowest[group] + audit.TOLERANCE
        i, j, cosine = audit.pairs_above(self.latents[group], latents, above)
        columns = {
            "sample_id": pa.array(self.ids[group], pa.string()).take(pa.array(i)),
            "image_id": rows.column("image_id").take(pa.array(j)),
            "group": [group] * len(i),
            "cosine": cosine,
        }
        return arrow.record_batch(columns, schema)
