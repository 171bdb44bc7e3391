"""What a pipeline survives, at every stage and between everything that it writes.

Each run is one of ./spark-submit.sh, in which something goes wrong at a named moment. One warehouse
suffers a whole kind of fault, each run going on where the one before was stopped. At the end its
tables must be those of an undisturbed run. `make test-faults` runs all; it goes on where it was
stopped itself, as long as the code is the same. The cases of `make test-whole` are one of each
kind.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from tests.support.commands import COMMAND_SECONDS, LOCAL, QUICK, ROUNDS, command_line, flags
from tests.support.folders import ROOT
from tests.support.injection import faulty, moments
from tests.support.processes import in_session, wait_until_gone
from tests.support.tables import STAGES, assert_same_tables

pytestmark = [
    pytest.mark.spark,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="walks /proc"),
]
ONE, ALL = (
    pytest.param("one", marks=pytest.mark.whole),
    pytest.param("all", marks=pytest.mark.faults),
)
KEPT = ROOT / "build/faults"
INTERRUPTED = "pipeline: interrupted; the same command goes on where this one stopped"
FULL = "the disk is full; make room and run the same command again: nothing is lost"


class Done(NamedTuple):
    """A run that has ended: its exit code, what it printed, and the moments that it passed."""

    code: int
    said: str
    moments: list[str]


def digest() -> str:
    """A hash of the code and of the faults, so that no result of other code is taken."""
    files = [path for folder in ("jobs", "udfs") for path in sorted((ROOT / folder).rglob("*.py"))]
    files += [ROOT / "tests/support/injection.py", Path(__file__)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


class Sufferer:
    """A warehouse that suffers faults of one kind, and what came of each, kept to go on from."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.warehouse = self.disk / "warehouse"
        self.filler = self.disk / "filler"
        self.images = images
        self.disk.mkdir(parents=True, exist_ok=True)
        kept = folder / "outcomes.json"
        self.outcomes: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}

    def run(self, fault: str = "", *more: str) -> Done:
        """Run the pipeline with a fault; nothing of the run is left when this returns."""
        submit, environment = faulty(fault, self.folder, self.filler)
        arguments = ["--images", str(self.images), "--warehouse", str(self.warehouse)]
        line, base = command_line(
            "pipeline", *arguments, *flags(*QUICK, *ROUNDS), *more, submit=(*LOCAL, *submit)
        )
        output = self.folder / "output"
        with output.open("w") as log:
            shell = subprocess.Popen(
                line,
                cwd=self.folder,
                env=base | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            shell.wait(COMMAND_SECONDS)
            wait_until_gone(shell.pid)
        finally:
            for pid in in_session(shell.pid):
                os.kill(pid, signal.SIGKILL)
            self.filler.unlink(missing_ok=True)
        return Done(shell.returncode, output.read_text(), moments(self.folder))

    def suffers(self, kind: str, moment: str, check: Callable[[Done], None]) -> None:
        """Let a run go wrong at a moment, unless that was done before, and note what came of it.

        A run that goes on from others does not pass a moment whose work is done already. It is then
        tried on an empty warehouse.
        """
        if moment in self.outcomes:
            return
        before = self.folder / "before"
        shutil.rmtree(before, ignore_errors=True)
        if self.warehouse.exists():
            shutil.copytree(self.warehouse, before)
        done = self.run(f"{kind}@{moment}")
        if moment not in done.moments:
            shutil.rmtree(self.warehouse)
            done = self.run(f"{kind}@{moment}")
            assert moment in done.moments, done.said
        check(done)
        self.outcomes[moment] = f"ended with {done.code}"
        (self.folder / "outcomes.json").write_text(json.dumps(self.outcomes, indent=1))

    def ends_like(self, spark: SparkSession, clean: Sufferer) -> None:
        """Run to the end; the tables must be those of an undisturbed run, and stay so."""
        done = self.run()
        assert done.code == 0, done.said
        assert_same_tables(spark, clean.warehouse, self.warehouse)
        again = self.run()
        assert again.said.count("up to date") == len(STAGES), again.said


@pytest.fixture(scope="module")
def clean(survey: Path) -> Sufferer:
    """An undisturbed run, with its moments."""
    home = KEPT / digest()
    for other in KEPT.glob("*"):
        if other != home:
            shutil.rmtree(other)
    images = home / "images"
    if not images.exists():
        shutil.copytree(survey, home / "new")
        (home / "new").rename(images)
    made = Sufferer(home / "clean", images)
    if not made.outcomes:
        shutil.rmtree(made.warehouse, ignore_errors=True)
        done = made.run()
        assert done.code == 0, done.said
        made.outcomes = dict.fromkeys(done.moments, "passed")
        (made.folder / "outcomes.json").write_text(json.dumps(made.outcomes, indent=1))
    return made


@pytest.fixture
def sufferer(clean: Sufferer, request: pytest.FixtureRequest) -> Sufferer:
    """The warehouse of a test, which goes on where it was stopped."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return Sufferer(clean.folder.parent / name, clean.images)


def chosen(which: str, clean: Sufferer, pattern: str, one: str) -> list[str]:
    """The moments of the undisturbed run that match; of `one` kind that one alone."""
    found = [moment for moment in clean.outcomes if re.search(pattern, moment)]
    assert one in found
    return [one] if which == "one" else found


def was_killed(done: Done) -> None:
    assert done.code not in (0, 2), done.said


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
        sufferer.suffers("java", moment, was_killed)
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


@pytest.mark.whole
def test_a_clock_that_is_set_back(spark: SparkSession, clean: Sufferer, sufferer: Sufferer) -> None:
    """The runs before have begun in the future then."""
    shutil.rmtree(sufferer.warehouse, ignore_errors=True)
    was_killed(sufferer.run("kill@prune begins #1"))
    done = sufferer.run("clock")
    assert done.code == 0, done.said
    assert done.said.count("up to date") == STAGES.index("prune"), done.said
    sufferer.ends_like(spark, clean)


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
        done = sufferer.run("", "--set", "prune.seed=5", "--set", "publish.seed=5")
    finally:
        ended.set()
        reader.join()
    assert done.code == 0, done.said
    assert not failures
    for (name, version), height in seen.items():
        stored = DeltaTable(sufferer.warehouse / name, version=version)
        assert height == sum(stored.get_add_actions(flatten=True)["num_records"].to_pylist())
    assert len({version for name, version in seen if name == "selection"}) > 1
