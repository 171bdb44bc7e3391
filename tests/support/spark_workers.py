"""The daemon of Python workers, started and asked for a worker as Spark does it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from jobs.runtime import worker_daemon
from tests.support.folders import ROOT


@contextmanager
def spark_daemon(
    environment: Mapping[str, str],
    *folders: Path,
    module: str = "pyspark.worker",
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the daemon, with further folders of modules; end it afterwards.

    module: what a worker runs, of a name that begins with pyspark. stderr: as Popen's.
    """
    paths = ":".join(map(str, (ROOT, *folders)))
    own = {"PYTHONPATH": paths, "PYTHON_WORKER_FACTORY_SECRET": "s"}
    with subprocess.Popen(
        [sys.executable, "-m", worker_daemon.__name__, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=ROOT,
        env=os.environ | own | dict(environment),
    ) as daemon:
        assert daemon.stdin is not None
        try:
            yield daemon
        finally:
            daemon.stdin.close()


def a_worker(daemon: subprocess.Popen[bytes]) -> tuple[int, socket.socket]:
    """The process id of a worker of the daemon, and Spark's connection with it."""
    assert daemon.stdout is not None
    (port,) = struct.unpack("!i", daemon.stdout.read(4))
    connection = socket.create_connection(("127.0.0.1", port))
    (worker,) = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))
    return worker, connection


def ended(process: int, seconds: float = 30) -> bool:
    """Whether a process has ended, or ends within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
