"""Executors that are killed (SIGKILL) at work, in each stage: the tables are those of a quiet run.

The tables lie in HDFS, and the executors share no disk with the driver.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.warehouse.hadoop import HadoopFileSystem
from jobs.warehouse.store import open_store
from tests.support.cluster_runs import ClusterRun, StartRun
from tests.support.commands import flags
from tests.support.every_stage import EVERY_STAGE, EveryStage
from tests.support.remote import ELSEWHERE, copy_up
from tests.support.standalone import Cluster
from tests.support.tables import assert_same_tables

pytestmark = pytest.mark.cluster

KILLED = 2  # executors, in a stage that runs by itself
TRIES = 3


def files(spark: SparkSession, folder: str) -> Mapping[str, bytes]:
    """Models, generated images and the report's, by name, but for what says when it was made."""
    system = HadoopFileSystem(spark, folder)
    found = {}
    for name in ("models", "generated_images", "report"):
        for status in system.walk(f"{folder}/{name}"):
            if not status.path.endswith(("report.html", "summary.json", "model.json")):
                found[status.path.partition(f"/{name}/")[2]] = system.read(status.path)
    return found


@pytest.fixture(scope="module")
def remote_images(spark: SparkSession, hdfs: str, every_stage: EveryStage) -> str:
    uri = f"{hdfs}/lost-executors-{secrets.token_hex(4)}"
    copy_up(spark, every_stage.images, f"{uri}/images")
    return f"{uri}/images"


def arguments(images: str, warehouse: str, every_stage: EveryStage) -> list[str]:
    settings = flags(*EVERY_STAGE, every_stage.with_labels)
    return ["--images", images, "--warehouse", warehouse, *settings]


class Disturbed(NamedTuple):
    """A warehouse in HDFS, and how many tasks each stage lost with their executors."""

    warehouse: str
    lost: dict[str, int]


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster,
    remote_images: str,
    every_stage: EveryStage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Disturbed:
    """A pipeline that lost an executor in each stage; of stages too short for that, see below."""
    warehouse = f"{remote_images.removesuffix('images')}warehouse"
    given = arguments(remote_images, warehouse, every_stage)
    in_pipeline = [stage.name for stage in pipeline.STAGES if stage.in_pipeline]
    lost = {}
    with ClusterRun(cluster, "pipeline", *given, cwd=tmp_path_factory.mktemp("disturbed")) as run:
        for stage in in_pipeline:
            run.kill_executors(stage, 1)
        run.finish()
        lost = {stage: run.lost_tasks(stage) for stage in in_pipeline}
    return Disturbed(warehouse, lost)


def stage_with_lost_executors(
    stage: str, cluster: Cluster, start_run: StartRun, given: list[str]
) -> int:
    """Run a stage by itself while executors are killed; return how many tasks were lost."""
    run = start_run(cluster, stage, *given, "--overwrite", stage)
    run.kill_executors(stage, KILLED)
    run.finish()
    return run.lost_tasks(stage)


def assert_same_output(
    stage: str, spark: SparkSession, every_stage: EveryStage, warehouse: str
) -> None:
    """Of a stage: its tables, and the files of all."""
    last = open_store(spark, str(every_stage.warehouse)).query(
        "runs", f"SELECT * FROM rows WHERE stage = '{stage}' AND state = 'done'"
    )
    names = dict(last[-1]["versions_written"])
    assert_same_tables(spark, every_stage.warehouse, warehouse, ELSEWHERE, names)
    assert files(spark, str(every_stage.warehouse)) == files(spark, warehouse)


@pytest.mark.long
@pytest.mark.parametrize("stage", [stage.name for stage in pipeline.STAGES])
def test_executors_killed_in_every_stage(
    stage: str,
    spark: SparkSession,
    cluster: Cluster,
    remote_images: str,
    every_stage: EveryStage,
    disturbed: Disturbed,
    start_run: StartRun,
) -> None:
    """A stage that was too short to lose one in the pipeline is run again by itself."""
    lost = disturbed.lost.get(stage, 0)
    given = arguments(remote_images, disturbed.warehouse, every_stage)
    for _ in range(TRIES):
        lost = lost or stage_with_lost_executors(stage, cluster, start_run, given)
    assert lost > 0, "no executor was lost while it ran a task"
    assert_same_output(stage, spark, every_stage, disturbed.warehouse)


@pytest.mark.long
def test_executors_killed_while_they_encode(
    spark: SparkSession,
    cluster: Cluster,
    remote_images: str,
    every_stage: EveryStage,
    start_run: StartRun,
) -> None:
    warehouse = f"{remote_images.removesuffix('images')}encoded"
    copy_up(spark, every_stage.warehouse, warehouse)
    given = arguments(remote_images, warehouse, every_stage)
    assert stage_with_lost_executors("encode", cluster, start_run, given) > 0
    assert_same_output("encode", spark, every_stage, warehouse)
