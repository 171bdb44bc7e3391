"""The memory of a command and all processes below it, while it runs."""

from __future__ import annotations

import subprocess
import threading
from collections import defaultdict

import psutil

from jobs.runtime import fork_server

ROLES = ("driver, JVM", "driver, Python", "workers, together", "one worker", "all")


def watched(command: list[str], *, quiet: bool = True) -> dict[str, int]:
    """Run a command to its end and return its peaks of memory, by role; quiet: without its output.

    Exits where the command fails.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None) as process:
        memory = Memory(process.pid)
        memory.start()
        code = process.wait()
        memory.over.set()
        memory.join()
    if code:
        raise SystemExit(f"{' '.join(command)}: ended with exit code {code}")
    return dict(memory.peaks)


class Memory(threading.Thread):
    """The largest memory of a process and all below it, by role, looked at every two seconds.

    PSS: pages that forked workers share are counted once. More often would slow the run down: the
    system walks every page of a heap of gigabytes.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root = psutil.Process(pid)
        self.peaks: dict[str, int] = defaultdict(int)
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self.over.wait(2.0):
            now: dict[str, int] = defaultdict(int)
            for process in self._processes():
                try:
                    role, pss = _role(process), int(process.memory_full_info().pss)
                except psutil.Error:
                    continue
                now[role] += pss
                if role == "workers, together":
                    self.peaks["one worker"] = max(self.peaks["one worker"], pss)
            now["all"] = sum(now.values())
            for role, size in now.items():
                self.peaks[role] = max(self.peaks[role], size)

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return []


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    daemons = ("pyspark.daemon", "pyspark.worker", "pyspark/daemon", fork_server.__name__)
    if any(daemon in words for daemon in daemons):
        return "workers, together"
    return "driver, JVM" if process.name() == "java" else "driver, Python"
