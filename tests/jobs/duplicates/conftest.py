"""Warehouses of given latents, to be pruned."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.support.folders import Once
from tests.support.given_latents import GivenLatents, prepared


@pytest.fixture(scope="module")
def given(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenLatents:
    """A class that is large for the tests' settings, and two that are not."""
    sizes = {"large": 130, "small": 40, "one": 1}
    images = GivenLatents(spark, tmp_path_factory.mktemp("given"), sizes)
    return prepared(images, "given_three_classes", once)


@pytest.fixture(scope="module")
def two_classes(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenLatents:
    """Two classes, of which one image of each has the same latent."""
    images = GivenLatents(spark, tmp_path_factory.mktemp("two_classes"), {"a": 40, "b": 30})
    images.latents["b/0001ü.png"] = images.latents["a/0000ü.png"]
    return prepared(images, "given_two_classes", once)
