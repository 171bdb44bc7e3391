"""Small files are merged and old ones deleted, by both kinds of store; what must stay, stays."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames, compaction, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.parquet_write import GROUP_BYTES
from jobs.warehouse.store import FORCED, Store, open_store
from tests.support.ages import make_older

pytestmark = pytest.mark.spark
SCHEMA = tables.TABLES["anomalies"].schema
Opener = Callable[[Path], Store]


@pytest.fixture(params=("local", "spark"))
def opener(
    request: pytest.FixtureRequest, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> Opener:
    monkeypatch.setenv(FORCED, request.param)
    return lambda folder: open_store(spark, str(folder))


@pytest.fixture
def store(opener: Opener, tmp_path: Path) -> Store:
    return opener(tmp_path / "a b#é")


def content(*numbers: int) -> Any:
    rows = [(f"{n:03}", "ab"[n % 2], n / 8, 0.5, n) for n in numbers]
    return tables.rows("anomalies", rows)


def commit(number: int, stage: str = "anomalies") -> CommitInfo:
    return CommitInfo("run", stage, f"mark {number}", {"label": "é'"})


def ids(store: Store, version: int | None = None) -> list[int]:
    rows = store.read("anomalies", version).select("image_id").collect()
    return sorted(int(row.image_id) for row in rows)


def stored_rows(store: Store, table: str) -> list[tuple[str, str]]:
    """Label and id of the rows, in the order of files and of the rows within them."""
    files = [Path(store.path(table)) / name for name in store.data_files(table)]
    read = [pq.read_table(file, columns=["label", "image_id"]) for file in files]
    return [(row["label"], row["image_id"]) for rows in read for row in rows.to_pylist()]


def appended(store: Store) -> None:
    """Five commits, whose rows would not be sorted if their files were put side by side."""
    for number in range(5):
        rows = content(*range(number, 60 + 20 * number, 5))
        store.write(rows, "anomalies", commit(number), append=number > 0)


def test_small_files_become_one_and_the_rows_stay_sorted(store: Store, opener: Opener) -> None:
    appended(store)
    before, known = ids(store), store.commits("anomalies")
    assert len(store.data_files("anomalies")) >= 5
    store.compact("anomalies")
    assert store.spark.conf.get(compaction.METADATA, None) is None, "later commits would have it"
    assert len(store.data_files("anomalies")) == 1
    rows = stored_rows(store, "anomalies")
    assert rows == sorted(rows)
    assert len({label for label, _ in rows}) == 2
    # Our commits are the same ones, for this object and for the next.
    for each in (store, opener(Path(store.root))):
        assert each.commits("anomalies") == known
        assert each.newest("anomalies", "anomalies") == CommitInfo(
            "run", "anomalies", "mark 4", {"label": "é'"}, 4
        )
        assert each.version("anomalies") == 5
        assert ids(each) == before
    assert ids(store, 0) == list(range(0, 60, 5))
    assert DeltaTable(Path(store.path("anomalies")).as_uri()).version() == 5
    store.compact("anomalies")  # there is nothing left to merge, so there is no commit
    assert store.version("anomalies") == 5


def test_the_log_says_that_no_row_changed(store: Store) -> None:
    appended(store)
    files = len(store.data_files("anomalies"))
    store.compact("anomalies")
    text = (Path(store.path("anomalies")) / f"_delta_log/{5:020}.json").read_text()
    assert text.count('"dataChange":false') == 1 + files
    assert '"dataChange":true' not in text


def test_large_files_stay_as_they_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = content(*range(0, 2000, 2)).to_pylist()
    frame = arrow_frames.frame(store.spark, [tuple(row.values()) for row in rows], SCHEMA)
    store.write(frame.coalesce(1), "anomalies", commit(0))
    (large, size), *others = store.data_files("anomalies").items()
    assert not others
    monkeypatch.setattr(compaction, "SMALL", size)
    monkeypatch.setitem(
        compaction.MERGING, "spark.databricks.delta.optimize.minFileSize", str(size)
    )
    for number in (1, 3):
        store.write(content(number), "anomalies", commit(number), append=True)
    store.compact("anomalies")
    files = store.data_files("anomalies")
    assert len(files) == 2
    assert files[large] == size
    assert ids(store) == sorted([*range(0, 2000, 2), 1, 3])


def test_files_are_merged_to_the_size_that_is_wanted() -> None:
    mega = 1 << 20
    files = {"a": 60 * mega, "b": 50 * mega, "c": 200 * mega, "d": 30 * mega, "e": 1}
    files |= {f"f{number}": 60 * mega for number in range(10)}
    small = compaction.mergeable(files)
    assert small == [name for name in files if name != "c"]
    assert compaction.merged_count(files, small) == 3  # 740 MB
    assert compaction.mergeable({"x=1/a": 1, "x=2/a": 1, "b": 1}) == []


def test_columns_of_callers_are_merged_too(store: Store) -> None:
    """They may be of any type, so Spark writes them, also in a mounted folder."""
    schema = tables.TABLES["images"].schema
    for number in range(3):
        images_rows: list[tuple[Any, ...]] = [
            tuple(
                {"image_id": f"{n:03}", "label": "ab"[n % 2], "width": n}.get(column.name)
                for column in schema
            )
            for n in range(number, 30, 3)
        ]
        frame = arrow_frames.frame(store.spark, images_rows, schema)
        frame = frame.withColumn("day", F.struct(F.lit(number).alias("of"))).coalesce(1)
        names = [name for name in frame.columns if name not in ("pixels", "day")]
        images = frame.select(*names, "day", "pixels")
        store.write(images, "images", commit(number, "ingest"), append=number > 0)
    assert len(store.data_files("images")) == 3
    store.compact("images")
    assert len(store.data_files("images")) == 1
    rows = stored_rows(store, "images")
    assert rows == sorted(rows)
    days = {row.image_id: row.day.of for row in store.read("images").collect()}
    assert days == {f"{n:03}": n % 3 for n in range(30)}
    assert store.newest("images", "ingest") == CommitInfo(
        "run", "ingest", "mark 2", {"label": "é'"}, 2
    )


def test_a_partition_is_merged_by_itself(store: Store) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    for run_id in ("one", "it"):
        for stage in ("ingest", "train", "encode"):
            row = {"run_id": run_id, "stage": stage, "state": "done", "started": moment}
            store.write(tables.rows("runs", [row]), "runs", commit(0, "runs"), append=True)
    store.compact("runs")
    folders = [name.rpartition("/")[0] for name in store.data_files("runs")]
    assert sorted(folders) == ["run_id=it", "run_id=one"]
    assert store.count("runs") == 6
    store.write(tables.rows("runs", []), "runs", commit(1, "runs"), where="run_id = 'it'")
    assert {row["run_id"] for row in store.query("runs")} == {"one"}


def test_row_groups_of_merged_files_are_as_small_as_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    """A worker holds a row group: those of Delta's own compaction are 128 MB."""
    store, schema = open_store(spark, str(tmp_path)), tables.TABLES["latents"].schema
    for number in range(2):
        ids_ = F.format_string("%06d", F.col("id") * 2 + number)
        columns = {name: F.lit("x") for name in schema.names}
        columns |= {"image_id": ids_, "latent": F.array_repeat(F.rand(1).cast("float"), 1024)}
        frame = spark.range(0, 3000, 1, 1).select(*(c.alias(n) for n, c in columns.items()))
        store.write(frame, "latents", commit(number, "encode"), append=number > 0)
    store.compact("latents")
    (name,) = store.data_files("latents")
    footer = pq.read_metadata(Path(store.path("latents")) / name)
    sizes = [footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)]
    assert len(sizes) >= 5
    assert max(sizes) < 2 * GROUP_BYTES
    snapshot = store.snapshot("latents")
    assert snapshot is not None
    assert snapshot.by_class(arrow_frames.struct("label string, image_id string"), {"x": 0})


def test_versions_within_the_retention_stay_readable_and_older_ones_go(store: Store) -> None:
    folder = Path(store.path("anomalies"))
    for number in range(4):
        store.write(content(number, number + 10), "anomalies", commit(number))
    first = len(DeltaTable(folder.as_uri(), version=0).file_uris())
    # Version 0 was replaced 40 days ago, version 1 a moment ago.
    make_older(folder, days=40, versions=2)
    killed = folder / "part-00000-00000000-0000-0000-0000-000000000000.zstd.parquet"
    killed.write_bytes(b"of a task that was killed")
    store = open_store(store.spark, store.root)
    planned = store.vacuum("anomalies", dry_run=True)
    assert store.version("anomalies") == 3
    gone = [folder / re.sub(r".*/", "", name) for name in planned]
    assert len(gone) == first
    assert all(file.exists() for file in gone)
    store.vacuum("anomalies")
    assert not any(file.exists() for file in gone)
    assert killed.exists()  # it could be another program's, which is about to commit it
    for version in (1, 2, 3):
        rows = DeltaTable(folder.as_uri(), version=version)
        answer = QueryBuilder().register("t", rows).execute("SELECT rank FROM t ORDER BY rank")
        found = [row["rank"] for row in pa.table(answer.read_all()).to_pylist()]
        assert found == [version, version + 10]
    assert ids(store, 2) == [2, 12]  # Spark's Delta refuses version 1: it was made 40 days ago
    assert store.same_rows("anomalies", 3) == store.version("anomalies") > 3
    assert store.same_rows("anomalies", 2) == 2
    newest = store.newest("anomalies")
    assert newest is not None
    assert (newest.fingerprint, newest.version) == ("mark 3", 3)
    version = store.version("anomalies")
    assert store.vacuum("anomalies") == []
    assert store.version("anomalies") == version  # nothing to delete, so no commit


def test_files_of_deletion_vectors_stay(spark: SparkSession, tmp_path: Path) -> None:
    """delta-rs would take them for files of no version."""
    store = open_store(spark, str(tmp_path))
    store.write(content(*range(5)), "anomalies", commit(0))
    folder = Path(store.path("anomalies"))
    vectors = "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
    spark.sql(f"ALTER TABLE delta.`{folder}` SET {vectors}")
    spark.sql(f"DELETE FROM delta.`{folder}` WHERE image_id = '003'")
    (deleted,) = folder.glob("deletion_vector_*")
    make_older(folder, days=40, versions=2)
    os.utime(deleted, (0, 0))
    store = open_store(spark, str(tmp_path))
    assert store.vacuum("anomalies", dry_run=True) == []
    store.vacuum("anomalies")
    assert deleted.exists()
    assert ids(store) == [0, 1, 2, 4]


def test_a_table_without_a_retention_gets_ours(spark: SparkSession, tmp_path: Path) -> None:
    """Delta's own is a week."""
    for number in range(2):
        write_deltalake(tmp_path / "anomalies", content(number), mode="overwrite")
    make_older(tmp_path / "anomalies", days=20, versions=2)
    assert open_store(spark, str(tmp_path)).vacuum("anomalies", dry_run=True) == []


def test_what_stages_have_done_outlives_the_clean_up_of_the_log(
    store: Store, opener: Opener
) -> None:
    """Delta deletes commits of the log that are older than 30 days, once there is a checkpoint."""
    appended(store)
    store.write(content(999), "anomalies", commit(9, "other"), append=True)
    folder = Path(store.path("anomalies"))
    make_older(folder, days=40, versions=6)
    again = opener(Path(store.root))
    again.compact("anomalies")
    log = DeltaTable(folder.as_uri())
    log.create_checkpoint()
    log.cleanup_metadata()
    assert not (folder / f"_delta_log/{4:020}.json").exists()
    again = opener(Path(store.root))
    assert again.newest("anomalies", "anomalies") == CommitInfo(
        "run", "anomalies", "mark 4", {"label": "é'"}, 4
    )
    assert again.newest("anomalies", "other") == CommitInfo(
        "run", "other", "mark 9", {"label": "é'"}, 5
    )
    assert len(ids(again)) == 101
