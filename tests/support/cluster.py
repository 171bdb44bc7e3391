"""A standalone Spark cluster for tests; its workers share no disk with the driver.

All listen on loopback alone. Each worker runs in a mount namespace of its own, where the project
and the folders of the tests are empty; its environment is empty too. So an executor gets nothing
but what Spark sends to it. The Python environment is the only folder that they share, as on a
cluster whose machines have it at one path.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.hadoop import SPARK_JARS, ended, free_ports, listens, wait_until

WORKERS = 2
SPARK_CLASS = str(SPARK_JARS.parent / "bin/spark-class")
HIDE = """
set -e
environment=$1 kept=$2 mounts=$3; shift 3
mount --bind "$environment" "$kept"
for folder in $mounts; do mount -t tmpfs none "$(printf %b "$folder")"; done
mkdir -p "$environment"
mount --bind "$kept" "$environment"
exec "$@"
"""


class StandaloneCluster:
    """A master and its workers. url: spark://127.0.0.1:PORT."""

    def __init__(self, folder: Path, hidden: Sequence[Path], memory: str = "1200m") -> None:
        """folder: for logs and the workers' folders. hidden: what executors find empty."""
        self.folder = folder
        self.hidden = hidden
        self.memory = memory
        (self.port,) = free_ports(1)
        self.url = f"spark://127.0.0.1:{self.port}"
        self.master: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the master and the workers; return when all workers are registered."""
        place = ["--host", "127.0.0.1", "--webui-port", "0"]
        line = [SPARK_CLASS, "org.apache.spark.deploy.master.Master", *place]
        line += ["--port", str(self.port)]
        self.master = self._begin("master", line)
        wait_until("the master", lambda: listens(self.port), self.master)
        for _ in range(WORKERS):
            self.add_worker()

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one core."""
        name = f"worker{len(self.workers)}"
        work = self.folder / name
        (work / "kept").mkdir(parents=True)
        line = [SPARK_CLASS, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"]
        line += ["--webui-port", "0", "--cores", "1", "--memory", self.memory]
        line += ["--work-dir", str(work), self.url]
        worker = self._begin(name, self._apart(work / "kept", line))
        log = self.folder / f"{name}.log"
        wait_until(name, lambda: b"registered with master" in log.read_bytes(), worker)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End all processes."""
        for process in [*self.workers, *([self.master] if self.master else [])]:
            ended(process)

    def _apart(self, kept: Path, line: Sequence[str]) -> list[str]:
        """The command line in a mount namespace where the hidden folders are empty."""
        environment = (ROOT / ".venv").resolve()
        mounts = " ".join(
            str(path).replace("\\", "\\\\").replace(" ", "\\040") for path in self.hidden
        )
        return [
            "unshare",
            "-m",
            "bash",
            "-c",
            HIDE,
            "hide",
            str(environment),
            str(kept),
            mounts,
            *line,
        ]

    def _begin(self, name: str, line: Sequence[str]) -> subprocess.Popen[bytes]:
        empty = self.folder / f"{name} started here"
        empty.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "SPARK_HOME": str(SPARK_JARS.parent),
            "SPARK_LOCAL_IP": "127.0.0.1",  # of the executors, too
            "SPARK_DAEMON_MEMORY": "300m",
            "SPARK_DAEMON_JAVA_OPTS": "-Dspark.master.rest.enabled=false -XX:+UseSerialGC",
        }
        if home := os.environ.get("JAVA_HOME"):
            environment["JAVA_HOME"] = home
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                list(line),
                cwd=empty,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def why_not() -> str:
    """Why no cluster can be started here; "" where one can."""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return (
        ""
        if done.returncode == 0
        else f"unshare -m is not allowed here: {shlex.quote(done.stderr.decode())}"
    )


@contextmanager
def running_cluster(hidden: Sequence[Path]) -> Iterator[StandaloneCluster]:
    """A cluster that ends with the block; its folder lies outside all that it hides."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    cluster = StandaloneCluster(folder, hidden)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneCluster]:
    """A cluster whose executors see neither the project nor the folders of the tests."""
    if reason := why_not():
        pytest.skip(reason)
    with running_cluster([ROOT, tmp_path_factory.getbasetemp()]) as running:
        yield running
