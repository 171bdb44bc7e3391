"""What a command does before Spark is started, and that it is the same as with Spark."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.main import STAGES
from jobs.warehouse.store import open_store
from tests.support.commands import flags, run_command
from tests.support.every_stage import EVERY_STAGE, EveryStage

pytestmark = [pytest.mark.whole, pytest.mark.spark]


@pytest.fixture
def no_java(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Java starts."""
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho Java was started >&2\nexit 1\n")
    java.chmod(0o755)
    return {"PATH": f"{java.parent}:{os.environ['PATH']}", "JAVA_HOME": ""}


@pytest.fixture
def own(every_stage: EveryStage, tmp_path: Path) -> tuple[str, ...]:
    """The flags of a copy of a warehouse in which every stage has run."""
    shutil.copytree(every_stage.warehouse, tmp_path / "warehouse")
    where = ("--images", str(every_stage.images), "--warehouse", str(tmp_path / "warehouse"))
    return (*where, *flags(*EVERY_STAGE))


def states(spark: SparkSession, warehouse: Path) -> dict[str, str]:
    """The states of the stages in the last run."""
    rows: list[dict[str, Any]] = open_store(spark, str(warehouse)).query("runs")
    last = max(rows, key=lambda row: row["started"])["run_id"]
    return {row["stage"]: row["state"] for row in rows if row["run_id"] == last}


def test_java_is_started_only_where_something_is_to_be_done(
    spark: SparkSession, own: tuple[str, ...], tmp_path: Path, no_java: dict[str, str]
) -> None:
    # The labels that the fixture gave afterwards stand in the report; so it is made once more.
    done = run_command("pipeline", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum("→" in line for line in done.stdout.splitlines()) == 1
    assert states(spark, tmp_path / "warehouse")["report"] == "done"

    again = run_command("pipeline", *own, cwd=tmp_path, **no_java)
    assert again.returncode == 0, again.stdout + again.stderr
    lines = again.stdout.splitlines()
    stages = [line.split()[0] for line in lines if "up to date" in line]
    assert lines[0].endswith(f"images → {tmp_path}/warehouse")
    assert sum("→" in line for line in lines) == 1
    assert stages == [name for name in STAGES if name in stages]
    assert len(stages) == len(STAGES) - 2  # no labels were given to calibrate, no export wanted
    assert any("curated" in line for line in lines)
    assert set(states(spark, tmp_path / "warehouse").values()) == {"skipped"}

    planned = run_command("pipeline", *own, "--dry-run", cwd=tmp_path, **no_java)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert f"0 of {len(stages)} stages would be done" in planned.stdout

    other = (*own, "--set", "publish.seed=9")
    planned = run_command("pipeline", *other, "--dry-run", cwd=tmp_path, **no_java)
    assert "publish.seed = 9, was 0" in planned.stdout, planned.stdout + planned.stderr
    refused = run_command("pipeline", *other, cwd=tmp_path, **no_java)
    assert refused.returncode == 1
    assert "Spark needs Java 17 or 21, here is none" in refused.stdout
    wrong = run_command("pipeline", *own, "--set", "publish.sed=9", cwd=tmp_path, **no_java)
    assert (wrong.returncode, "did you mean seed" in wrong.stdout) == (2, True)
