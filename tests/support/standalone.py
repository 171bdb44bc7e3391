"""A standalone cluster of Spark on this machine: a master and a worker, each its own process."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyspark
import pytest

from tests.support.folders import ROOT

START_SECONDS = 120
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"


# Empty folders in memory lie over the hidden ones, for this process and its children alone. The
# Python environment is put back: on a cluster it is at one path on all machines.
HIDE = """
set -e
environment=$1 kept=$2 folders=$3 link=$4; shift 4
mkdir -p "$kept"
mount --bind "$environment" "$kept"
while read -r folder; do mount -t tmpfs none "$folder"; done < "$folders"
mkdir -p "$environment"
mount --bind "$kept" "$environment"
[ -e "$link" ] || ln -s "$environment" "$link"  # in a clone that shares an environment
exec "$@"
"""


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
            folders = folder / f"{name}.hidden"
            folders.write_text("".join(f"{each}\n" for each in hidden))
            environment_link = ROOT / ".venv"
            kept = folder / f"{name}.environment"
            places = [environment_link.resolve(), kept, folders, environment_link]
            apart = ["unshare", "-m", "bash", "-c", HIDE, "hide", *map(str, places)]
            command = [*apart, *command]
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
    """What a command needs to run on the cluster: options of spark-submit, and its environment.

    workers: the processes of the workers, whose executors are children of theirs.
    """

    submit: tuple[str, ...]
    environment: dict[str, str]
    workers: tuple[Daemon, ...]


@dataclass(frozen=True)
class Place:
    """Where a worker runs, and what its environment and that of its executors has beside.

    host: another address of the loopback interface is another machine to Spark.
    """

    host: str = "127.0.0.1"
    environment: Mapping[str, str] = field(default_factory=dict)


StartCluster = Callable[..., Cluster]


class Standalone:
    """A master and workers that authenticate whoever talks to them, as docs/operations.md tells it.

    Their environment is all but empty, and so is the folder that they start in: what an executor
    has was sent by Spark.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[Daemon] = []

    def start(
        self,
        hidden: Sequence[Path] = (),
        cores: int = 1,
        memory: str = "1500m",
        workers: int = 1,
        places: Sequence[Place] = (),
    ) -> Cluster:
        """Start them, and return when all workers are registered.

        hidden: folders that are empty for the workers. cores, memory: of each worker. places: of
        the workers, if they differ, in place of their number.
        """
        places = places or [Place()] * workers
        secret = secrets.token_hex(32)
        settings = {
            "spark.master.rest.enabled": "false",
            "spark.authenticate": "true",
            "spark.authenticate.secret": secret,
            "spark.network.crypto.enabled": "true",
            "spark.network.crypto.authEngineVersion": "2",
        }
        file = self.folder / "daemons.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        secret_file = self.folder / "secret"
        secret_file.write_text(f"{secret}\n")
        common = ["--webui-port", "0", "--properties-file", str(file)]
        port = _free_port()
        own = ["--host", "127.0.0.1", "--port", str(port)]
        master = self._begin("master", [MASTER, *common, *own])
        master.wait_for("I have been elected leader")
        url = f"spark://127.0.0.1:{port}"
        size = ["--cores", str(cores), "--memory", memory]
        started = []
        for number, place in enumerate(places):
            own = ["--host", place.host, "--work-dir", str(self.folder / f"work{number}")]
            arguments = [WORKER, *common, *size, *own, url]
            worker = self._begin(f"worker{number}", arguments, hidden, place)
            worker.wait_for("Successfully registered with master")
            started.append(worker)
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
            tuple(started),
        )

    def _begin(
        self,
        name: str,
        arguments: Sequence[str],
        hidden: Sequence[Path] = (),
        place: Place | None = None,
    ) -> Daemon:
        place = place or Place()
        # OpenBLAS's are of the machine: with other kernels, sums differ in the last bit.
        needed = ("PATH", "JAVA_HOME", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        environment = {name: os.environ[name] for name in needed if name in os.environ}
        environment |= {
            "SPARK_LOCAL_IP": place.host,  # of executors, too
            "SPARK_DAEMON_MEMORY": "256m",
            # An empty folder of settings: the user's own must not change the tests.
            "SPARK_CONF_DIR": str(self.folder),
            **place.environment,
        }
        daemon = Daemon(self.folder, name, arguments, environment, hidden)
        self.daemons.append(daemon)
        return daemon

    def end(self) -> None:
        """End all processes."""
        for daemon in reversed(self.daemons):
            daemon.end()


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[StartCluster]:
    """Start a cluster with `Standalone.start`."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Standalone(folder)
    yield started.start
    started.end()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two workers that see neither the project nor the folders of the tests."""
    if not can_hide_folders():
        pytest.skip("no process here may have mounts of its own (unshare -m)")
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir="/var/tmp"))
    started = Standalone(folder)
    try:
        yield started.start([ROOT, tmp_path_factory.getbasetemp()], workers=2)
    finally:
        started.end()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
