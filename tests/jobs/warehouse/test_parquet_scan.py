"""Tables that workers read by themselves: the rows are those that Spark would have given them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from jobs.density import project
from jobs.warehouse import arrow_frames, parquet_scan, partitioning, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.parquet_scan import ParquetSnapshot, RowGroup, TaskInput, TaskReader
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store, open_store
from jobs.warehouse.tables import properties
from tests.support.densities import cloud
from udfs import arrow

COMMIT = CommitInfo("run", "encode", "mark")
LATENTS = tables.TABLES["latents"].schema
SOME = arrow_frames.struct("image_id string, label string, model_id string, latent array<float>")
SIZES = {"a": 300, "b": 1, "straße": 700, "水": 45}
NAMES = [(label, f"{label}/{i:04d}é") for label, n in SIZES.items() for i in range(n)]
WIDTH = 24
ROWS = cloud(3, len(NAMES), WIDTH)


def latents(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """For each number a latent."""
    for batch in batches:
        numbers = batch.column("id").to_pylist()
        columns = {name: ["x"] * len(numbers) for name in schema.names}
        columns["label"] = [NAMES[number][0] for number in numbers]
        columns["image_id"] = [NAMES[number][1] for number in numbers]
        columns["latent"] = arrow.list_column(ROWS[numbers], np.ones(len(numbers), np.bool_))
        yield arrow.record_batch(columns, schema)


def written(spark: SparkSession, folder: Path, *, mixed: bool = False) -> Store:
    """Three files of several row groups, by class or mixed."""
    numbers = spark.range(0, len(NAMES), 1, 3)
    if mixed:
        numbers = numbers.repartition(3).sortWithinPartitions("id")
    warehouse = open_store(spark, str(folder))
    warehouse.write(ArrowTransform(numbers, latents, LATENTS), "latents", COMMIT)
    return warehouse


def seen(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as they come, with a number that counts them in their task."""
    places = itertools.count()
    for batch in batches:
        columns = {name: batch.column(name) for name in SOME.names}
        columns["place"] = [next(places) for _ in range(batch.num_rows)]
        yield arrow.record_batch(columns, schema)


SEEN = arrow_frames.struct(
    "image_id string, label string, model_id string, latent array<float>, place bigint"
)


def grouped(folder: Path, *, rows: int = 100) -> None:
    """The table's files anew, with row groups of so many rows."""
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table, path, row_group_size=rows)


@pytest.mark.spark
@pytest.mark.parametrize("tasks", [1, 4, 64])
def test_all_rows_come_once_and_in_order(spark: SparkSession, tmp_path: Path, tasks: int) -> None:
    warehouse = written(spark, tmp_path)
    grouped(tmp_path / "latents")
    snapshot = warehouse.snapshot("latents")
    assert snapshot is not None
    assert snapshot.rows == len(NAMES)
    assert len(snapshot.row_groups) > 9
    scan = snapshot.whole(SOME, tasks, {"model_id": "another"})
    assert len(scan.reader.tasks) == min(tasks, len(snapshot.row_groups))
    found = scan.through(seen, SEEN).mapped().collect()
    order = {task.path: i for i, task in enumerate(snapshot.row_groups)}
    assert len(order) == 3
    assert sorted((row.label, row.image_id) for row in found) == sorted(NAMES)
    assert {row.model_id for row in found} == {"another"}
    place = {name: number for number, name in enumerate(NAMES)}
    for row in found:
        assert row.latent == ROWS[place[row.label, row.image_id]].tolist()


def test_tasks_have_about_as_many_rows_of_neighbouring_files(spark: SparkSession) -> None:
    sizes = [700, 10, 10, 2000, 300, 300, 300, 5, 5, 900]
    row_groups = tuple(RowGroup(f"{i}", 0, rows) for i, rows in enumerate(sizes))
    scan = ParquetSnapshot(spark, Path(), row_groups).whole(SOME, 3)
    parts = [
        [row_group.rows for share in task for row_group in share.row_groups]
        for task in scan.reader.tasks
    ]
    assert list(itertools.chain(*parts)) == sizes
    assert [sum(part) for part in parts] == [720, 2300, 1510]
    assert ParquetSnapshot(spark, Path(), ()).whole(SOME, 3).reader.tasks == ()


def test_a_task_has_not_too_many_rows(spark: SparkSession) -> None:
    few, many = (
        ParquetSnapshot(spark, Path(), (RowGroup("0", 0, n),)) for n in (100_000, 10_000_000)
    )
    assert [few.tasks(2), many.tasks(2), many.tasks(100)] == [16, 153, 800]


@pytest.mark.spark
def test_a_class_comes_whole_and_by_id_as_by_a_shuffle(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = written(spark, tmp_path)
    grouped(tmp_path / "latents")
    snapshot = warehouse.snapshot("latents")
    assert snapshot is not None
    tasks = partitioning.assign_tasks(SIZES, 2, float)
    assert sorted(set(tasks.values())) == [0, 1, 2, 3]
    scan = snapshot.by_class(SOME, tasks)
    assert scan is not None
    parts = scan.through(seen, SEEN).mapped().rdd.glom().collect()
    placed = partitioning.repartitioned_by_group(warehouse.read("latents"), SIZES, 2, float)
    expected = arrow_frames.mapped(placed.select(SOME.names), seen, SEEN).rdd.glom().collect()
    assert sorted(parts) == sorted(expected)


@pytest.mark.spark
def test_scattered_classes_are_left_to_spark(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = written(spark, tmp_path, mixed=True)
    snapshot = warehouse.snapshot("latents")
    assert snapshot is not None
    assert snapshot.by_class(SOME, {label: i for i, label in enumerate(SIZES)}) is None
    assert snapshot.by_class(SOME, {"straße": 0}) is None  # in every file, its ids mixed


@pytest.mark.spark
def test_axes_are_the_same_to_the_bit(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = written(spark, tmp_path)
    grouped(tmp_path / "latents")
    rows = warehouse.read("latents")
    found = []
    for snapshot in (None, warehouse.snapshot("latents")):
        with ExitStack() as held:
            projected = project.project(rows, SIZES, 3, 10_000, held, snapshot)
            found.append(sorted(repr(row.asDict()) for row in projected.collect()))
    assert found[0] == found[1]
    assert len(found[0]) == len(NAMES) + 3 + 3 + 3


@pytest.mark.spark
def test_files_of_others_are_read_as_spark_reads_them(spark: SparkSession, tmp_path: Path) -> None:
    """Written by Spark, without a column that came later, and compacted."""
    warehouse = written(spark, tmp_path)
    place = warehouse.path("latents")
    more = ArrowTransform(spark.range(0, 5), latents, LATENTS).mapped().drop("model_id")
    more.write.format("delta").mode("append").save(place)
    DeltaTable(place).optimize.compact()
    open_store(spark, str(tmp_path)).write(
        ArrowTransform(spark.range(5, 9), latents, LATENTS), "latents", COMMIT, append=True
    )
    again = open_store(spark, str(tmp_path))
    snapshot = again.snapshot("latents")
    assert snapshot is not None
    found = snapshot.whole(SOME, 2).through(seen, SEEN).mapped().drop("place").collect()
    assert sorted(map(repr, found)) == sorted(
        map(repr, again.read("latents").select(SOME.names).collect())
    )
    assert sum(row.model_id is None for row in found) == 5
    before = again.snapshot("latents", 0)
    assert before is not None
    assert before.rows == len(NAMES)


@pytest.mark.spark
def test_what_only_delta_can_read_is_left_to_it(spark: SparkSession, tmp_path: Path) -> None:
    warehouse = written(spark, tmp_path / "plain")
    assert warehouse.snapshot("latents") is not None
    assert warehouse.snapshot("nothing") is None
    deletion = open_store(spark, str(tmp_path / "deletion"))
    features = {"delta.enableDeletionVectors": "true"}
    frame = warehouse.read("latents")
    more = frame.write.format("delta").options(**(properties("latents") | features))
    more.save(deletion.path("latents"))
    assert deletion.snapshot("latents") is None


@pytest.mark.spark
def test_very_many_files_are_left_to_spark(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = written(spark, tmp_path)
    monkeypatch.setattr(parquet_scan, "MOST_FILES", 2)
    assert warehouse.snapshot("latents") is None


def test_bounds_of_a_footer(tmp_path: Path) -> None:
    table = pa.table({"label": ["a", "c"], "image_id": ["1", "2"]})
    pq.write_table(table, tmp_path / "with", row_group_size=2)
    pq.write_table(table, tmp_path / "without", write_statistics=False)
    null = pa.table({"label": ["a", None], "image_id": ["1", "2"]})
    pq.write_table(null, tmp_path / "null")
    other = pa.table(
        {"label": pa.array([b"\xff", b"\xfe"]).view(pa.string()), "image_id": ["1", "2"]}
    )
    pq.write_table(other, tmp_path / "other")
    names = ["with", "without", "null", "other"]
    bounds = {
        row_group.path: row_group for row_group in parquet_scan.row_groups_of(tmp_path, names)
    }
    assert bounds["with"].labels == ("a", "c")
    assert bounds["with"].ids == bounds["null"].ids == ("1", "2")
    assert bounds["without"].labels is bounds["null"].labels is bounds["other"].labels is None


def ranges(spark: SparkSession, *parts: tuple[str, str, str, str]) -> ParquetSnapshot:
    """Row groups of ten rows between two labels and two ids."""
    row_groups = [
        RowGroup(f"{i}", 0, 10, (first, last), (low, high))
        for i, (first, last, low, high) in enumerate(parts)
    ]
    return ParquetSnapshot(spark, Path(), tuple(row_groups))


def test_row_groups_of_a_class_are_read_by_their_ids(spark: SparkSession) -> None:
    snapshot = ranges(spark, ("a", "a", "5", "7"), ("a", "b", "8", "9"), ("a", "a", "1", "4"))
    scan = snapshot.by_class(SOME, {"a": 0, "b": 0, "c": 1})
    assert scan is not None
    read = [[(s.label, [p.path for p in s.row_groups]) for s in task] for task in scan.reader.tasks]
    assert read == [[("a", ["2", "0", "1"]), ("b", ["1"])], [("c", [])]]
    overlapping = ranges(spark, ("a", "a", "1", "5"), ("a", "b", "5", "9"))
    assert overlapping.by_class(SOME, {"a": 0, "b": 0}) is None
    unknown = ParquetSnapshot(spark, Path(), (RowGroup("0", 0, 10, None, ("1", "2")),))
    assert unknown.by_class(SOME, {"a": 0}) is None


def test_a_row_group_out_of_order_is_sorted(tmp_path: Path) -> None:
    ids = [f"{i:05d}é" for i in range(3000)]
    mixed = np.random.default_rng(0).permutation(3000)
    table = pa.table({"image_id": [ids[i] for i in mixed], "label": ["ab"[i % 2] for i in mixed]})
    pq.write_table(table, tmp_path / "file")
    share = TaskInput(parquet_scan.row_groups_of(tmp_path, ["file"]), "b")
    reader = TaskReader(tmp_path, ((share,),), arrow_frames.struct("image_id string, label string"))
    found = pa.Table.from_batches(reader.batches(0)).column("image_id").to_pylist()
    assert found == ids[1::2]


def test_a_class_is_not_held_whole(tmp_path: Path) -> None:
    """Peak of what Arrow holds beside the rows that are handed on: some row groups."""
    n, width = 8192, 256
    columns = {
        "image_id": [f"{i:05d}" for i in range(n)],
        "label": ["a"] * n,
        "latent": arrow.list_column(np.ones((n, width), np.float32), np.ones(n, np.bool_)),
    }
    pq.write_table(pa.table(columns), tmp_path / "file", row_group_size=512)
    del columns
    share = TaskInput(parquet_scan.row_groups_of(tmp_path, ["file"]), "a")
    narrow = arrow_frames.struct("image_id string, label string, latent array<float>")
    reader = TaskReader(tmp_path, ((share,),), narrow)
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for batch in reader.batches(0):
        most = max(most, pool.bytes_allocated() - before)
        del batch
    assert most < 4 * 512 * width * 4 < n * width * 4 / 3


def test_a_file_is_read_in_batches(tmp_path: Path) -> None:
    """A worker does not hold a file, nor a row group."""
    n = 10 * parquet_scan.BATCH
    pq.write_table(pa.table({"image_id": [f"{i}" for i in range(n)]}), tmp_path / "file")
    row_groups = parquet_scan.row_groups_of(tmp_path, ["file"])
    columns = arrow_frames.struct("image_id string")
    reader = TaskReader(tmp_path, ((TaskInput(row_groups),),), columns)
    sizes = [batch.num_rows for batch in reader.batches(0)]
    assert sizes == [parquet_scan.BATCH] * 10
