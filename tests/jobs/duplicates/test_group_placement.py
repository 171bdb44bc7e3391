"""Latents travel to the table `placed` as their bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.duplicates import group_placement
from jobs.warehouse import arrow_frames
from udfs import arrow

SCHEMA = arrow_frames.arrow_schema(arrow_frames.struct("image_id string, latent binary"))


def test_packed_latents_are_the_same_numbers() -> None:
    latents = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    latents[3] = 0
    batch = pa.record_batch(
        {
            "image_id": [str(i) for i in range(7)],
            "latent": pa.array(latents.tolist(), pa.list_(pa.float32())),
        }
    )
    packed = list(group_placement.pack([batch.slice(0, 4), batch.slice(4)], SCHEMA))
    assert [part.schema for part in packed] == [SCHEMA] * 2
    table = pa.Table.from_batches(packed)
    assert table.column("image_id").to_pylist() == [str(i) for i in range(7)]
    assert np.array_equal(arrow.float_matrix(table.column("latent")), latents)
