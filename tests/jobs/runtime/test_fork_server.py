"""The process that workers' daemons are forked from, which imports while Spark starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def server_of_this_process() -> int:
    """The server's process id."""
    (server,) = (
        child.pid
        for child in psutil.Process().children()
        if fork_server.__name__ in child.cmdline()
    )
    return server


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
                    assert psutil.Process(manager).ppid() == server
                assert daemon.stdin is not None
                daemon.stdin.close()
                assert daemon.wait(60) == 0
                assert ended(worker)
                assert ended(manager)
    assert ended(server)
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
        os.kill(server, signal.SIGKILL)
        assert ended(server)
        with spark_daemon(SIMPLE) as daemon:
            worker, connection = a_worker(daemon)
            with connection:
                assert has_numba(worker)
                assert psutil.Process(worker).ppid() == daemon.pid


def test_a_folder_of_a_long_path_has_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with fork_server.running(MODULES):
        assert fork_server.SOCKET not in os.environ
    assert not [*folder.iterdir()]


def test_the_server_ends_with_a_job_that_is_killed() -> None:
    program = (
        "import os, psutil, signal\n"
        "from jobs.runtime import fork_server\n"
        "with fork_server.running([]):\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert ended(int(killed.stdout))
