"""Warehouses of given latents, to be pruned, and of published files, to be exported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.exports import Published, files
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


@pytest.fixture(scope="module")
def published_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Forty files; tests that change something take a copy."""
    return Published.of_files(spark, tmp_path_factory.mktemp("published"), files())


@pytest.fixture
def own(published_once: Published, tmp_path: Path) -> Published:
    """A copy of the warehouse, of the same images."""
    shutil.copytree(published_once.warehouse, tmp_path / "warehouse")
    return Published(published_once.spark, published_once.images, tmp_path / "warehouse")
