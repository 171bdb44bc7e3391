"""Faults at named moments of a real run, in the driver's own process.

`faulty(…)` gives the environment by which `run_command` starts a run whose driver calls `main` here
first. The run is the one that users start, but that it notes each moment in a file, and lets
something go wrong at one of them. Moments are the points between what a run writes: the files of a
table, its commit, the row in `runs`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import wraps
from pathlib import Path
from typing import Any

import psutil
from pyspark import SparkContext

from jobs.runtime import fork_server
from tests.support.folders import ROOT

FAULT = "TEST_FAULT"  # KIND@MOMENT, or KIND alone for one that lasts for the whole run
LOG = "TEST_FAULT_LOG"  # the file that has a line for each moment
FILLER = "TEST_FAULT_FILLER"  # the file that takes all room of a disk
BACK = timedelta(days=2)  # by how much the clock is set back


def faulty(fault: str, folder: Path, filler: Path | None = None) -> dict[str, str]:
    """Return the environment of a run with a fault.

    fault: "" only notes the moments. folder: gets what every Python of the run imports at its
    start, and the notes. filler: the file that takes all room of its disk.
    """
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        f"if {str(ROOT / 'jobs/main.py')!r} in sys.orig_argv:\n"
        "    from tests.support.injection import main\n    main()\n"
    )
    (folder / "moments").write_text("")
    environment = {FAULT: fault, LOG: str(folder / "moments"), FILLER: str(filler)}
    return environment | {"PYTHONPATH": str(site)}


def moments(folder: Path) -> list[str]:
    """Return the moments that the last run in a folder passed."""
    return (folder / "moments").read_text().splitlines()


def main() -> None:
    """Install the fault in this process, before it runs the job."""
    kind, _, at = os.environ[FAULT].partition("@")
    if kind == "clock":
        set_back()
    install(Injector(kind, at))


class Injector:
    """Notes the moments of a run, and lets something go wrong at one of them."""

    def __init__(self, kind: str, at: str) -> None:
        self._kind = kind
        self._at = at
        self._seen: Counter[str] = Counter()
        self._access = threading.Lock()
        self.stage = "before"

    def passes(self, what: str) -> None:
        """Pass a moment: the stage, what was just done, and how often it was."""
        with self._access:
            self._seen[what] += 1
            moment = f"{what} #{self._seen[what]}"
            self.note(moment)
        if moment == self._at:
            FAULTS[self._kind](self)

    def begins(self, stage: str) -> None:
        """Pass the beginning of a stage."""
        self.stage = stage
        self.passes(f"{stage} begins")
        if self._kind == "workers":
            threading.Thread(target=kill_worker, args=(self, stage), daemon=True).start()

    def note(self, line: str) -> None:
        """Add a line to the notes, at once: the next moment may be the last."""
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")


def kill_driver(injector: Injector) -> None:
    """End the driver's Python as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_java(injector: Injector) -> None:
    """End the JVM, which this process has started."""
    os.kill(java(), signal.SIGKILL)


def java() -> int:
    """The process of the JVM."""
    return int(SparkContext._gateway.proc.pid)  # type: ignore[union-attr]


def interrupt(injector: Injector) -> None:
    """Send what Ctrl-C sends to all processes of the run."""
    os.killpg(os.getpgid(0), signal.SIGINT)
    time.sleep(60)


def fill(injector: Injector) -> None:
    """Take all room of the disk that the warehouse lies on."""
    block = b"\0" * (1 << 20)
    with Path(os.environ[FILLER]).open("wb", buffering=0) as file:
        for size in (len(block), 4096, 1):
            while True:
                try:
                    file.write(block[:size])
                except OSError:
                    break


FAULTS: dict[str, Callable[[Injector], None]] = {
    "kill": kill_driver,
    "java": kill_java,
    "interrupt": interrupt,
    "full": fill,
}


def kill_worker(injector: Injector, stage: str) -> None:
    """Kill the first Python worker that is at work in a stage, if there is one."""
    before = worker_ticks()
    while injector.stage == stage:
        for pid, used in worker_ticks().items():
            if used > before.get(pid, 0) + 1:
                os.kill(pid, signal.SIGKILL)
                injector.note(f"{stage} lost a worker")
                return
        time.sleep(0.005)


def worker_ticks() -> dict[int, int]:
    """Return the processor time of the Python workers of this run, by pid.

    They are forked from a daemon that is forked from this process's fork server.
    """
    found: dict[int, int] = {}
    with contextlib.suppress(psutil.Error):  # one ended meanwhile
        for server in psutil.Process().children():
            if fork_server.__name__ in " ".join(server.cmdline()):
                for worker in (worker for one in server.children() for worker in one.children()):
                    times = worker.cpu_times()
                    found[worker.pid] = round(100 * (times.user + times.system))
    return found


def set_back() -> None:
    """Let this process believe that it is two days ago, as when a clock was set right."""
    real = time.time
    time.time = lambda: real() - BACK.total_seconds()

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Earlier:
            moment = datetime.now(UTC) - BACK
            return cls.fromtimestamp(moment.timestamp(), tz)

    from jobs.runtime import run, stage

    for module in (run, stage):
        module.datetime = Earlier  # type: ignore[attr-defined]


def install(injector: Injector) -> None:
    """Have the injector pass a moment after each thing that a run writes."""
    from jobs.runtime.run import Run
    from jobs.runtime.run_log import RunLog
    from jobs.warehouse.base_store import Store
    from jobs.warehouse.files import LocalFiles
    from jobs.warehouse.parquet_write import ArrowTransform

    def after(owner: type, name: str, passes: Callable[..., str]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            answer = original(self, *arguments, **named)
            what = passes(self, *arguments, **named)
            if what:
                injector.passes(f"{injector.stage} {what}")
            return answer

        setattr(owner, name, call)

    def committed(store: Any, rows: Any, table: str, *rest: Any, **named: Any) -> str:
        return "" if table == "runs" else f"{table} committed"  # `recorded` below

    after(ArrowTransform, "write_files", lambda self, folder, *rest: f"{folder.name} written")
    after(Store, "write", committed)
    after(Store, "drop", lambda self, table: f"{table} dropped")
    after(LocalFiles, "write", lambda self, name, data: f"{_top(name)} file written")
    after(LocalFiles, "replace", lambda self, folder, files: f"{folder} replaced")

    performs, writes_rows = Run._perform, RunLog._write_rows

    def perform(self: Any, stage_run: Any, clock: float) -> None:
        injector.begins(stage_run.stage.name)
        performs(self, stage_run, clock)

    def write_rows(self: Any) -> None:
        rows = {name: self._rows[name]["state"] for name in sorted(self._unwritten)}
        writes_rows(self)
        for name, state in rows.items():
            injector.passes(f"{name} recorded as {state}")

    Run._perform = perform  # type: ignore[method-assign]
    RunLog._write_rows = write_rows  # type: ignore[method-assign]


def _top(name: str) -> str:
    """The folder that a file is for: `models` of `.models.new/1/weights`."""
    return name.split("/")[0].strip(".").removesuffix(".new")
