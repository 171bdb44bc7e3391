"""A job on a standalone cluster that runs while a test looks at it, and disturbs its executors.

What its tasks do is asked of the page that the driver has for its user, and read from Spark's event
log afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.support.commands import COMMAND_SECONDS, command_line
from tests.support.hadoop import free_ports
from tests.support.processes import in_session
from tests.support.standalone import Cluster

EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
ARRIVED = 0.3  # seconds in which what an executor had sent has reached the driver's page
BETWEEN = 1.0  # seconds from the loss of an executor to the next
POLL = 0.01


class TaskEnd(NamedTuple):
    """An attempt of a task that ended. reason: Spark's name of it, such as Success. at: seconds."""

    task: tuple[int, int, int]  # Spark's stage, its attempt, the task's index in it
    reason: str
    host: str
    executor: str
    speculative: bool
    at: float

    @classmethod
    def of(cls, event: dict[str, Any]) -> Self:
        """Of an event of Spark's log."""
        info = event["Task Info"]
        return cls(
            (event["Stage ID"], event["Stage Attempt ID"], info["Index"]),
            event["Task End Reason"]["Reason"],
            info["Host"],
            info["Executor ID"],
            info["Speculative"],
            info["Finish Time"] / 1000,
        )


class ClusterRun:
    """A job that was started; its console is in JSON, and everything ends with the test."""

    def __init__(
        self, cluster: Cluster, job: str, *arguments: str, cwd: Path, submit: tuple[str, ...] = ()
    ) -> None:
        (port,) = free_ports(1)
        self.cluster = cluster
        self._page = f"http://127.0.0.1:{port}/api/v1/applications"
        self._events = cwd / "events"
        self._events.mkdir()
        looked_at = (
            "--conf=spark.ui.enabled=true",
            f"--conf=spark.ui.port={port}",
            "--conf=spark.ui.liveUpdate.period=0",  # the page knows of each task at once
            "--conf=spark.eventLog.enabled=true",
            "--conf=spark.eventLog.compress=false",
            f"--conf=spark.eventLog.dir={self._events.as_uri()}",
            "--conf=spark.task.maxFailures=8",
        )
        line, environment = command_line(
            job, *arguments, "--log-format", "json", submit=(*cluster.submit, *looked_at, *submit)
        )
        self.output = cwd / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                line,
                cwd=cwd,
                env=environment | cluster.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.end()

    def events(self) -> list[dict[str, Any]]:
        """What the console has said so far."""
        lines = self.output.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def event(self, stage: str, name: str) -> dict[str, Any] | None:
        """The event of this name of a stage; None if it has not come yet."""
        found = [e for e in self.events() if e["event"] == name and e["stage"] == stage]
        return found[-1] if found else None

    def wait_until(self, what: str, happened: Callable[[], Any]) -> None:
        """Wait until `happened()` is true; fails if the run ends before, or takes too long."""
        end = time.monotonic() + COMMAND_SECONDS
        while not happened():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output.read_text()}"
            assert time.monotonic() < end, f"never came to {what}:\n{self.output.read_text()}"
            time.sleep(POLL)

    def finish(self) -> None:
        """Wait for the end, which must be a good one."""
        code = self.process.wait(COMMAND_SECONDS)
        assert code == 0, self.output.read_text()

    def end(self) -> None:
        """End what a failed test leaves: processes of this run only."""
        for pid in in_session(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)

    def busy(self) -> list[str]:
        """The executors with a task that runs; none while the page cannot be reached."""
        try:
            (application,) = self._asked("")
            executors = self._asked(f"/{application['id']}/executors")
        except (OSError, ValueError):
            return []
        return [e["id"] for e in executors if e["isActive"] and e["activeTasks"]]

    def executors(self) -> dict[str, int]:
        """The pids of the executors' JVMs, by the id of the executor."""
        found = {}
        for pid, words in self._processes().items():
            if EXECUTOR in words:
                found[words[words.index("--executor-id") + 1]] = pid
        return found

    def kill_executors(self, stage: str, most: int) -> None:
        """Kill (SIGKILL) so many executors with a running task while a stage runs.

        Fewer if the stage ends before.
        """
        self._at_work(stage, most, lambda pid: os.kill(pid, signal.SIGKILL))

    def kill_worker(self, stage: str) -> None:
        """Kill (SIGKILL) a Worker with its executor, which has a running task, in a stage.

        It is as if their machine were lost.
        """

        def kill(executor: int) -> None:
            for worker in self.cluster.workers:
                if executor in in_session(worker.process.pid):
                    os.killpg(worker.process.pid, signal.SIGKILL)

        self._at_work(stage, 1, kill)

    def hold_executor(self, stage: str, seconds: float) -> None:
        """Let an executor stand still for so long while it has a task, in a stage."""

        def hold(executor: int) -> None:
            time.sleep(seconds)
            os.kill(executor, signal.SIGCONT)

        self._at_work(stage, 1, hold)

    def _at_work(self, stage: str, most: int, disturb: Callable[[int], None]) -> None:
        """Call `disturb` with the pids of so many executors at work; fewer if the stage ends.

        An executor is stopped first: if the driver then still holds its task to be running, the
        task has not ended, and is lost with its executor.
        """
        self.wait_until(f"the begin of {stage}", lambda: self.event(stage, "started"))
        disturbed = 0
        while disturbed < most and self.process.poll() is None and not self.event(stage, "done"):
            for executor in self.busy()[:1]:
                pid = self.executors().get(executor)
                if pid is not None and self._stopped_at_work(executor, pid):
                    disturb(pid)
                    disturbed += 1
                    time.sleep(BETWEEN)
            time.sleep(POLL)

    def _stopped_at_work(self, executor: str, pid: int) -> bool:
        with suppress(ProcessLookupError):  # it ended by itself
            os.kill(pid, signal.SIGSTOP)
            time.sleep(ARRIVED)
            if executor in self.busy():
                return True
            os.kill(pid, signal.SIGCONT)
        return False

    def logged(self, name: str) -> list[dict[str, Any]]:
        """The events of a name in Spark's log, once the run is finished."""
        (log,) = filter(_holds_events, self._events.rglob("*"))
        events = map(json.loads, log.read_text().splitlines())
        return [event for event in events if event["Event"] == f"SparkListener{name}"]

    def task_ends(self) -> list[TaskEnd]:
        """All attempts of tasks that ended, once the run is finished."""
        return [TaskEnd.of(event) for event in self.logged("TaskEnd")]

    def lost_tasks(self, stage: str) -> int:
        """How many attempts of tasks ended with their executor while a stage ran."""
        times = [self.event(stage, name) for name in ("started", "done")]
        begin, end = (datetime.fromisoformat(e["time"]).timestamp() for e in times if e)
        lost = [each for each in self.task_ends() if each.reason == "ExecutorLostFailure"]
        return sum(begin <= each.at <= end for each in lost)

    def _asked(self, path: str) -> Any:
        with urllib.request.urlopen(self._page + path, timeout=10) as answer:
            return json.load(answer)

    def _processes(self) -> dict[int, list[str]]:
        """Processes of all workers and their executors."""
        sessions = [in_session(worker.process.pid) for worker in self.cluster.workers]
        return {pid: words for session in sessions for pid, words in session.items()}


def _holds_events(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "appstatus"))


StartRun = Callable[..., ClusterRun]


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[StartRun]:
    """Start jobs with `ClusterRun`, each in a folder of its own."""
    runs: list[ClusterRun] = []

    def start(cluster: Cluster, job: str, *arguments: str, **given: Any) -> ClusterRun:
        cwd = tmp_path / f"run{len(runs)}"
        cwd.mkdir()
        runs.append(ClusterRun(cluster, job, *arguments, cwd=cwd, **given))
        return runs[-1]

    yield start
    for run in runs:
        run.end()
