"""Two attempts of one task, as speculation makes them, leave each row once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import COMMAND_SECONDS
from tests.support.folders import ROOT
from tests.support.speculating import ROWS, TASKS


@pytest.mark.whole
@pytest.mark.spark
def test_a_table_has_the_rows_of_one_attempt_of_each_task(spark_home: Path, tmp_path: Path) -> None:
    """The first attempt of a task is killed while it writes: its file is no part of the table."""
    environment = {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_HOME": str(spark_home),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.speculating", str(tmp_path / "warehouse")],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = json.loads(done.stdout.splitlines()[-1])
    expected = [f"{number:06d}" for number in range(TASKS * ROWS)]
    for version in ("0", "1"):
        assert left[version]["ids"] == expected
        assert left[version]["attempts"] == ["attempt 0", "attempt 1"], "none was speculative"
    assert not (ROOT / "work").exists()
