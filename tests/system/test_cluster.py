"""The executors' code in executors that are processes of their own, on two workers.

Plain `local` hides what is missing on an executor, since driver and executors share their modules,
and rows that come unsorted from a shuffle.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.commands import QUICK, ROUNDS, flags, run_command
from tests.support.tables import assert_same_tables

pytestmark = pytest.mark.spark


@pytest.mark.slow
@pytest.mark.whole
def test_separate_executors_write_the_same_tables(
    spark: SparkSession,
    survey: Path,
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    spark_home: Path,
    tmp_path: Path,
) -> None:
    done = run_command(
        "pipeline",
        "--images",
        str(survey),
        "--warehouse",
        str(tmp_path / "warehouse"),
        *flags(*QUICK, *ROUNDS),
        cwd=tmp_path,
        submit=(
            "--master=local-cluster[2,1,1024]",
            "--conf=spark.sql.adaptive.enabled=true",  # as users run it
            "--conf=spark.sql.codegen.wholeStage=true",
            "--conf=spark.sql.codegen.factoryMode=FALLBACK",
        ),
        SPARK_HOME=str(spark_home),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    executors = {path.parent.name for path in spark_home.glob("work/app-*/*/stderr")}
    assert len(executors) >= 2, "there were no separate executors"
    assert_same_tables(spark, undisturbed[0], tmp_path / "warehouse")
