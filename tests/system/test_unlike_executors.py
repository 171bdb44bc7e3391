"""The same vectors give the same decisions, whatever executors there are and whatever they suffer.

`prune` runs anew, registration of all pictures with it, over latents that lie in HDFS: on one
executor and on seven, on two of unlike instruction sets, with a second attempt of a task that
stands still, and with a Worker that is killed.
"""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.hadoop import HadoopFileSystem
from jobs.warehouse.store import open_store
from tests.support.cluster_runs import ClusterRun, StartRun
from tests.support.commands import flags
from tests.support.every_stage import EVERY_STAGE, EveryStage
from tests.support.folders import ROOT
from tests.support.processes import environment_of
from tests.support.remote import copy_up
from tests.support.standalone import Place, StartCluster, can_hide_folders
from tests.support.tables import assert_same_tables

pytestmark = [pytest.mark.cluster, pytest.mark.long]

# What makes libraries compute as on a processor without AVX-512.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
}
HERE, THERE = Place(), Place("127.0.0.2")
SPECULATION = (
    "--conf=spark.speculation=true",
    "--conf=spark.speculation.interval=100ms",
    "--conf=spark.speculation.quantile=0.5",
    "--conf=spark.speculation.minTaskRuntime=1s",
    "--conf=spark.speculation.task.duration.threshold=2s",  # also where a task is the only one
)
HELD = 8.0  # seconds: what the other executor does in less is done twice
TABLES = ("selection", "thresholds", "alignments", "spaces")


@pytest.fixture(autouse=True)
def can_hide() -> None:
    if not can_hide_folders():
        pytest.skip("no process here may have mounts of its own (unshare -m)")


class Pruning:
    """Starts `prune` over a copy of a finished warehouse, and compares what it decides."""

    def __init__(
        self,
        spark: SparkSession,
        start_cluster: StartCluster,
        start_run: StartRun,
        every_stage: EveryStage,
        hdfs: str,
    ) -> None:
        self.spark, self.every_stage = spark, every_stage
        self.start_cluster, self.start_run = start_cluster, start_run
        root = f"{hdfs}/unlike-executors-{secrets.token_hex(4)}"
        self.warehouse = f"{root}/warehouse"
        self.images = f"{root}/images"
        copy_up(spark, every_stage.images, self.images)
        copy_up(spark, every_stage.warehouse, self.warehouse)
        self.overwrite = ["--overwrite", "prune"]  # registers all pairs anew

    def keep_alignments(self) -> None:
        """Let the run decide by the pairs that the undisturbed one has registered."""
        HadoopFileSystem(self.spark, self.warehouse).delete(f"{self.warehouse}/selection")
        self.overwrite = []

    def start(
        self, *places: Place, cores: int = 1, memory: str = "1500m", submit: tuple[str, ...] = ()
    ) -> ClusterRun:
        """Start it on a cluster of its own, with a worker at each of the places."""
        hidden = [ROOT, self.every_stage.images.parent]
        cluster = self.start_cluster(hidden, cores=cores, memory=memory, places=places)
        given = ["--images", self.images, "--warehouse", self.warehouse]
        given += flags(*EVERY_STAGE, self.every_stage.with_labels)
        return self.start_run(cluster, "prune", *given, *self.overwrite, submit=submit)

    def assert_same(self) -> None:
        """Decisions and registered pairs are those of the undisturbed run on one machine."""
        assert open_store(self.spark, self.warehouse).read("alignments").count() > 0
        names = {name for name in TABLES if (self.every_stage.warehouse / name).exists()}
        assert names >= {"selection", "thresholds", "alignments"}
        assert_same_tables(self.spark, self.every_stage.warehouse, self.warehouse, names=names)

    def differing_decisions(self) -> int:
        """How many decisions are not those of the undisturbed run."""

        def decisions(root: str) -> set[tuple[Any, ...]]:
            rows = open_store(self.spark, root).read("selection").collect()
            return {(row.image_id, row.space, row.rule, row.kept, row.kept_id) for row in rows}

        ours, expected = decisions(self.warehouse), decisions(str(self.every_stage.warehouse))
        assert len(ours) == len(expected) > 0
        return len(ours - expected)


@pytest.fixture
def pruning(
    spark: SparkSession,
    standalone: StartCluster,
    start_run: StartRun,
    every_stage: EveryStage,
    hdfs: str,
) -> Pruning:
    return Pruning(spark, standalone, start_run, every_stage, hdfs)


def busy_executors(run: ClusterRun) -> Counter[str]:
    """How many tasks each executor finished."""
    return Counter(each.executor for each in run.task_ends() if each.reason == "Success")


@pytest.mark.parametrize("executors", [1, 7])
def test_the_number_of_executors(executors: int, pruning: Pruning) -> None:
    small = ("--executor-memory=512m", "--conf=spark.executor.cores=1")
    parts = f"--conf=spark.sql.shuffle.partitions={2 * executors}"
    run = pruning.start(HERE, cores=executors, memory=f"{executors * 600}m", submit=(*small, parts))
    run.finish()
    assert len(busy_executors(run)) == executors
    pruning.assert_same()


@pytest.mark.parametrize("registers", [False, True], ids=["given pairs", "registered anew"])
def test_unlike_instruction_sets(pruning: Pruning, registers: bool) -> None:
    """Cosines are exact. Scores of a registration differ in their last bits, so near a limit some
    pair may be proved on one machine alone: here none is.
    """
    if not registers:
        pruning.keep_alignments()
    run = pruning.start(HERE, Place(THERE.host, AVX2))
    run.wait_until("its executors", lambda: len(run.executors()) == 2)
    found = [environment_of(pid).get("NUMBA_CPU_NAME") for pid in run.executors().values()]
    assert set(found) == {None, "haswell"}
    run.finish()
    by_host = Counter(each.host for each in run.task_ends() if each.reason == "Success")
    assert by_host.keys() == {HERE.host, THERE.host}
    if registers:
        assert pruning.differing_decisions() == 0
    else:
        pruning.assert_same()


def test_a_second_attempt_of_a_task(pruning: Pruning) -> None:
    """An executor stands still with a task until another has done it; then it goes on."""
    run = pruning.start(HERE, THERE, submit=SPECULATION)
    run.hold_executor("prune", HELD)
    run.finish()
    ends = run.task_ends()
    second = {each.task for each in ends if each.speculative and each.reason == "Success"}
    assert second, "no second attempt of a task ended first"
    pruning.assert_same()


def test_a_worker_is_killed(pruning: Pruning) -> None:
    run = pruning.start(HERE, THERE)
    run.kill_worker("prune")
    run.finish()
    assert sum(worker.process.poll() is not None for worker in run.cluster.workers) == 1
    assert run.lost_tasks("prune") > 0
    pruning.assert_same()
