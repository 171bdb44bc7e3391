"""The Spark session of a test process, and pipelines that run in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from benchmarks.session import start as start_session
from jobs import pipeline
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse.lock import lock
from tests.support.folders import Once

# One BLAS thread in this process: the workers have one as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# The first compiler alone: the second takes more processor time than it saves on so small tables.
# With it alone the cache of compiled code is 48 MB, which Spark fills within minutes: then nothing
# more is compiled.
JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = start_session(
        2,
        {
            "spark.driver.memory": "2g",
            "spark.sql.shuffle.partitions": "2",  # the tables here are small
            "spark.sql.adaptive.enabled": "false",  # and looked at anew after every step
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",  # test_cluster runs compiled code
            "spark.driver.extraJavaOptions": JAVA,
        },
    )
    yield session
    session.stop()


SPLIT = 'publish.split=["train:0.7", "test:0.3"]'


# Most tests are of the paper's setting: whatever else is the default, it costs them nothing.
PAPER = ("train.objective=reconstruction", "train.normalise=false", "prune.space=raw")
FAST = (*PAPER, "train.epochs=2", "train.sample=100", "prune.thresholds=[0.999, 0.97]")


Runner = Callable[..., Run]


def settings_for(images: Path, warehouse: Path, *flags: str, **given: Any) -> Settings:
    """Settings of a quick run."""
    defaults = (*FAST, "publish.rule=fixed:0.97", SPLIT)
    return build(
        {}, (*defaults, *flags), images=str(images), warehouse=str(warehouse), quiet=True, **given
    )


@pytest.fixture(scope="session")
def run_pipeline(spark: SparkSession) -> Runner:
    """The pipeline in this process, as spark-submit would run it."""

    def run(images: Path, warehouse: Path, *flags: str, **given: Any) -> Run:
        settings = settings_for(images, warehouse, *flags, **given)
        with lock(settings.warehouse):
            current = Run(spark, settings, "pipeline", pipeline.STAGES)
            with current.lease():
                try:
                    current.close_stale()
                    pipeline.main(current)
                finally:
                    current.close()
        return current

    return run


@pytest.fixture(scope="session")
def finished(spark: SparkSession, run_pipeline: Runner, pictures: Path, once: Once) -> Run:
    """A pipeline that ran over the pictures; tests read it and do not change it."""

    def make(folder: Path) -> None:
        run_pipeline(pictures, folder)

    run = Run(spark, settings_for(pictures, once("finished", make)), "pipeline")
    (run.run_id,) = {row.run_id for row in run.warehouse.read("runs").collect()}
    return run
