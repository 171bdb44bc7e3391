"""The daemon that Python workers are forked from, as Spark starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobs.runtime import workers
from tests.support.spark_workers import a_worker, ended, spark_daemon


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("modules", ["talks no.such.module udfs.vectors.cosine", ""])
def test_a_worker_has_the_modules_from_its_beginning(modules: str, tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text("print('of itself')")
    with spark_daemon({workers.MODULES: modules}, tmp_path) as daemon:
        worker, connection = a_worker(daemon)
        with connection:
            assert worker != daemon.pid
            loaded = Path(f"/proc/{worker}/maps").read_text()
            assert ("numba" in loaded) == bool(modules)
        assert daemon.stdin is not None
        daemon.stdin.close()  # as Spark ends it
        daemon.wait(60)
        assert ended(worker)
