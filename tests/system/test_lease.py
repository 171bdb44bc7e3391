"""Commands on a warehouse that is not mounted: one stands still, and another takes over.

Real runs of ./spark-submit.sh in the file system that TEST_REMOTE names.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.lease import DURATION
from jobs.warehouse.lease_files import HadoopLeaseFiles
from jobs.warehouse.store import open_store
from tests.support.commands import COMMAND_SECONDS, command_line, run_command

pytestmark = [pytest.mark.cluster, pytest.mark.spark, pytest.mark.long]


def test_a_warehouse_goes_from_a_run_that_stands_still_to_the_next(
    spark: SparkSession, survey: Path, remote: str, tmp_path: Path
) -> None:
    arguments = ["--images", str(survey), "--warehouse", remote]
    files = HadoopLeaseFiles(spark, remote)
    planned = run_command("ingest", *arguments, "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert files.numbers() == [], "a dry run takes no lease"

    line, environment = command_line("ingest", *arguments)
    with (tmp_path / "first").open("w") as output:
        first = subprocess.Popen(
            line, cwd=tmp_path, env=environment, stdout=output, start_new_session=True
        )
    try:
        end = time.monotonic() + COMMAND_SECONDS
        while not files.numbers():
            assert first.poll() is None, (tmp_path / "first").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        # All of it stands still, as if its machine were lost.
        os.killpg(first.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        next_run = run_command("ingest", *arguments, cwd=tmp_path)
        assert next_run.returncode == 0, next_run.stdout + next_run.stderr
        assert time.monotonic() - stopped > DURATION / 2, "the first had just begun its lease"
        assert re.search(r"is held by run \S+ \(process \d+ on ", next_run.stdout)
        assert files.numbers() == [2]
        # The first goes on, sees that it lost, and stops.
        os.killpg(first.pid, signal.SIGCONT)
        assert first.wait(COMMAND_SECONDS) == 1
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert "lost the lease of" in (tmp_path / "first").read_text()
    runs = {commit.run_id for commit in open_store(spark, remote).commits("images")}
    assert len(runs) == 1, "only the second run wrote"


def test_a_second_command_is_refused_while_the_first_lives(
    spark: SparkSession, survey: Path, remote: str, tmp_path: Path
) -> None:
    with open_store(spark, remote).lease("run-one", print):
        second = run_command("ingest", "--images", str(survey), "--warehouse", remote, cwd=tmp_path)
    assert second.returncode == 1
    assert f"in use by run run-one (process {os.getpid()} on " in second.stdout
    assert not open_store(spark, remote).exists("images")
