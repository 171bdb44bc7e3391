"""What tests share: one lazy Spark session, small pictures, and where the real images lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.common.run import Run, lock
from jobs.common.settings import Settings, build

ROOT = Path(__file__).resolve().parent.parent

# One BLAS thread in this process: the workers have one as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def spark_settings() -> dict[str, str]:
    """conf/spark-local.conf, as spark-submit would read it."""
    lines = (ROOT / "conf/spark-local.conf").read_text().splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    return {name: value.strip() for name, value in pairs}


def jars() -> str:
    found = sorted((ROOT / "build/ivy/jars").glob("*.jar"))
    assert found, "Delta's jars are missing: run make setup"
    return ",".join(str(path) for path in found)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_CONF_DIR"] = str(ROOT / "conf")
    os.environ["PYTHONPATH"] = str(ROOT)
    builder = SparkSession.builder.appName("tests")
    for name, value in spark_settings().items():
        builder = builder.config(name, value)
    session = (
        builder.master("local[2,4]")
        .config("spark.jars", jars())
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "4")  # the tables here are small
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images; tests that need it are skipped where it is not."""
    place = Path(os.environ.get("TEST_IMAGES", ROOT.parent / "shared/data"))
    if not (place / "clothing").is_dir():
        pytest.skip(f"no real images at {place}: set TEST_IMAGES to their folder")
    return place


def picture(seed: int, side: int = 72) -> NDArray[np.uint8]:
    """Smooth random blobs: unlike for unlike seeds, (side, side, 3)."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def save_pictures(root: Path, labels: tuple[str, ...] = ("field", "town"), each: int = 24) -> None:
    """Folders by class; every third picture is a near-copy of the one before."""
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for place in range(each):
            seed = 1000 * number + (place - 1 if place % 3 == 2 else place)
            levels = picture(seed).astype(int) + (2 if place % 3 == 2 else 0)
            image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
            image.save(root / label / f"{place:03}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    save_pictures(root)
    return root


FAST = ("train.epochs=2", "train.sample=100", "prune.thresholds=[0.999, 0.97]")
Runner = Callable[..., Run]


def settings_for(images: Path, warehouse: Path, *flags: str, **given: Any) -> Settings:
    """Settings of a quick run."""
    defaults = (*FAST, "publish.rule=fixed:0.97")
    return build(
        {}, (*defaults, *flags), images=str(images), warehouse=str(warehouse), quiet=True, **given
    )


@pytest.fixture(scope="session")
def run_pipeline(spark: SparkSession) -> Runner:
    """The pipeline in this process, as spark-submit would run it."""

    def run(images: Path, warehouse: Path, *flags: str, **given: Any) -> Run:
        settings = settings_for(images, warehouse, *flags, **given)
        with lock(settings.warehouse):
            current = Run(spark, settings, "pipeline")
            current.close_stale()
            pipeline.main(current)
        return current

    return run


@pytest.fixture(scope="session")
def finished(run_pipeline: Runner, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pipeline that ran over the pictures; tests read it and do not change it."""
    return run_pipeline(pictures, tmp_path_factory.mktemp("finished"))
