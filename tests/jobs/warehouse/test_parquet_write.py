"""Files that executors write and the driver commits: what readers of the table then see."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import errors
from jobs.warehouse import arrow_frames, parquet_write, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.parquet_write import ArrowTransform, Files, Statistics, passthrough
from jobs.warehouse.store import Store, open_store
from jobs.warehouse.tables import properties
from udfs import arrow

IMAGES = tables.TABLES["images"].schema
ARROW = arrow_frames.arrow_schema(IMAGES)
LABELS = ["field", "straße", "水"]
COMMIT = CommitInfo("run", "ingest", "mark")
NOTED = datetime(2026, 3, 4, 5, 6, 7, 123456, UTC)


def rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """For each number an image; none for negative ones."""
    for batch in batches:
        numbers = [number for number in batch.column("id").to_pylist() if number >= 0]
        columns = {
            "image_id": [f"{number:05d}" for number in numbers],
            "label": [LABELS[number % 3] for number in numbers],
            "split": [None] * len(numbers),
            "path": [f"/{number}" for number in numbers],
            "sha256": ["0"] * len(numbers),
            "width": numbers,
            "height": [None if number % 2 else number for number in numbers],
            "size_bytes": [number << 40 for number in numbers],
            "modified_at": [NOTED] * len(numbers),
            "pixels_sha256": [f"{number:064x}" for number in numbers],
            "levels": [1] * len(numbers),
            "range_low": [0.0] * len(numbers),
            "range_high": [1.0] * len(numbers),
            "pixels": [bytes([number % 256]) * 12288 for number in numbers],
        }
        yield arrow.record_batch(columns, schema)


def broken(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Some rows, then an end."""
    yield from rows(batches, schema)
    raise OSError(28, "No space left on device")


def made(spark: SparkSession, first: int, last: int, tasks: int = 3) -> ArrowTransform:
    return ArrowTransform(spark.range(first, last, numPartitions=tasks), rows, IMAGES)


def ids(warehouse: Store, version: int | None = None) -> list[str]:
    found = warehouse.read("images", version).select("image_id").collect()
    return sorted(row.image_id for row in found)


@pytest.mark.spark
def test_a_table_is_the_one_that_spark_would_write(spark: SparkSession, tmp_path: Path) -> None:
    ours, sparks = open_store(spark, str(tmp_path / "ours")), open_store(spark, str(tmp_path / "s"))
    commit = CommitInfo("run", "ingest", "mark", {"decoding": "d"})
    assert ours.write(made(spark, 0, 40), "images", commit) == 0
    writer = made(spark, 0, 40).mapped().write.format("delta").options(**properties("images"))
    writer.option("userMetadata", commit.json()).save(sparks.path("images"))
    logs = [DeltaTable(Path(each.path("images")).as_uri()) for each in (ours, sparks)]
    one, other = (
        (log.schema().to_json(), log.metadata().configuration, log.protocol()) for log in logs
    )
    assert one == other
    assert one[2].min_reader_version == 1
    assert one[2].min_writer_version == 2
    for each in (ours, sparks):
        newest = open_store(spark, each.root).newest("images", "ingest")
        assert newest == CommitInfo("run", "ingest", "mark", {"decoding": "d"}, 0)
    by_id = [each.read("images").orderBy("image_id").collect() for each in (ours, sparks)]
    assert by_id[0] == by_id[1]
    delta = spark.read.format("delta").load(ours.path("images"))
    assert delta.orderBy("image_id").collect() == by_id[1]
    read = pl.read_delta(ours.path("images")).sort("image_id")
    assert read.equals(pl.read_delta(sparks.path("images")).sort("image_id"))
    folder = ours.path("images")
    with duckdb.connect() as reader:
        files = f"{folder}/*.parquet"
        found = reader.execute("SELECT count(*), max(modified_at) FROM read_parquet(?)", [files])
        assert found.fetchone() == (40, NOTED)
    assert ours.size("images") == (
        40,
        sum(file.stat().st_size for file in Path(folder).glob("*.parquet")),
    )


@pytest.mark.spark
def test_what_is_added_and_what_replaces(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path / "a b#é"))
    warehouse.write(made(spark, 0, 4), "images", COMMIT)
    frame = made(spark, 4, 6).mapped().withColumn("width", F.lit(7))  # not null, and elsewhere
    columns = ["width", *(name for name in IMAGES.names if name != "width")]
    assert warehouse.write(frame.select(columns), "images", COMMIT, append=True) == 1
    assert ids(warehouse) == [f"{number:05d}" for number in range(6)]
    # Spark's writing and the executors' own go on from each other.
    assert warehouse.write(made(spark, 0, 1), "images", COMMIT, where="image_id < '00002'") == 2
    assert ids(warehouse) == [f"{number:05d}" for number in (0, 2, 3, 4, 5)]
    assert warehouse.write(made(spark, 8, 9), "images", COMMIT) == 3
    assert ids(warehouse) == ["00008"]
    assert len(ids(warehouse, 2)) == 5
    assert warehouse.write(made(spark, -3, 0), "images", COMMIT) == 4
    assert warehouse.count("images") == 0
    assert ids(warehouse) == []
    assert warehouse.size("images") == (0, 0)
    # Callers' own columns come and go.
    own = made(spark, 0, 2).mapped().withColumn("mine", F.lit(1))
    columns = [*IMAGES.names[:-1], "mine", "pixels"]
    warehouse.write(own.select(columns), "images", COMMIT)
    assert "mine" in warehouse.read("images").columns
    warehouse.write(made(spark, 0, 2), "images", COMMIT)
    assert "mine" not in warehouse.read("images").columns
    assert "mine" not in spark.read.format("delta").load(warehouse.path("images")).columns


@pytest.mark.spark
def test_a_table_without_a_row_can_be_the_first(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    warehouse.write(made(spark, -3, 0), "images", COMMIT)
    assert warehouse.count("images") == 0
    assert ids(warehouse) == []
    assert warehouse.read("images").schema == IMAGES


@pytest.mark.spark
def test_readers_skip_files_by_their_bounds(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    warehouse.write(made(spark, 0, 30), "images", COMMIT)
    found = DeltaTable(str(tmp_path / "images")).get_add_actions(flatten=True)
    bounds = pa.table(found).sort_by("min.image_id")
    assert bounds.column("num_records").to_pylist() == [10, 10, 10]
    assert bounds.column("min.image_id").to_pylist() == ["00000", "00010", "00020"]
    assert bounds.column("max.image_id").to_pylist() == ["00009", "00019", "00029"]
    assert bounds.column("max.label").to_pylist() == [max(LABELS)] * 3
    assert bounds.column("min.size_bytes").to_pylist() == [0, 10 << 40, 20 << 40]
    assert bounds.column("null_count.height").to_pylist() == [5, 5, 5]
    delta = spark.read.format("delta").load(str(tmp_path / "images"))
    assert delta.where("image_id = '00013'").select("width").collect()[0].width == 13
    assert delta.where("split IS NULL").count() == 30
    assert delta.where("size_bytes > 28 * 1099511627776").count() == 1
    # To the microsecond: Delta's own bounds are to the millisecond, and readers know of it.
    assert delta.where(F.col("modified_at") == F.lit(NOTED)).count() == 30


@pytest.mark.spark
def test_a_task_that_fails_leaves_no_table_and_no_file(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    frame = spark.range(0, 9, numPartitions=1)
    with pytest.raises(PythonException, match="No space left on device"):
        warehouse.write(ArrowTransform(frame, broken, IMAGES), "images", COMMIT)
    assert not warehouse.exists("images")
    assert list(tmp_path.rglob("*.parquet")) == []
    warehouse.write(made(spark, 0, 4), "images", COMMIT)
    with pytest.raises(PythonException):
        warehouse.write(ArrowTransform(frame, broken, IMAGES), "images", COMMIT)
    assert warehouse.version("images") == 0
    assert len(ids(warehouse)) == 4


@pytest.mark.spark
def test_columns_of_callers_are_written_by_spark(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    wider = arrow_frames.struct("mine map<string,bigint>").fields
    schema = type(IMAGES)([*IMAGES.fields[:-1], *wider, IMAGES.fields[-1]])
    frame = made(spark, 0, 2).mapped().withColumn("mine", F.create_map(F.lit("a"), F.lit(1)))
    frame = frame.withColumn("mine", F.col("mine").cast("map<string,bigint>"))
    warehouse.write(ArrowTransform(frame, passthrough, schema), "images", COMMIT)
    assert warehouse.read("images").select("mine").collect()[0].mine == {"a": 1}
    with pytest.raises(errors.SchemaError, match="latent: missing"):
        warehouse.write(made(spark, 0, 2), "latents", CommitInfo("run", "encode", "mark"))


def numbered(folder: Path, begun: list[bool]) -> Iterator[pa.RecordBatch]:
    """Batches of 40 rows; before each it is noted whether a file was begun in the folder."""
    for n in range(0, 400, 40):
        begun.append(any(folder.iterdir()))
        yield pa.record_batch({"id": list(range(n, n + 40))})


def test_memory_is_bounded_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_write, "GROUP_BYTES", 1 << 20)
    begun: list[bool] = []
    files = Files(tmp_path, rows, ARROW, tuple(ARROW.names[:9]))
    (told,) = files.write(numbered(tmp_path, begun), arrow_frames.arrow_schema(parquet_write.ADDED))
    assert begun == [False] * 3 + [True] * 7  # the first is written before the others are made
    (path,) = tmp_path.iterdir()
    assert told.to_pylist()[0]["path"] == path.name
    assert told.to_pylist()[0]["size"] == path.stat().st_size
    assert json.loads(told.to_pylist()[0]["stats"])["numRecords"] == 400
    stored = pq.ParquetFile(path).metadata
    groups = [stored.row_group(place) for place in range(stored.num_row_groups)]
    assert [group.num_rows for group in groups] == [120, 120, 120, 40]
    pixels = groups[0].column(IMAGES.names.index("pixels"))
    assert pixels.compression == "ZSTD"
    assert not pixels.is_stats_set
    assert "PLAIN_DICTIONARY" not in pixels.encodings
    assert "RLE_DICTIONARY" not in pixels.encodings


def test_of_a_task_that_fails_midway_no_part_of_a_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_write, "GROUP_BYTES", 1 << 20)
    begun: list[bool] = []

    def numbers() -> Iterator[pa.RecordBatch]:
        yield from numbered(tmp_path, begun)
        raise OSError(28, "No space left on device")

    files = Files(tmp_path, rows, ARROW, tuple(ARROW.names[:9]))
    with pytest.raises(OSError, match="No space"):
        list(files.write(numbers(), arrow_frames.arrow_schema(parquet_write.ADDED)))
    assert begun[-1]
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_those_of_all_rows() -> None:
    stats = Statistics(("name", "number", "never"))
    for part in (
        {"name": ["b", None], "number": [3, -4], "never": [None, None]},
        {"name": ["é", "a"], "number": [9, None], "never": [None, None]},
        {"name": [None], "number": [None], "never": [None]},
    ):
        kinds = {"name": pa.string(), "number": pa.int64(), "never": pa.string()}
        stats.add(pa.table({name: pa.array(part[name], kinds[name]) for name in kinds}))
    assert json.loads(stats.json()) == {
        "numRecords": 5,
        "minValues": {"name": "a", "number": -4},
        "maxValues": {"name": "é", "number": 9},
        "nullCount": {"name": 2, "number": 2, "never": 5},
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2.0, float("inf")], pa.float64()),
        ([float("nan"), 2.0], pa.float64()),
        ([float("nan")], pa.float64()),
        (["x" * 300, "a"], pa.string()),
        ([NOTED], pa.timestamp("us", "UTC")),
    ],
)
def test_what_the_log_cannot_tell_has_no_bounds(values: list[Any], kind: pa.DataType) -> None:
    stats = Statistics(("column", "number"))
    for part in (values, [None] * 2, values[-1:]):
        column = pa.array(part, kind)
        stats.add(pa.table({"column": column, "number": [0.5] * len(part)}))
    told = json.loads(stats.json())
    assert told["minValues"] == told["maxValues"] == {"number": 0.5}
    assert told["nullCount"] == {"column": 2, "number": 0}


@pytest.mark.parametrize("values", [[-0.0, 0.0], [0.0, -0.0], [-0.0], [0.0]])
def test_zeros_of_both_signs_lie_within_the_bounds(values: list[float]) -> None:
    """They are equal, but some readers compare them as if they were not."""
    stats = Statistics(("number",))
    stats.add(pa.table({"number": values}))
    stats.add(pa.table({"number": values[::-1]}))
    told = json.loads(stats.json())
    assert repr((told["minValues"], told["maxValues"])) == "({'number': -0.0}, {'number': 0.0})"


@pytest.mark.spark
def test_no_reader_skips_numbers_that_are_none(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    schema = tables.TABLES["anomalies"].schema
    values = [1.0, float("nan"), 0.5, float("inf"), float("-inf"), None]
    content = [(str(n), "a", value, value, n) for n, value in enumerate(values)]
    warehouse.write(arrow_frames.frame(spark, content, schema), "anomalies", COMMIT)
    delta = spark.read.format("delta").load(warehouse.path("anomalies"))
    for frame in (delta, warehouse.read("anomalies")):
        found = frame.where("log_density > 100").select("image_id").collect()
        assert {row.image_id for row in found} == {"1", "3"}  # to Spark NaN is above all numbers
        found = frame.where("cut < -100").select("image_id").collect()
        assert [row.image_id for row in found] == ["4"]
    assert warehouse.count("anomalies") == len(values)


@pytest.mark.spark
def test_tables_that_others_changed_are_for_spark(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path / "a"))
    warehouse.write(made(spark, 0, 4), "images", COMMIT)
    table = f"delta.`{warehouse.path('images')}`"
    spark.sql(f"ALTER TABLE {table} ADD CONSTRAINT small CHECK (width < 6)")
    warehouse.write(made(spark, 4, 6), "images", COMMIT, append=True)
    with pytest.raises(Py4JJavaError, match="CHECK constraint small"):
        warehouse.write(made(spark, 6, 7), "images", COMMIT, append=True)
    assert len(ids(warehouse)) == 6

    # Of an earlier version, with a column less.
    older = open_store(spark, str(tmp_path / "b"))
    frame = made(spark, 0, 4).mapped().drop("height")
    frame.write.format("delta").options(**properties("images")).save(older.path("images"))
    assert older.write(made(spark, 4, 6), "images", COMMIT, append=True) == 1
    heights = {row.image_id: row.height for row in older.read("images").collect()}
    assert heights == dict.fromkeys(("00000", "00001", "00002", "00003", "00005")) | {"00004": 4}


@pytest.mark.spark
def test_what_others_add_meanwhile_is_not_written_over(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = open_store(spark, str(tmp_path))
    warehouse.write(made(spark, 0, 4), "images", COMMIT)
    theirs = made(spark, 7, 8).mapped()

    def meanwhile(folder: Path, *others: Any) -> list[Any]:
        theirs.write.format("delta").mode("append").save(str(folder))
        return ours.write_files(folder, *others)

    ours = made(spark, 4, 6)
    between = ArrowTransform(ours.frame, ours.rows, ours.schema)
    object.__setattr__(between, "write_files", meanwhile)
    with pytest.raises(
        errors.JobError, match="changed by others while this run worked on its version 0"
    ):
        warehouse.write(between, "images", COMMIT)
    assert ids(warehouse) == ["00000", "00001", "00002", "00003", "00007"]


def test_a_task_without_rows_writes_no_file(tmp_path: Path) -> None:
    empty = pa.record_batch({"id": pa.array([], pa.int64())})
    files = Files(tmp_path / "none", rows, ARROW, ())
    assert list(files.write([empty], arrow_frames.arrow_schema(parquet_write.ADDED))) == []
    assert not (tmp_path / "none").exists()


def test_rows_as_they_are_take_the_tables_columns_alone() -> None:
    given = pa.record_batch({"b": np.arange(3), "more": np.arange(3), "a": ["x", "y", "z"]})
    schema = pa.schema({"a": pa.string(), "b": pa.int32()})
    (found,) = passthrough([given], schema)
    assert found.schema == schema
    assert found.to_pydict() == {"a": ["x", "y", "z"], "b": [0, 1, 2]}
