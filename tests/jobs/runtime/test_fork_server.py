"""The process that workers' daemons are forked from, which imports while Spark starts."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.runtime import fork_server
from tests.support.folders import ROOT
from tests.support.spark_workers import a_worker, ended, spark_daemon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MODULES = ["udfs.vectors.cosine"]
SIMPLE = {"OMP_NUM_THREADS": "1"}  # what Spark gives a worker


def has_numba(process: int) -> bool:
    return "numba" in Path(f"/proc/{process}/maps").read_text()


def server_of_this_process() -> psutil.Process:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # a process that has just begun may show no command line
        for child in psutil.Process().children():
            if fork_server.__name__ in " ".join(child.cmdline()):
                return child
        time.sleep(0.05)
    raise AssertionError("there is no server")


def test_a_daemon_is_forked_from_what_has_imported_already() -> None:
    with fork_server.running(iter(MODULES)):
        server = server_of_this_process()
        for _ in range(2):  # Spark starts another one where the first has ended
            with spark_daemon(SIMPLE) as daemon:
                worker, connection = a_worker(daemon)
                with connection:
                    assert has_numba(worker)
                    assert not has_numba(daemon.pid)
                    manager = psutil.Process(worker).ppid()
                    assert psutil.Process(manager).ppid() == server.pid
                assert daemon.stdin is not None
                daemon.stdin.close()
                assert daemon.wait(60) == 0
                assert ended(worker)
                assert ended(manager)
    assert ended(server.pid)
    assert fork_server.SOCKET not in os.environ


def test_a_daemon_of_another_environment_imports_by_itself() -> None:
    """The number of threads, for one, is read by an import."""
    with fork_server.running(MODULES), spark_daemon({"OMP_NUM_THREADS": "2"}) as daemon:
        worker, connection = a_worker(daemon)
        with connection:
            assert has_numba(worker)
            assert psutil.Process(worker).ppid() == daemon.pid


def test_a_daemon_needs_no_server() -> None:
    with fork_server.running(MODULES):
        server = server_of_this_process()
        server.kill()
        assert ended(server.pid)
        with spark_daemon(SIMPLE) as daemon:
            worker, connection = a_worker(daemon)
            with connection:
                assert has_numba(worker)
                assert psutil.Process(worker).ppid() == daemon.pid


@pytest.mark.parametrize("name", ["long" * 25, "ä" * 48], ids=["letters", "bytes"])
def test_a_folder_of_a_long_path_has_no_server(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv(fork_server.SOCKET, "of another job")
    with fork_server.running(MODULES):
        assert fork_server.SOCKET not in os.environ
    assert not [*folder.iterdir()]


def test_a_job_goes_on_without_room_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with fork_server.running(MODULES):
        assert fork_server.SOCKET not in os.environ


def test_a_forked_daemon_has_what_spark_gave_it(tmp_path: Path) -> None:
    """The path of modules, the arguments and the environment."""
    (tmp_path / "pyspark_told.py").write_text(
        "import os\n"
        "def main(infile, outfile):\n"
        "    outfile.write(os.environ['SPARK_TOLD'].encode())\n"
        "    raise SystemExit(1)\n"
    )
    told = SIMPLE | {"SPARK_TOLD": "this"}
    with (
        fork_server.running(MODULES),
        spark_daemon(told, tmp_path, module="pyspark_told") as daemon,
    ):
        worker, connection = a_worker(daemon)
        with connection:
            assert psutil.Process(worker).ppid() != daemon.pid
            connection.sendall(struct.pack("!i", 1) + b"s")  # the secret
            answer = connection.recv(10, socket.MSG_WAITALL)
        assert answer == struct.pack("!i", 2) + b"okthis"


def test_a_forked_daemon_that_fails_says_why() -> None:
    wrong = SIMPLE | {"PYTHON_UNIX_DOMAIN_ENABLED": "true"}  # without a folder for the socket
    with (
        fork_server.running(MODULES),
        spark_daemon(wrong, stderr=subprocess.PIPE) as daemon,
    ):
        assert daemon.stderr is not None
        assert b"PYTHON_WORKER_FACTORY_SOCK_DIR" in daemon.stderr.read()
        assert daemon.stdout is not None
        assert daemon.stdout.read() == b""


def test_the_server_ends_with_a_job_that_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("job")  # of a short path, as a socket's has to be
    program = (
        "import os, signal, subprocess\n"
        "from jobs.runtime import fork_server\n"
        "begin = subprocess.Popen\n"
        "def told(*words, **options):\n"
        "    process = begin(*words, **options)\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "subprocess.Popen = told\n"
        "with fork_server.running([]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert ended(int(killed.stdout))
    assert not [*folder.iterdir()]
