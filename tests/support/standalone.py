"""A standalone cluster of Spark on this machine: a master and a worker, each its own process."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyspark
import pytest

from tests.support.commands import command_line

START_SECONDS = 120
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"


def can_hide_folders() -> bool:
    """Whether a process here may have mounts of its own."""
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /tmp"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Daemon:
    """A process of Spark in a process session of its own, with its output in a file."""

    def __init__(
        self,
        folder: Path,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        hidden: Sequence[Path] = (),
    ) -> None:
        spark_class = str(Path(pyspark.__file__).parent / "bin/spark-class")
        command = [spark_class, *arguments]
        if hidden:
            # Empty folders in memory lie over these folders, for this process and its children.
            mounts = " && ".join(f"mount -t tmpfs none {shlex.quote(str(f))}" for f in hidden)
            command = ["unshare", "-m", "sh", "-c", f"{mounts} && exec {shlex.join(command)}"]
        self.log = folder / f"{name}.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, words: str) -> None:
        """Wait until the log has these words."""
        end = time.monotonic() + START_SECONDS
        while words not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.2)

    def end(self) -> None:
        """End the process and its children: a worker's executors end with it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)


Cluster = Callable[..., tuple[str, ...]]


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Cluster]:
    """Start a master and a worker; returns the options of spark-submit that name the master.

    hidden: folders that are empty for the worker. cores, memory: of the worker. properties: the
    settings of both processes.
    """
    daemons: list[Daemon] = []
    folder = tmp_path / "cluster"
    folder.mkdir()

    def start(
        hidden: Sequence[Path] = (),
        cores: int = 1,
        memory: str = "1500m",
        properties: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        _, environment = command_line("sample")
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        # An empty folder of settings: the user's own must not change the tests.
        environment["SPARK_CONF_DIR"] = str(folder)
        file = folder / "daemons.conf"
        file.touch(mode=0o600)
        settings = {"spark.master.rest.enabled": "false", **(properties or {})}
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        common = ["--host", "127.0.0.1", "--webui-port", "0", "--properties-file", str(file)]
        port = _free_port()
        master = Daemon(folder, "master", [MASTER, *common, "--port", str(port)], environment)
        daemons.append(master)
        master.wait_for("I have been elected leader")
        url = f"spark://127.0.0.1:{port}"
        size = ["--cores", str(cores), "--memory", memory, "--work-dir", str(folder / "work")]
        worker = Daemon(folder, "worker", [WORKER, *common, *size, url], environment, hidden)
        daemons.append(worker)
        worker.wait_for("Successfully registered with master")
        return (f"--master={url}", "--executor-memory=1g", "--conf=spark.driver.host=127.0.0.1")

    yield start
    for daemon in reversed(daemons):
        daemon.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
