"""Classes whose latents tasks read from the files themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.duplicates import selection
from jobs.duplicates.selection import scaled_limit
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents


def test_tasks_read_whole_classes_from_the_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class lies in one file, sorted by id: no row goes through Spark's shuffle."""
    given = GivenLatents(spark, tmp_path, {"large": 130, "sm/all": 40, "one": 1})
    given.write()
    warehouse = open_store(spark, str(tmp_path))
    rows = warehouse.read("latents").repartitionByRange(3, "label")
    commit = warehouse.newest("latents", "encode")
    assert commit is not None
    rows = rows.sortWithinPartitions("image_id").localCheckpoint()
    warehouse.write(rows, "latents", replace(commit, run_id="again"))

    def never(*_: Any) -> DataFrame:
        raise AssertionError("Spark dealt the classes out")

    monkeypatch.setattr(selection, "rows_by_shuffle", never)
    given.prune()
    assert given.selection() == given.defined()


def test_limits_in_images_shrink_with_the_width_of_latents() -> None:
    assert [scaled_limit(250, width) for width in (0, 512, 1024)] == [250] * 3
    assert scaled_limit(250, 2048) == 125
    assert scaled_limit(1, 4096) == 1
