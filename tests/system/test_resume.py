"""Stages that are killed in the middle of a long write go on from what was complete.

The driver is a Python process of its own, which is killed with all its children. Files are closed
after every row group there, and parts are small, so that seconds are long.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.warehouse.store import FORCED, open_store
from jobs.warehouse.unfinished import FOLDER
from tests.support.commands import COMMAND_SECONDS
from tests.support.folders import ROOT
from tests.support.session import PAPER

pytestmark = [pytest.mark.whole, pytest.mark.spark, pytest.mark.long]

IMAGES = 4_000  # a dozen row groups of pixels
# One slot, in the child's process: no seconds pass before a file is closed.
CHILD = """
import sys
from benchmarks.session import start
from jobs import pipeline
from jobs.runtime import long_writes
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.warehouse import unfinished
from jobs.warehouse.lock import lock
images, warehouse, *flags = sys.argv[1:]
unfinished.SECONDS = unfinished.SHARE = 0.0
long_writes.SECONDS, long_writes.LEAST = 1.0, 400
settings = build({}, flags, images=images, warehouse=warehouse)
with lock(warehouse):
    run = Run(start(1), settings, "pipeline", pipeline.STAGES)
    run.close_stale()
    for stage in pipeline.STAGES[:3]:
        run.execute(stage)
    run.close()
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Small pictures of two classes, no two alike."""
    folder = tmp_path / "images"
    for number in range(IMAGES):
        path = folder / f"class {number % 2}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        low, high = divmod(number, 250)
        Image.new("RGB", (64, 64), (low, high, 5 * (number % 50))).save(path)
    return folder


FLAGS = (*PAPER, "train.epochs=1", "train.sample=100")


def begun(images: Path, warehouse: Path, flags: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the first three stages in a process of their own; its output goes to a file."""
    with warehouse.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(images), str(warehouse), *flags],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ended(images: Path, warehouse: Path, flags: Sequence[str] = FLAGS) -> str:
    """Run the stages to their end; return what they say."""
    code = begun(images, warehouse, flags).wait(COMMAND_SECONDS)
    said = warehouse.with_suffix(".log").read_text()
    assert code == 0, said
    return said


def killed_after(
    files: int, table: str, images: Path, warehouse: Path, flags: Sequence[str] = FLAGS
) -> str:
    """Run the stages, and kill them when so many more files of a table are complete."""

    def complete() -> set[Path]:
        return set((warehouse / FOLDER / table).glob("*/*.parquet.json"))

    before = complete()
    return killed_when(lambda: len(complete() - before) >= files, images, warehouse, flags)


def killed_when(
    happened: Callable[[], bool], images: Path, warehouse: Path, flags: Sequence[str] = FLAGS
) -> str:
    """Run the stages, and kill them at once when it happens; return what they said."""
    child, log = begun(images, warehouse, flags), warehouse.with_suffix(".log")
    try:
        end = time.monotonic() + COMMAND_SECONDS
        while not happened():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.01)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=60)
    return log.read_text()


def adopted(said: str, table: str) -> int:
    """The rows that a run says it goes on from; 0 if it says nothing."""
    found = re.search(rf"goes on where a run was stopped: {table} has ([\d,]+) rows", said)
    return int(found[1].replace(",", "")) if found else 0


def assert_complete(
    spark: SparkSession, clean: Path, warehouse: Path, images: int = IMAGES
) -> None:
    """Assert that both tables have all rows, and the same ones as an undisturbed run's."""
    for table in ("images", "latents"):
        expected, found = (open_store(spark, str(root)).read(table) for root in (clean, warehouse))
        assert found.count() == images
        assert found.exceptAll(expected).isEmpty(), table


def test_what_was_complete_is_not_done_again(
    spark: SparkSession, many: Path, tmp_path: Path
) -> None:
    clean, warehouse = tmp_path / "clean", tmp_path / "warehouse"
    assert adopted(ended(many, clean), "images") == 0

    killed_after(3, "images", many, warehouse)
    # The next run goes on, and is killed as well; so is the third one, in the stage after.
    first = adopted(killed_after(3, "images", many, warehouse), "images")
    assert 600 < first < IMAGES
    said = killed_after(1, "latents", many, warehouse)
    assert first < adopted(said, "images") < IMAGES
    said = ended(many, warehouse)
    assert 0 < adopted(said, "latents") < IMAGES
    assert_complete(spark, clean, warehouse)
    assert not list((warehouse / FOLDER).glob("*"))


def test_no_tile_of_a_large_frame_is_lost(spark: SparkSession, tmp_path: Path) -> None:
    """A frame has more tiles than a file takes when the run is killed."""
    draw, tiles = np.random.default_rng(0), 48**2
    for number in range(3):
        path = tmp_path / f"images/class {number % 2}/{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = draw.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((3072, 3072)).save(path)
    clean, warehouse = tmp_path / "clean", tmp_path / "warehouse"
    flags = (*FLAGS, "ingest.tile=64")
    ended(tmp_path / "images", clean, flags)
    killed_after(1, "images", tmp_path / "images", warehouse, flags)
    said = ended(tmp_path / "images", warehouse, flags)
    assert adopted(said, "images") in (tiles, 2 * tiles)
    assert_complete(spark, clean, warehouse, 3 * tiles)


@pytest.mark.parametrize("column", ["bytes", "paths"])
def test_rows_of_a_table_are_not_done_again(
    spark: SparkSession, many: Path, tmp_path: Path, column: str
) -> None:
    files = sorted(many.glob("*/*.png"))
    found: list[object] = [str(file) for file in files]
    content = found if column == "paths" else [file.read_bytes() for file in files]
    rows = {"id": [file.name for file in files], "label": [file.parent.name for file in files]}
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table(rows | {"image": content}), tmp_path / "table/a.parquet")
    clean, warehouse = tmp_path / "clean", tmp_path / "warehouse"
    source = ("ingest.source=parquet", "ingest.id_column=id", f"ingest.allow_paths=['{many}']")
    flags = (*FLAGS, *source)
    ended(tmp_path / "table", clean, flags)
    killed_after(3, "images", tmp_path / "table", warehouse, flags)
    assert 600 < adopted(ended(tmp_path / "table", warehouse, flags), "images") < IMAGES
    assert_complete(spark, clean, warehouse)
    if column == "bytes":
        return

    # A table that changed is read anew, since nothing tells which of its rows did.
    changed = tmp_path / "changed"
    killed_after(3, "images", tmp_path / "table", changed, flags)
    rows["label"][0] = "another"
    pq.write_table(pa.table(rows | {"image": content}), tmp_path / "table/a.parquet")
    assert adopted(ended(tmp_path / "table", changed, flags), "images") == 0
    images = open_store(spark, str(changed)).query("images", "SELECT label FROM rows")
    assert len(images) == IMAGES
    assert {"label": "another"} in images


def commits(warehouse: Path, table: str) -> int:
    return len(list((warehouse / table / "_delta_log").glob("*.json")))


def killed_after_commits(count: int, table: str, images: Path, warehouse: Path) -> str:
    """Run the stages, and kill them when a table has so many more commits."""
    before = commits(warehouse, table)
    return killed_when(lambda: commits(warehouse, table) >= before + count, images, warehouse)


def test_a_table_that_spark_writes_is_committed_in_parts(
    spark: SparkSession, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on hdfs or s3a, where tasks write no files of their own."""
    monkeypatch.setenv(FORCED, "spark")
    clean, warehouse = tmp_path / "clean", tmp_path / "warehouse"
    assert adopted(ended(many, clean), "images") == 0
    assert commits(clean, "images") > 2

    killed_after_commits(2, "images", many, warehouse)
    first = adopted(killed_after_commits(1, "images", many, warehouse), "images")
    assert 400 <= first < IMAGES
    said = killed_after_commits(1, "latents", many, warehouse)
    assert first < adopted(said, "images") < IMAGES
    said = ended(many, warehouse)
    assert 0 < adopted(said, "latents") < IMAGES
    assert_complete(spark, clean, warehouse)
