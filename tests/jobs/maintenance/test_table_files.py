"""The files of a table, counted before and after."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.maintenance.table_files import TableFiles, is_of_delta, kept_up, readable
from jobs.runtime.console import Console
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import FORCED, open_store
from tests.support.ages import make_older

COMMIT = CommitInfo("run", "anomalies", "mark")


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["local", "spark"])
def test_a_plan_foretells_what_is_done(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(FORCED, kind)
    store, console = open_store(spark, str(tmp_path)), Console(quiet=True)
    for number in range(5):
        rows = tables.rows("anomalies", [(f"{number}", "a", 0.5, 0.5, number)])
        store.write(rows, "anomalies", COMMIT, append=number not in (0, 2))
    make_older(tmp_path / "anomalies", 40, 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    plan = kept_up(store, console, "anomalies", dry_run=True)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    done = kept_up(store, console, "anomalies", dry_run=False)
    assert (plan.used_before, plan.used) == (done.used_before, done.used)
    assert done.used_before >= 3
    assert done.used == 1
    assert plan.stored_before == done.stored_before
    # The log's new files, which are small, are not foretold.
    data = [file for file in store.files.infos("anomalies") if "_delta_log" not in file.name]
    logged = plan.stored_before - sum("_delta_log" not in str(path) for path in before)
    assert plan.stored - logged == len(data) if kind == "local" else plan.stored > 0
    assert plan.stored < plan.stored_before + 1


@pytest.mark.spark
def test_a_folder_with_files_of_somebody_loses_none(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of pictures that is also a table of the warehouse, by an unlucky name."""
    store = open_store(spark, str(tmp_path))
    for number in range(2):
        rows = tables.rows("anomalies", [(f"{number}", "a", 0.5, 0.5, number)])
        store.write(rows, "anomalies", COMMIT)
    (tmp_path / "anomalies/cat").mkdir()
    (tmp_path / "anomalies/cat/1.png").write_bytes(b"a picture")
    make_older(tmp_path / "anomalies", 40, 2)
    os.utime(tmp_path / "anomalies/cat/1.png", (0, 0))
    files = kept_up(store, Console(), "anomalies", dry_run=False)
    assert (tmp_path / "anomalies/cat/1.png").exists()
    assert files.stored == files.stored_before
    assert "such as anomalies/cat/1.png: nothing in it is deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("a/part-00012-2c1f7f62-1.zstd.parquet", True),
        ("a/run_id=2026-1/part-00012-2c1f7f62-1.c000.snappy.parquet", True),
        ("a/_delta_log/00000000000000000000.json", True),
        ("a/.part-00012-2c1f7f62-1.parquet.crc", True),
        ("a/data.parquet", False),
        ("a/cat/1.png", False),
        ("a/part-1.parquet", False),
    ],
)
def test_files_of_delta_are_told_by_their_names(name: str, ours: bool) -> None:
    assert is_of_delta(name) == ours


def test_sums_and_sizes() -> None:
    one, other = TableFiles(5, 1, 9, 7, 1_000, 700), TableFiles(1, 1, 2, 2, 5, 5)
    assert one + other == TableFiles(6, 2, 11, 9, 1_005, 705)
    assert str(one).split() == ["5", "→", "1", "9", "→", "7", "1.0", "KB", "→", "700", "bytes"]
    assert [readable(size) for size in (0, 12_300, 3.4e12, 5e15)] == [
        "0 bytes",
        "12.3 KB",
        "3.4 TB",
        "5,000.0 TB",
    ]
