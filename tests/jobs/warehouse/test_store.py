"""What a warehouse promises, of both kinds of store; and the ways in which they are opened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from delta.tables import DeltaTable
from deltalake import write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.errors import JobError, SchemaError
from jobs.report import optional_tables, provenance, summary
from jobs.warehouse import arrow_frames, sql, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.files import Files, HadoopFiles, LocalFiles
from jobs.warehouse.lock import lock
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.spark_store import SparkStore
from jobs.warehouse.store import FORCED, Store, open_store
from udfs import arrow

COMMIT = CommitInfo("run", "anomalies", "mark", {"quantile": 0.01, "labels": ["é", "'"]})
SCHEMA = tables.TABLES["anomalies"].schema
KINDS = ("local", "spark")
Opener = Callable[[Path], Store]


@pytest.fixture(params=KINDS)
def opener(
    request: pytest.FixtureRequest, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> Opener:
    monkeypatch.setenv(FORCED, request.param)
    return lambda folder: open_store(spark, str(folder))


@pytest.fixture
def store(opener: Opener, tmp_path: Path) -> Store:
    return opener(tmp_path / "a b#é")


def content(*numbers: int) -> list[tuple[Any, ...]]:
    return [(f"{n:03}", "ab"[n % 2], n / 8, 0.5, n) for n in numbers]


def frame(store: Store, *numbers: int) -> Any:
    return arrow_frames.frame(store.spark, content(*numbers), SCHEMA)


def ids(store: Store, version: int | None = None) -> list[int]:
    rows = store.read("anomalies", version).select("image_id").collect()
    return sorted(int(row.image_id) for row in rows)


def doubled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows with twice their log-density, of a label that the scan was told."""
    for batch in batches:
        twice = pc.multiply(batch.column("log_density"), 2.0)
        columns = {name: batch.column(name) for name in schema.names} | {"log_density": twice}
        yield arrow.record_batch(columns, schema)


@pytest.mark.spark
def test_rows_are_written_added_and_replaced(store: Store) -> None:
    assert not store.exists("anomalies")
    assert store.commits("anomalies") == []
    assert store.query("anomalies") == []
    assert store.newest("anomalies") is None
    assert store.write(frame(store, 1, 2, 3), "anomalies", COMMIT) == 0
    assert store.exists("anomalies")
    assert (
        store.write(tables.rows("anomalies", content(4, 5)), "anomalies", COMMIT, append=True) == 1
    )
    assert ids(store) == [1, 2, 3, 4, 5]
    assert store.write(frame(store, 5, 7), "anomalies", COMMIT, where="image_id > '003'") == 2
    assert ids(store) == [1, 2, 3, 5, 7]
    on_driver = tables.rows("anomalies", content(0))
    assert store.write(on_driver, "anomalies", COMMIT, where="rank < 3") == 3
    assert ids(store) == [0, 3, 5, 7]
    transform = ArrowTransform(frame(store, 8), doubled, SCHEMA)
    assert store.write(transform, "anomalies", COMMIT, append=True) == 4
    (row,) = store.query("anomalies", "SELECT * FROM rows WHERE log_density > 1.5")
    assert row == {"image_id": "008", "label": "a", "log_density": 2.0, "cut": 0.5, "rank": 8}
    assert store.write(frame(store), "anomalies", COMMIT) == 5
    assert ids(store) == []
    # Every version is still there, for reading, queries and scans.
    assert ids(store, 0) == [1, 2, 3]
    assert ids(store, 2) == [1, 2, 3, 5, 7]
    ordered = "SELECT image_id FROM rows ORDER BY image_id"
    assert [row["image_id"] for row in store.query("anomalies", ordered, 1)][-1] == "005"
    scan = store.scan("anomalies", SCHEMA, doubled, SCHEMA, version=0, constants={"label": "c"})
    rows = sorted(scan.mapped().collect())
    assert [(row.image_id, row.label, row.log_density) for row in rows] == [
        ("001", "c", 0.25),
        ("002", "c", 0.5),
        ("003", "c", 0.75),
    ]
    assert (
        store.scan("anomalies", SCHEMA, doubled, SCHEMA, version=0, tasks=1).mapped().count() == 3
    )


@pytest.mark.spark
def test_a_write_that_changes_nothing_is_a_commit(opener: Opener, tmp_path: Path) -> None:
    """What a stage has done is read from its commit, also where there was nothing to replace."""
    store = opener(tmp_path)
    store.write(frame(store, 1), "anomalies", COMMIT)
    other = CommitInfo("run", "another", "mark 2")
    nothing = tables.rows("anomalies", [])
    assert store.write(nothing, "anomalies", other, where="rank = 2") == 1
    assert store.write(frame(store), "anomalies", other, where="rank = 2") == 2
    assert store.write(nothing, "anomalies", other, append=True) == 3
    assert store.write(frame(store), "anomalies", other, append=True) == 4
    again = opener(tmp_path)
    assert [commit.version for commit in again.commits("anomalies")] == [4, 3, 2, 1, 0]
    assert again.newest("anomalies", "another") == CommitInfo("run", "another", "mark 2", {}, 4)
    assert ids(again) == [1]


@pytest.mark.spark
def test_a_table_is_declared_and_is_dropped(store: Store) -> None:
    store.write(frame(store, 1), "anomalies", COMMIT)
    assert store.read("anomalies").schema == SCHEMA
    detail = DeltaTable.forPath(store.spark, store.path("anomalies")).detail().collect()[0]
    assert detail.properties == tables.properties("anomalies")
    assert (detail.minReaderVersion, detail.minWriterVersion) == (1, 2)
    store.drop("anomalies")
    store.drop("anomalies")
    assert not store.exists("anomalies")
    assert not Path(store.path("anomalies")).exists()
    assert store.write(frame(store, 2), "anomalies", COMMIT) == 0
    assert ids(store) == [2]


@pytest.mark.spark
def test_a_partition_is_replaced_alone(store: Store) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    row = {"run_id": "one", "stage": "encode", "state": "started", "started": moment}
    row |= {"versions_read": {"images": 3}, "row_counts": {}}
    store.write(tables.rows("runs", [row]), "runs", COMMIT)
    store.write(tables.rows("runs", [row | {"run_id": "it"}]), "runs", COMMIT, append=True)
    done = tables.rows("runs", [row | {"state": "done"}])
    store.write(done, "runs", COMMIT, where="run_id = 'one'")
    rows = {row["run_id"]: row for row in store.query("runs")}
    assert {name: row["state"] for name, row in rows.items()} == {"one": "done", "it": "started"}
    assert rows["one"]["started"] == moment
    assert dict(rows["one"]["versions_read"]) == {"images": 3}
    assert len(list(Path(store.path("runs")).glob("run_id=*"))) == 2


@pytest.mark.spark
@pytest.mark.parametrize("change", [{"where": "run_id = 'old'"}, {"append": True}])
def test_a_table_of_an_earlier_version_gets_its_new_column(
    store: Store, change: dict[str, Any]
) -> None:
    """Before `runs` had the column `depends`; the first write may replace what a dead run left."""
    names = tables.TABLES["runs"].schema.names
    started = {"run_id": "old", "stage": "train", "state": "started"}
    old = tables.rows("runs", [dict.fromkeys(names) | started]).drop_columns(["depends"])
    write_deltalake(store.path("runs"), old, partition_by=["run_id"])
    failed = dict.fromkeys(names) | started | {"state": "failed", "depends": "{}"}
    store.write(tables.rows("runs", [failed]), "runs", COMMIT, **change)
    states = sorted((row["state"], row["depends"]) for row in store.query("runs"))
    assert states == [("failed", "{}")] + [("started", None)] * ("append" in change)


@pytest.mark.spark
def test_callers_columns_come_and_go(store: Store) -> None:
    images = tables.TABLES["images"].schema
    plain = arrow_frames.frame(
        store.spark, [(str(n), "a", *[None] * (len(images) - 2)) for n in range(3)], images
    )
    store.write(plain, "images", COMMIT)
    store.write(plain.withColumn("mine", F.lit(1)), "images", COMMIT, append=True)
    assert store.count("images", "mine IS NULL") == store.count("images", "mine = 1") == 3
    store.write(plain.withColumn("other", F.array(F.lit("x"))), "images", COMMIT)
    assert set(store.read("images").columns) == {*images.names, "other"}
    store.write(plain, "images", COMMIT)
    assert store.read("images").columns == images.names


@pytest.mark.spark
def test_all_that_differs_from_the_declaration_is_said(store: Store) -> None:
    wrong = frame(store, 1).drop("cut").withColumns({"rank": F.lit("1"), "more": F.lit(1)})
    for rows in (wrong, wrong.toArrow()):
        with pytest.raises(SchemaError) as said:
            store.write(rows, "anomalies", COMMIT)
        lines = str(said.value).splitlines()[1:]
        assert [line.strip() for line in lines] == [
            "cut: missing (double)",
            "rank: is string, declared int",
            "more: not declared (int)",
        ]
    assert not store.exists("anomalies")


@pytest.mark.spark
def test_our_commits_are_told_from_others(opener: Opener, tmp_path: Path) -> None:
    store = opener(tmp_path / "ü")
    store.write(frame(store, 1, 2), "anomalies", COMMIT)
    other = CommitInfo("run", "another", "mark 2")
    store.write(tables.rows("anomalies", content(3)), "anomalies", other, append=True)
    table = DeltaTable.forPath(store.spark, store.path("anomalies"))
    table.optimize().executeCompaction()
    table.vacuum()
    uri = Path(store.path("anomalies")).as_uri()
    write_deltalake(uri, tables.rows("anomalies", content(4)), mode="append")
    frame(store, 5).write.format("delta").mode("append").option("userMetadata", "{}").save(
        store.path("anomalies")
    )
    again = opener(tmp_path / "ü")
    assert [(c.stage, c.version) for c in again.commits("anomalies")] == [
        ("another", 1),
        ("anomalies", 0),
    ]
    newest = again.newest("anomalies", "anomalies")
    assert newest == CommitInfo("run", "anomalies", "mark", COMMIT.metadata, 0)
    assert again.newest("anomalies") == CommitInfo("run", "another", "mark 2", {}, 1)
    assert again.version("anomalies") > 2
    assert ids(again) == [1, 2, 3, 4, 5]
    version = again.write(frame(store, 6), "anomalies", other, append=True)
    assert version == again.version("anomalies") == again.commits("anomalies")[0].version
    assert ids(again) == [1, 2, 3, 4, 5, 6]


@pytest.mark.spark
def test_counts_and_queries(store: Store) -> None:
    labels = ["field", "l'été", 'say "x"', "back\\slash", "x' OR 'a'='a", "a; --", "%s {} \n", ""]
    rows = [(str(n), label, float(n), None, n) for n, label in enumerate(labels)]
    store.write(tables.rows("anomalies", rows), "anomalies", COMMIT)
    assert store.count("anomalies") == len(labels)
    assert store.count("anomalies", "rank >= 3") == len(labels) - 3
    for label in labels:
        where = f"WHERE label IN ({sql.quoted([label, 'none'])})"
        (row,) = store.query("anomalies", f"SELECT label FROM rows {where}")
        assert row == {"label": label}
    assert store.size("anomalies") in (None, (len(labels), _bytes(store)))


def _bytes(store: Store) -> int:
    return sum(path.stat().st_size for path in Path(store.path("anomalies")).glob("*.parquet"))


def value(kind: T.DataType, name: str, n: int) -> Any:
    """Ids and paths are unlike, of other columns each value comes often; some have nulls."""
    if name in ("image_id", "pair_id", "path", "log_density", "component", "started"):
        n = n * 7 % 31
    else:
        n = n % 3
    if isinstance(kind, T.StringType):
        told = {"state": ("done", "failed", "skipped")}.get(name, "ab'")
        return told[n % 3] if name not in ("image_id", "pair_id", "path") else f"{n:02}é"
    if isinstance(kind, T.TimestampType):
        return datetime(2026, 1, 1 + n, tzinfo=UTC)
    if isinstance(kind, T.ArrayType):
        return [n] * 3 if isinstance(kind.elementType, T.NumericType) else None
    if isinstance(kind, T.MapType | T.BinaryType):
        return None
    if isinstance(kind, T.BooleanType):
        return n > 0
    return n / 8 if isinstance(kind, T.DoubleType) else n


QUERIES = [
    *optional_tables.QUERIES.items(),
    ("runs", provenance.LAST_RUNS),
    ("rejects", summary.CODES),
    ("selection", summary.COUNTS),
    ("thresholds", summary.THRESHOLDS),
    ("curated", summary.PUBLISHED),
    ("latents", "SELECT cardinality(latent) AS width FROM rows LIMIT 1"),
    ("images", "SELECT count(DISTINCT path) AS files FROM rows"),
    ("selection", "SELECT DISTINCT rule, space FROM rows ORDER BY rule DESC, space"),
    ("density", "SELECT * FROM rows WHERE component <= 3 ORDER BY component"),
]


@pytest.mark.spark
def test_a_query_means_the_same_to_both(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = []
    for kind in KINDS:
        monkeypatch.setenv(FORCED, kind)
        stores.append(open_store(spark, str(tmp_path)))
    for table in dict(QUERIES):
        schema = tables.TABLES[table].schema
        rows = [[value(c.dataType, c.name, n) for c in schema] for n in range(30)]
        if table == "rejects":
            for row in rows[::2]:
                row[schema.names.index("image_id")] = None
        stores[0].write(tables.rows(table, rows), table, COMMIT)
    for table, text in QUERIES:
        local, of_spark = (store.query(table, text) for store in stores)
        assert local, text
        if text.rstrip().endswith("LIMIT 1") or "ORDER BY" in text.rpartition(")")[2]:
            assert local == of_spark, text
        else:
            assert in_order(local) == in_order(of_spark), text


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@pytest.mark.spark
def test_small_files(opener: Opener, tmp_path: Path) -> None:
    folder = tmp_path / "a b#é%20"
    files: Files = opener(tmp_path / "w").files
    kind = type(files)
    if kind is LocalFiles:
        files = LocalFiles(folder)
    else:
        files = HadoopFiles(opener(folder).spark, str(folder))
    assert files.list("models") == []
    assert not files.exists("models")
    data = bytes(range(256)) * 5000
    files.write("models/x y#%25/weights", data)
    assert files.read("models/x y#%25/weights") == data
    assert (folder / "models/x y#%25/weights").read_bytes() == data
    files.write("models/x y#%25/weights", b"")
    assert files.read("models/x y#%25/weights") == b""
    files.write("models/ü/model.json", b"{}")
    files.write("top", b"1")
    (folder / "models/ü/.model.json.77").write_bytes(b"half")
    assert files.list("models") == ["models/x y#%25/weights", "models/ü/model.json"]
    assert files.path("top") == str(folder / "top")
    with pytest.raises(FileNotFoundError, match="nothing"):
        files.read("models/nothing")
    files.delete("models/ü")
    files.delete("models/ü")
    files.delete("top")
    assert files.list("models") == ["models/x y#%25/weights"]
    assert not files.exists("top")


@pytest.mark.spark
def test_a_folder_is_replaced_as_a_whole_or_not_at_all(store: Store) -> None:
    files, root = store.files, Path(store.root)

    def failing() -> Iterator[tuple[str, bytes]]:
        yield "three", b"3"
        raise OSError("No space left on device")

    for name in ("one", "two"):
        assert files.replace("images", [(f"sub/{name}", b"x"), ("both", name.encode())]) == 2
        assert files.list("images") == ["images/both", f"images/sub/{name}"]
    with pytest.raises(OSError, match="No space"):
        files.replace("images", failing())
    assert files.list("images") == ["images/both", "images/sub/two"]
    assert files.replace("images", [("four", b"4")]) == 1  # what the failure left is gone
    assert files.list("images") == ["images/four"]
    assert files.replace("images", []) == 0
    assert list(root.iterdir()) == []


def test_a_folder_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one").write_bytes(b"1")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/images").symlink_to(elsewhere)
    files = LocalFiles(tmp_path / "w")
    assert files.replace("images", [("two", b"2")]) == 1
    assert files.list("images") == ["images/two"]
    assert [path.name for path in elsewhere.iterdir()] == ["one"]


HOLD = """
import sys
from jobs.warehouse.lock import lock
with lock(sys.argv[1]):
    print(1, flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    root = str(tmp_path / "a b#é")
    with lock(root):
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"1\n"
    with pytest.raises(JobError, match=rf"is in use by process {holder.pid} on .* since \d"):
        lock(root).__enter__()
    holder.communicate()
    with lock(root), pytest.raises(JobError, match="in use by process"), lock(root):
        pass


@pytest.mark.spark
def test_a_mounted_folder_needs_no_lease(store: Store) -> None:
    with store.lease("run", print):
        store.write(frame(store, 1), "anomalies", COMMIT)
    assert not (Path(store.root) / ".lease").exists()


@pytest.mark.spark
def test_where_a_warehouse_lies_chooses_its_store(spark: SparkSession, tmp_path: Path) -> None:
    with lock("hdfs://127.0.0.1:9/w%20a#/"):  # it does not look for it
        remote = open_store(spark, "hdfs://127.0.0.1:9/w%20a#/")
    assert isinstance(remote, SparkStore)
    assert remote.path("images") == "hdfs://127.0.0.1:9/w%20a#/images"
    with pytest.raises(JobError, match=r"--warehouse nosuch:/x: No FileSystem for scheme"):
        open_store(spark, "nosuch:/x")
    with pytest.raises(JobError, match=r"S3AFileSystem not found"):
        open_store(spark, "s3a://bucket/w")
    assert open_store(spark, str(tmp_path)).__class__.__name__ == "LocalStore"
    with pytest.raises(JobError, match="its path may hold none of"):
        open_store(spark, str(tmp_path / "50%"))
