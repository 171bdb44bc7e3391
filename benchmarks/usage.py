"""Memory and processor time of a command on a local cluster, by role and at every moment.

`watched` runs the command. `Usage.during` says what its processes took between two times, such as
those of a stage.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

EVERY = 1.0  # seconds between two looks, which take a twentieth of a core
DRIVER_JVM, DRIVER_PYTHON = "driver, JVM", "driver, Python"
EXECUTOR_JVM, EXECUTOR_PYTHON = "executor, JVM", "executor, Python"
WORKER, EXECUTOR = "one worker", "executor"
ROLES = (DRIVER_JVM, DRIVER_PYTHON, EXECUTOR_JVM, EXECUTOR_PYTHON)


@dataclass(frozen=True)
class Process:
    """A process at a moment; executor: the pid of the executor that it is of, or 0."""

    role: str
    executor: int
    memory: int


@dataclass
class Moment:
    """Bytes of each role, of the largest executor where it is of one, and seconds since start."""

    time: float
    memory: dict[str, int]
    seconds: dict[str, float]


@dataclass
class Usage:
    """All moments of a command."""

    moments: list[Moment] = field(default_factory=list)
    scratch: int = 0  # the most bytes that Spark kept on disk beside the tables

    def during(self, start: float, end: float) -> tuple[dict[str, int], dict[str, float]]:
        """Peaks of memory by role between two times, and the processor time that was taken."""
        inside = [moment for moment in self.moments if start <= moment.time <= end]
        before = [moment for moment in self.moments if moment.time < start][-1:]
        peaks: dict[str, int] = defaultdict(int)
        for moment in inside:
            for role, size in moment.memory.items():
                peaks[role] = max(peaks[role], size)
        if not inside:
            return dict(peaks), {}
        first, last = (before or inside)[0].seconds, inside[-1].seconds
        return dict(peaks), {role: last[role] - first.get(role, 0.0) for role in last}


def by_role(processes: Sequence[Process]) -> dict[str, int]:
    """The memory of each role; where each executor has one, that of the executor with most."""
    total: dict[str, int] = defaultdict(int)
    each: dict[tuple[str, int], int] = defaultdict(int)
    largest: dict[str, int] = defaultdict(int)
    for process in processes:
        if not process.executor:
            total[process.role] += process.memory
            continue
        each[process.role, process.executor] += process.memory
        each[EXECUTOR, process.executor] += process.memory
        if process.role == EXECUTOR_PYTHON:
            largest[WORKER] = max(largest[WORKER], process.memory)
    for (role, _), size in each.items():
        largest[role] = max(largest[role], size)
    return dict(total | largest)


def watched(command: list[str], environment: Mapping[str, str], scratch: Path) -> Usage:
    """Run a command to its end; exits, with its output, where it fails.

    scratch: the folder whose size is looked at now and then.
    """
    log = scratch.parent / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        watch = _Watch(process.pid, scratch)
        watch.start()
        code = process.wait()
        watch.over.set()
        watch.join()
    if code:
        raise SystemExit(f"{log.read_text()}\n{' '.join(command)}: ended with exit code {code}")
    return watch.usage


class _Watch(threading.Thread):
    def __init__(self, pid: int, scratch: Path) -> None:
        super().__init__(daemon=True)
        self.root = psutil.Process(pid)
        self.scratch = scratch
        self.usage = Usage()
        self.over = threading.Event()
        self._seconds: dict[tuple[int, float], tuple[str, float]] = {}

    def run(self) -> None:
        """Look until told to stop."""
        count = 0
        while not self.over.wait(EVERY):
            self.usage.moments.append(self._now())
            if count % 10 == 0:
                self.usage.scratch = max(self.usage.scratch, _size(self.scratch))
            count += 1

    def _now(self) -> Moment:
        processes = []
        for process in self._processes():
            try:
                role, executor = _role(process)
                processes.append(Process(role, executor, int(process.memory_full_info().pss)))
                spent = process.cpu_times()
                key = process.pid, process.create_time()
                self._seconds[key] = role, spent.user + spent.system
            except psutil.Error:
                continue
        seconds: dict[str, float] = defaultdict(float)
        for role, spent_here in self._seconds.values():
            seconds[role] += spent_here
        return Moment(time.time(), by_role(processes), dict(seconds))

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return []


def _role(process: psutil.Process) -> tuple[str, int]:
    """The role of a process, and the pid of its executor, or 0."""
    if process.name() == "java":
        if _is_executor(process):
            return EXECUTOR_JVM, process.pid
        return DRIVER_JVM, 0
    executor = next((parent.pid for parent in process.parents() if _is_executor(parent)), 0)
    return (EXECUTOR_PYTHON, executor) if executor else (DRIVER_PYTHON, 0)


def _is_executor(process: psutil.Process) -> bool:
    return process.name() == "java" and "executor.CoarseGrained" in " ".join(process.cmdline())


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
