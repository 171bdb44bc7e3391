"""A pipeline whose driver is killed (SIGKILL) and run again ends with the undisturbed tables.

Real runs of ./spark-submit.sh. The moment to kill is read off the warehouse: commits in Delta's
logs. One warehouse suffers all kills, one a run; what an earlier one broke the end would show.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyspark.sql import SparkSession

from jobs.warehouse.store import open_store
from tests.support.commands import COMMAND_SECONDS, QUICK, ROUNDS, command_line, flags, run_command
from tests.support.folders import ROOT
from tests.support.processes import in_session, wait_until_gone
from tests.support.tables import STAGES, assert_same_tables

pytestmark = [
    pytest.mark.whole,
    pytest.mark.long,
    pytest.mark.spark,
    pytest.mark.skipif(sys.platform != "linux", reason="walks /proc"),
]


class PipelineProcesses:
    """A pipeline in a process session of its own, so that all of its processes can be listed."""

    def __init__(self, arguments: list[str], cwd: Path) -> None:
        line, environment = command_line("pipeline", *arguments)
        self.output = cwd / "output"
        with self.output.open("w") as output:
            self.shell = subprocess.Popen(
                line,
                cwd=cwd,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def processes(self) -> dict[int, list[str]]:
        """The command lines of the session's processes, by pid."""
        return in_session(self.shell.pid)

    def java(self) -> int:
        """The driver's JVM."""
        return self._one(lambda words: words[0].endswith("java"))

    def python(self) -> int:
        """The driver's Python, which holds the warehouse."""
        return self._one(
            lambda words: "python" in words[0] and words[1] == str(ROOT / "jobs/main.py")
        )

    def _one(self, wanted: Callable[[list[str]], bool]) -> int:
        (pid,) = (pid for pid, words in self.processes().items() if wanted([*words, ""]))
        return pid

    def wait_until(self, what: str, happened: Callable[[], bool]) -> None:
        """Wait until `happened()` is true; fails if the run ends before, or takes too long."""
        end = time.monotonic() + COMMAND_SECONDS
        while not happened():
            assert self.shell.poll() is None, f"ended before {what}:\n{self.output.read_text()}"
            assert time.monotonic() < end, f"never came to {what}:\n{self.output.read_text()}"
            time.sleep(0.01)

    def wait_until_gone(self) -> None:
        """Wait until no process of the run is left; none is ended here."""
        self.shell.wait(timeout=120)
        wait_until_gone(self.shell.pid)

    def end(self) -> None:
        """End what a failed test leaves: processes of this run only."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.shell.wait(timeout=60)


@pytest.fixture
def start() -> Iterator[Callable[[list[str], Path], PipelineProcesses]]:
    living: list[PipelineProcesses] = []

    def begin(arguments: list[str], cwd: Path) -> PipelineProcesses:
        living.append(PipelineProcesses(arguments, cwd))
        return living[-1]

    yield begin
    for run in living:
        run.end()


def commits(warehouse: Path, table: str) -> int:
    """Commits in a table's log."""
    return len(list((warehouse / table / "_delta_log").glob("*.json")))


def has_begun(warehouse: Path, stage: str) -> bool:
    """Whether `runs` says that the stage has started."""
    try:
        rows = DeltaTable(warehouse / "runs").to_pyarrow_table(columns=["stage"])
    except TableNotFoundError:
        return False
    return stage in rows.column("stage").to_pylist()


def states(spark: SparkSession, warehouse: Path) -> list[tuple[str, str]]:
    """Stage and state of every row in `runs`, by time."""
    rows = open_store(spark, str(warehouse)).read("runs").orderBy("started").collect()
    return [(row.stage, row.state) for row in rows]


@pytest.mark.slow
def test_a_pipeline_killed_at_three_stages_ends_with_the_same_tables(
    spark: SparkSession,
    survey: Path,
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    start: Callable[[list[str], Path], PipelineProcesses],
    tmp_path: Path,
) -> None:
    warehouse = tmp_path / "warehouse"
    arguments = ["--images", str(survey), "--warehouse", str(warehouse), *flags(*QUICK, *ROUNDS)]

    # The JVM, in ingest between its two tables; another run meanwhile is turned away.
    run = start(arguments, tmp_path)
    run.wait_until("its beginning in runs", lambda: has_begun(warehouse, "ingest"))
    run.wait_until("the table images", lambda: commits(warehouse, "images") == 1)
    java, holder = run.java(), run.python()
    os.kill(java, signal.SIGSTOP)  # it stays alive, at this place, while the other one comes
    assert commits(warehouse, "rejects") == 0
    second = run_command("pipeline", *arguments, cwd=tmp_path)
    assert second.returncode == 1, second.stdout + second.stderr
    assert f"{warehouse} is in use by process {holder} on " in second.stdout
    assert run.python() == holder
    os.kill(java, signal.SIGKILL)
    run.wait_until_gone()
    assert run.shell.returncode == 1
    assert "ended in the middle of the job (signal 9" in run.output.read_text()
    assert states(spark, warehouse) == [("ingest", "failed")]
    assert commits(warehouse, "rejects") == 0

    # The driver's Python, in prune between two rounds.
    run = start(arguments, tmp_path)
    run.wait_until("two rounds", lambda: commits(warehouse, "rounds") == 2)
    os.kill(run.python(), signal.SIGKILL)
    run.wait_until_gone()
    assert run.shell.returncode != 0
    assert commits(warehouse, "selection") == 0
    second_run = [*((stage, "done") for stage in STAGES[:4]), ("prune", "started")]
    assert states(spark, warehouse) == [("ingest", "failed"), *second_run]

    # The JVM, in estimate between its first table and the others.
    run = start(arguments, tmp_path)
    run.wait_until("estimate", lambda: has_begun(warehouse, "estimate"))
    run.wait_until("the densities after removal", lambda: commits(warehouse, "density") == 2)
    os.kill(run.java(), signal.SIGKILL)
    run.wait_until_gone()
    assert commits(warehouse, "regression") == 0
    third_run = [
        *((stage, "skipped") for stage in STAGES[:4]),
        *((stage, "done") for stage in STAGES[4:6]),
        ("estimate", "failed"),
    ]
    assert states(spark, warehouse)[6:] == third_run

    # To the end. Nothing finished is done again, and nothing of the killed runs is left.
    done = run_command("pipeline", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = states(spark, warehouse)
    assert found[:6] == [("ingest", "failed"), *second_run[:4], ("prune", "failed")]
    assert found[6:13] == third_run
    assert found[13:] == [
        *((stage, "skipped") for stage in STAGES[:6]),
        *((stage, "done") for stage in STAGES[6:]),
    ]
    assert_same_tables(spark, undisturbed[0], warehouse)
    assert (warehouse / "report/report.html").exists()


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_and_gives_the_same_model(
    survey: Path, start: Callable[[list[str], Path], PipelineProcesses], tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    arguments = ["--images", str(survey), "--warehouse", str(warehouse)]
    arguments += flags(*QUICK, "train.epochs=40", "train.objective=reconstruction+instance")
    run = start(arguments, tmp_path)
    run.wait_until("a checkpoint", lambda: any((warehouse / "checkpoints").glob("*.safetensors")))
    os.kill(run.python(), signal.SIGKILL)
    run.wait_until_gone()
    assert not (warehouse / "models").exists()

    resumed = run_command("train", *arguments, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert re.search(r"goes on from epoch ([2-9]|[1-4]\d) of 40\b", resumed.stdout)
    (model,) = (warehouse / "models").iterdir()
    assert len(json.loads((model / "model.json").read_text())["epochs"]) == 40
    assert not (warehouse / "checkpoints").exists()

    # Another model would get another folder: its name is the hash of the weights.
    undisturbed = run_command("train", *arguments, "--overwrite", "train", cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    assert "epoch 1/40" in undisturbed.stdout
    assert "goes on" not in undisturbed.stdout
    assert list((warehouse / "models").iterdir()) == [model]


def test_ctrl_c_ends_in_one_line(
    spark: SparkSession,
    survey: Path,
    start: Callable[[list[str], Path], PipelineProcesses],
    tmp_path: Path,
) -> None:
    """The signal reaches every process of the run at once, as from a terminal."""
    warehouse = tmp_path / "warehouse"
    run = start(["--images", str(survey), "--warehouse", str(warehouse), *flags(*QUICK)], tmp_path)
    run.wait_until("its beginning in runs", lambda: has_begun(warehouse, "ingest"))
    run.wait_until("the table images", lambda: commits(warehouse, "images") == 1)
    os.killpg(run.shell.pid, signal.SIGINT)
    run.wait_until_gone()
    said = run.output.read_text().rstrip()
    assert said.endswith("\npipeline: interrupted; the same command goes on where this one stopped")
    assert "Traceback" not in said
    assert run.shell.returncode == 130
    assert [state for _, state in states(spark, warehouse)][-1] == "failed"
