"""Damaged files of a warehouse, as a crash or half a copy leaves them: what is said helps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.runtime.run import Run
from tests.support.session import Runner
from tests.support.tables import assert_same_tables

pytestmark = pytest.mark.spark


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_a_damaged_warehouse_is_whole_after_what_the_messages_say(
    spark: SparkSession, finished: Run, run_pipeline: Runner, tmp_path: Path
) -> None:
    """Each message names one stage to do again, and in the end all tables are as they were."""
    folder = tmp_path / "w"
    shutil.copytree(finished.warehouse.root, folder)
    cut(min((folder / "images").glob("*.parquet")))
    min((folder / "latents").glob("*.parquet")).unlink()
    next((folder / "models").glob("*/*.safetensors")).unlink()
    images = Path(finished.settings.images)
    told, again = [], "project"  # which reads latents
    for _ in range(8):
        try:
            run_pipeline(images, folder, overwrite=(again,), stages=(again,))
        except JobError as damaged:
            told.append(str(damaged))
            found = re.search(r"--overwrite (\w+)", told[-1])
            assert found, told
            again = found[1]
        else:
            if again == "project":
                break
            again = "project"
    else:
        pytest.fail(f"nothing helped: {told}")
    stages = [message.split("--overwrite ")[1].split()[0].rstrip(",") for message in told]
    assert set(stages) == {"train", "ingest", "encode"}, told
    assert_same_tables(spark, finished.warehouse.root, folder)
