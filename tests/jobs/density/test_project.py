"""A class that is cut into pieces has the axes and projections of the whole, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.density import chunks, project
from tests.support.densities import cloud
from udfs.density import pca

pytestmark = pytest.mark.spark
WIDTH = 16
SIZES = {"alike": 2 * pca.CHUNK, "small": 40, "ünits": 3 * pca.CHUNK + 3, "one": 1}
CUT = ("alike", "ünits")  # with groups of one chunk


@pytest.fixture(scope="module")
def latents(spark: SparkSession) -> Iterator[DataFrame]:
    """Classes of many sizes, out of order; the images of one are all the same."""
    rows = []
    for number, (label, n) in enumerate(SIZES.items()):
        matrix = cloud(number, n, WIDTH) if label != "alike" else np.ones((n, WIDTH), np.float32)
        rows += [(f"{label}/{i}é", label, row) for i, row in enumerate(matrix.tolist())]
    np.random.default_rng(0).shuffle(rows)
    frame = spark.createDataFrame(rows, "image_id string, label string, latent array<float>")
    frame = frame.repartition(3).cache()
    yield frame
    frame.unpersist()


def projected(latents: DataFrame, largest: int) -> list[str]:
    with ExitStack() as held:
        found = project.project(latents, SIZES, 3, largest, held, group=1)
        return sorted(repr(row.asDict()) for row in found.collect())


def test_cut_and_uncut_are_the_same_rows(latents: DataFrame) -> None:
    """`largest` below a group counts as one: classes of a group stay whole."""
    whole = projected(latents, 10_000)
    assert len(whole) == sum(SIZES.values()) + 2 * 3
    assert projected(latents, 50) == whole


def test_no_latents_have_no_rows(latents: DataFrame) -> None:
    with ExitStack() as held:
        assert project.project(latents.limit(0), {}, 3, 50, held).isEmpty()


def test_pieces_are_consecutive_images_each_in_a_partition_of_its_own(latents: DataFrame) -> None:
    cut = chunks.cut(latents, CUT, pca.CHUNK)
    parts = chunks.placed(latents, cut).drop("latent").rdd.glom().collect()
    assert [len({row.piece for row in part}) for part in parts] == [1] * len(parts)
    found = [row for part in parts for row in part]
    expected = sorted(
        (label, f"{label}/{i}é".encode()) for label in CUT for i in range(SIZES[label])
    )
    assert [(row.label, row.image_id.encode()) for row in found] == expected
    sizes = [len(part) for part in parts]
    assert sizes == [1024, 1024, 1024, 1024, 1024, 3]
