"""The daemon that Python workers are forked from, as Spark starts it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.runtime import worker_daemon
from tests.support.folders import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("modules", [["talks", "no.such.module", "udfs.vectors.cosine"], []])
def test_a_worker_has_the_modules_from_its_beginning(
    modules: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talks.py").write_text("print('of itself')")
    worker_daemon.name(iter(modules))
    daemon = subprocess.Popen(
        [sys.executable, "-m", worker_daemon.__name__, "pyspark.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHON_WORKER_FACTORY_SECRET": "s"},
    )
    monkeypatch.delenv(worker_daemon.MODULES)
    assert daemon.stdout is not None
    assert daemon.stdin is not None
    with daemon, daemon.stdin, daemon.stdout:
        (port,) = struct.unpack("!i", daemon.stdout.read(4))
        with socket.create_connection(("127.0.0.1", port)) as connection:
            (worker,) = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))
            assert worker != daemon.pid
            loaded = Path(f"/proc/{worker}/maps").read_text()
            assert ("numba" in loaded) == bool(modules)
        daemon.stdin.close()  # as Spark ends it
        daemon.wait(60)


def test_a_worker_whose_task_was_given_up_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error, told in ((BrokenPipeError(), False), (EOFError(), False), (ValueError("it"), True)):
        try:
            raise error
        except (OSError, EOFError, ValueError):
            worker_daemon._print_exception()
        assert ("Traceback" in capsys.readouterr().err) == told
