"""The real image that each generated one resembles most, in a part of the table of latents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.density.nearest_images import NEAREST, NearestImageTask
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import nearest_by_definition


def test_each_class_is_searched_for_its_own_generated_images() -> None:
    draw = np.random.default_rng(0)
    drawn = {label: draw.random((3, 8)).astype(np.float32) for label in ("a", "b", "no image")}
    drawn["b"][1] = 0  # resembles nothing
    rows = draw.random((20, 8)).astype(np.float32)
    labels = ["ab?"[i % 3] for i in range(20)]
    table = pa.table(
        {
            "image_id": [f"{i:02}" for i in range(20)],
            "label": labels,
            "latent": pa.array(rows.tolist(), pa.list_(pa.float32())),
        }
    )
    held: Any = SimpleNamespace(value=drawn)
    batches = NearestImageTask(held).rows(table.to_batches(max_chunksize=7), arrow_schema(NEAREST))
    found = pa.Table.from_batches(batches).to_pylist()
    expected = []
    for label in "ab":
        own = [i for i in range(20) if labels[i] == label]
        for number, vector in enumerate(drawn[label], 1):
            name, similarity = nearest_by_definition(vector, [f"{i:02}" for i in own], rows[own])
            if name is not None:
                row = {"label": label, "number": number, "image_id": name}
                expected.append(row | {"similarity": similarity})
    assert found == expected
    assert len(found) == 5
