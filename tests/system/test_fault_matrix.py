"""What a pipeline survives, at every stage and between everything that it writes.

Each run is one of ./spark-submit.sh, in which something goes wrong at a named moment. One warehouse
suffers a whole kind of fault, each run going on where the one before was stopped. At the end its
tables must be those of an undisturbed run. `make test-faults` runs all; it goes on where it was
stopped itself, as long as the code is the same. The cases of `make test-whole` are one of each
kind.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from tests.support.faults import Done, Sufferer
from tests.support.tables import STAGES, WORK

pytestmark = [
    pytest.mark.spark,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="walks /proc"),
]
ONE, ALL = (
    pytest.param("one", marks=pytest.mark.whole),
    pytest.param("all", marks=pytest.mark.faults),
)
INTERRUPTED = "pipeline: interrupted; the same command goes on where this one stopped"
FULL = "the disk is full; make room and run the same command again: nothing is lost"


def chosen(which: str, clean: Sufferer, pattern: str, one: str) -> list[str]:
    """The moments of the undisturbed run that match; of `one` kind that one alone."""
    found = [moment for moment in clean.outcomes if re.search(pattern, moment)]
    assert one in found
    return [one] if which == "one" else found


def was_killed(done: Done) -> None:
    assert done.code not in (0, 2), done.said


def lost_java(done: Done) -> None:
    """The job says so in one line, unless it needed no more of it."""
    assert done.code in (0, 1), done.said
    told = "Java, in which Spark runs, ended in the middle of the job (signal 9" in done.said
    assert told == (done.code == 1), done.said
    assert "Traceback" not in done.said, done.said


@pytest.mark.parametrize("which", [ONE, ALL])
def test_the_drivers_python_is_killed_at_every_moment(
    which: str, spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    for moment in chosen(which, clean, "", "prune selection committed #1"):
        sufferer.suffers("kill", moment, was_killed)
    sufferer.ends_like(spark, clean)


@pytest.mark.parametrize("which", [ONE, ALL])
def test_the_drivers_jvm_is_killed_in_every_stage(
    which: str, spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    for moment in chosen(which, clean, r" (begins|written) #1", "encode latents written #1"):
        sufferer.suffers("java", moment, lost_java)
    sufferer.ends_like(spark, clean)


@pytest.mark.parametrize("which", [ONE, ALL])
def test_ctrl_c_in_every_stage_ends_in_one_line(
    which: str, spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    def is_told(done: Done) -> None:
        assert done.code == 130, done.said
        assert done.said.rstrip().endswith(INTERRUPTED)
        assert "Traceback" not in done.said

    for moment in chosen(which, clean, r" begins #1", "project begins #1"):
        sufferer.suffers("interrupt", moment, is_told)
    sufferer.ends_like(spark, clean)


@pytest.fixture
def small_disk(sufferer: Sufferer) -> Iterator[None]:
    """A disk of 64 MB for the warehouse of a test."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(sufferer.disk)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield
    subprocess.run(["umount", str(sufferer.disk)], check=True)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("which", [ONE, ALL])
def test_a_full_disk_in_every_stage_ends_in_one_line(
    which: str, spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    def is_told(done: Done) -> None:
        assert done.code == 1, done.said
        assert FULL in done.said
        assert "Traceback" not in done.said

    for moment in chosen(which, clean, r" begins #1", "encode begins #1"):
        sufferer.suffers("full", moment, is_told)
    sufferer.ends_like(spark, clean)


@pytest.mark.whole
def test_a_python_worker_is_killed_in_every_stage(
    spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    shutil.rmtree(sufferer.warehouse, ignore_errors=True)
    done = sufferer.run("workers")
    assert done.code == 0, done.said
    lost = {line.split()[0] for line in done.moments if line.endswith("lost a worker")}
    assert {"ingest", "encode", "prune"} <= lost, "stages whose tasks are Python"
    sufferer.ends_like(spark, clean)


@pytest.mark.slow
@pytest.mark.whole
def test_a_clock_that_is_set_back(spark: SparkSession, clean: Sufferer, sufferer: Sufferer) -> None:
    """The runs before have begun in the future then."""
    shutil.rmtree(sufferer.warehouse, ignore_errors=True)
    was_killed(sufferer.run("kill@prune begins #1"))
    done = sufferer.run("clock")
    assert done.code == 0, done.said
    assert done.said.count("up to date") == STAGES.index("prune"), done.said
    sufferer.ends_like(spark, clean)


@pytest.mark.slow
@pytest.mark.whole
def test_readers_see_whole_versions_while_a_run_commits(
    spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    shutil.rmtree(sufferer.warehouse, ignore_errors=True)
    was_killed(sufferer.run("kill@similarities begins #1"))
    seen: dict[tuple[str, int], int] = {}
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            for log in sorted(sufferer.warehouse.glob("*/_delta_log")):
                if log.parent.name in WORK:  # nobody's to read; it is dropped at the end
                    continue
                table = DeltaTable(log.parent)
                rows = pl.read_delta(str(log.parent), version=table.version())
                seen[log.parent.name, table.version()] = rows.height

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            read()
        except BaseException as failure:
            failures.append(failure)

    reader = threading.Thread(target=guarded)
    reader.start()
    try:
        done = sufferer.run("", "--set", "prune.order=['-image_id']", "--set", "publish.seed=5")
    finally:
        ended.set()
        reader.join()
    assert done.code == 0, done.said
    assert not failures
    for (name, version), height in seen.items():
        stored = DeltaTable(sufferer.warehouse / name, version=version)
        assert height == sum(stored.get_add_actions(flatten=True)["num_records"].to_pylist())
    assert len({version for name, version in seen if name == "selection"}) > 1
