"""What is exported of each image: its key, its split, and which of a frame's tiles comes first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.duplicates import export, export_images
from jobs.runtime.stage import StageRun
from tests.support.exports import Published, files

pytestmark = pytest.mark.spark


def stage_run(own: Published) -> StageRun:
    return own.run("publish.export=webdataset").open(export.STAGE)


def test_ids_that_end_like_tiles_are_whole_images_where_nothing_was_cut(
    spark: SparkSession, tmp_path: Path
) -> None:
    given = {name.replace(".png", "#3,4"): data for name, data in files(4).items()}
    own = Published.of_files(spark, tmp_path, given)
    rows = export_images.exported(stage_run(own)).collect()
    assert {row.image_id for row in rows} == {row.frame_id for row in rows} == set(given)
    assert {(row.x, row.y, row.is_first, row.split) for row in rows} == {(None, None, True, "all")}
    assert {row.label: row.number for row in rows} == {"cat": 0, "dog": 1}


def test_one_tile_of_each_frame_comes_first(spark: SparkSession, tmp_path: Path) -> None:
    given = {name.replace(".png", "#3,4"): data for name, data in files(4).items()}
    own = Published.of_files(spark, tmp_path, given, "ingest.tile=32")
    rows = export_images.exported(stage_run(own)).collect()
    assert {row.frame_id for row in rows} == set(given)
    for name in given:
        tiles = sorted((row for row in rows if row.frame_id == name), key=lambda row: row.key)
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        corners = [(0, 0), (0, 32), (32, 0), (32, 32)]
        assert [row.key for row in tiles] == [f"{digest}-{x}-{y}" for x, y in corners]
        assert [(row.x, row.y) for row in tiles] == corners
        assert [row.is_first for row in tiles] == [True, False, False, False]
    counts = export_images.count_without_files(export_images.exported(stage_run(own)))
    assert counts == {"tiles": 16, "in_tables": 0, "remote": 0}
