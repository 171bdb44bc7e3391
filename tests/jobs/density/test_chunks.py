"""Chunks are consecutive images of a class, each in a partition of its own."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.density import chunks
from tests.support.classes import CUT, SIZES
from udfs.density import pca


def test_chunks_are_consecutive_images_each_in_a_partition_of_its_own(latents: DataFrame) -> None:
    cut = chunks.cut(latents, CUT, pca.BLOCK)
    parts = chunks.repartitioned_by_chunk(latents, cut).drop("latent").rdd.glom().collect()
    assert [len({row.chunk for row in part}) for part in parts] == [1] * len(parts)
    rows = [row for part in parts for row in part]
    expected = sorted(
        (label, f"{label}/{i}é".encode()) for label in CUT for i in range(SIZES[label])
    )
    assert [(row.label, row.image_id.encode()) for row in rows] == expected
    sizes = [len(part) for part in parts]
    assert sizes == [1024, 1024, 1024, 1024, 1024, 3]
