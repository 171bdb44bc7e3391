"""A standalone cluster of Spark on this machine: a master and a worker, each its own process."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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


@pytest.fixture
def spark_home(tmp_path: Path) -> Path:
    """Spark as installed, in a folder of this test: workers write their logs into SPARK_HOME."""
    home = tmp_path / "spark"
    home.mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        (home / part.name).symlink_to(part)
    return home


class Cluster(NamedTuple):
    """What a command needs to run on the cluster: options of spark-submit, and its environment."""

    submit: tuple[str, ...]
    environment: dict[str, str]


StartCluster = Callable[..., Cluster]


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[StartCluster]:
    """Start a master and a worker that authenticate whoever talks to them, as docs/ tell it.

    hidden: folders that are empty for the worker. cores, memory: of the worker.
    """
    daemons: list[Daemon] = []
    folder = tmp_path / "cluster"
    folder.mkdir()

    def start(
        hidden: Sequence[Path] = (),
        cores: int = 1,
        memory: str = "1500m",
    ) -> Cluster:
        _, environment = command_line("sample")
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        # An empty folder of settings: the user's own must not change the tests.
        environment["SPARK_CONF_DIR"] = str(folder)
        file = folder / "daemons.conf"
        file.touch(mode=0o600)
        secret = secrets.token_hex(32)
        settings = {
            "spark.master.rest.enabled": "false",
            "spark.authenticate": "true",
            "spark.authenticate.secret": secret,
            "spark.network.crypto.enabled": "true",
            "spark.network.crypto.authEngineVersion": "2",
        }
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        secret_file = folder / "secret"
        secret_file.write_text(f"{secret}\n")
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
        return Cluster(
            (
                f"--master={url}",
                "--executor-memory=1g",
                f"--conf=spark.executor.cores={cores}",
                "--conf=spark.task.maxFailures=2",
                "--conf=spark.driver.host=127.0.0.1",
            ),
            {
                "PROFILE": "cluster",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "LATENT_DEDUP_SECRET_FILE": str(secret_file),
            },
        )

    yield start
    for daemon in reversed(daemons):
        daemon.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
