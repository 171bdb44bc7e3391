"""Sampled images against all images of their group, as tasks of the audit do it."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates.audit_tasks import SIMILAR, SampledLatents
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import sim, spectral

VECTORS = spectral(50, 10, 5)
GROUPS = [f"raw/{'abc'[i % 3]}" for i in range(50)]
IDS = [f"{i:02}" for i in range(50)]
SAMPLED = [i for i in range(0, 50, 4) if GROUPS[i] != "raw/c"]
LOWEST = {"raw/a": 0.9, "raw/b": 0.7}


def rows(chosen: list[int]) -> pa.Table:
    return pa.table(
        {
            "image_id": [IDS[i] for i in chosen],
            "group": [GROUPS[i] for i in chosen],
            "latent": pa.array(VECTORS[chosen].tolist(), pa.list_(pa.float32())),
        }
    )


def test_similar_images_are_found_in_the_group_of_a_sampled_image_alone() -> None:
    sample = SampledLatents.of(rows(SAMPLED), LOWEST)
    batches = rows(list(range(50))).to_batches(max_chunksize=11)
    found = pa.Table.from_batches(sample.similar(batches, arrow_schema(SIMILAR))).to_pylist()
    cosines = {(row["sample_id"], row["image_id"]): row["cosine"] for row in found}
    expected = {
        (IDS[i], IDS[j]): similarity
        for i, j in itertools.product(SAMPLED, range(50))
        if GROUPS[i] == GROUPS[j]
        and (similarity := sim(VECTORS[i], VECTORS[j])) > LOWEST[GROUPS[i]]
    }
    assert cosines == pytest.approx(expected, abs=1e-12)
    assert len(found) == len(cosines) > len(SAMPLED)  # with itself each image has the cosine 1
    assert np.all([row["group"] in LOWEST for row in found])
