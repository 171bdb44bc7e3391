"""Classes for the jobs on densities: of two kinds of images, and larger than a chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.density import project
from tests.support import classes
from tests.support.densities import cloud
from tests.support.folders import Once
from tests.support.given_latents import GivenLatents, prepared
from tests.support.two_kinds import SIZES, second


@pytest.fixture(scope="module")
def clustered(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenLatents:
    """A class of two kinds of images that resemble each other a little, and three of one kind.

    The label `two/1` is named like a sub-label of `two`.
    """
    images = GivenLatents(spark, tmp_path_factory.mktemp("clustered"), {})
    rng = np.random.default_rng(0)
    for label, size in SIZES.items():
        for i in range(size):
            latent = rng.normal(scale=0.5, size=40)
            latent[0] += 10
            latent[1] += second(i) * 4.0 if label == "two" else 0.0
            images.add(f"{label}/{i:03}.png", label, latent.astype(np.float32), i)
    return prepared(images, "given_two_kinds", once, project.STAGE)


@pytest.fixture(scope="module")
def latents(spark: SparkSession) -> Iterator[DataFrame]:
    """Classes of many sizes, out of order; the images of one are all the same."""
    rows = []
    for number, (label, n) in enumerate(classes.SIZES.items()):
        matrix = cloud(number, n, classes.WIDTH)
        if label == "alike":
            matrix = np.ones_like(matrix)
        rows += [(f"{label}/{i}é", label, row) for i, row in enumerate(matrix.tolist())]
    np.random.default_rng(0).shuffle(rows)
    frame = spark.createDataFrame(rows, "image_id string, label string, latent array<float>")
    frame = frame.repartition(3).cache()
    yield frame
    frame.unpersist()
