"""What a killed write leaves to the next one: complete files, of one attempt a task."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from jobs.warehouse import arrow_frames, tables, unfinished
from jobs.warehouse.commits import UNFINISHED, CommitInfo
from jobs.warehouse.parquet_write import ArrowTransform, Files
from jobs.warehouse.store import open_store
from jobs.warehouse.unfinished import NotedFile
from udfs import arrow

VECTORS = tables.TABLES["vectors"].schema
WIDTH = 256 << 10  # numbers of a vector: a megabyte
MANY = 24


def wide(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A row of a megabyte for each id."""
    for batch in batches:
        for number in batch.column("id").to_pylist():
            vector = pa.array([[float(number)] * WIDTH], schema.field("vector").type)
            others = {name: [f"{number:03d}"] for name in schema.names if name != "vector"}
            yield arrow.record_batch({**others, "vector": vector}, schema)


def breaks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `wide` up to the tenth."""
    yield from itertools.islice(wide(batches, schema), 10)
    raise ValueError("it ends here")


def test_parts_are_closed_by_the_clock() -> None:
    now = 0.0

    def groups() -> Iterator[pa.Table]:
        nonlocal now
        for number in range(1000):
            now += 1.0
            yield pa.table({"number": [number]})

    sizes, numbers = [], []
    for part in unfinished.parts(groups(), 30, 0.1, lambda: now):
        rows = [table["number"][0].as_py() for table in part]
        sizes.append(len(rows))
        numbers += rows
    assert numbers == list(range(1000))
    assert sizes[:9] == [31] * 9, "the first table of a part is made before its clock starts"
    assert all(size > 31 for size in sizes[11:-1]), "a tenth of the time is longer now"
    assert max(sizes) <= 101


def test_rows_that_belong_together_are_of_one_part() -> None:
    """Here those of each hundred, though a part may have one table alone."""
    groups = [pa.table({"number": [number]}) for number in range(250)]

    def goes_on(before: pa.Table, after: pa.Table) -> bool:
        last, first = (table["number"][0].as_py() // 100 for table in (before, after))
        return bool(last == first)

    parts = [list(part) for part in unfinished.parts(groups, 0, 0, goes_on=goes_on)]
    assert [len(part) for part in parts] == [100, 100, 50]
    assert [table for part in parts for table in part] == groups
    alone = unfinished.parts(groups, 0, 0, goes_on=lambda before, after: False)
    assert [len(list(part)) for part in alone] == [1] * 250


def test_an_empty_task_has_no_part() -> None:
    assert list(unfinished.parts([], 30, 0.1)) == []


@pytest.fixture
def noted(tmp_path: Path) -> unfinished.Notes:
    """The notes of a killed write: four files of partition 0, tried once."""
    schema = arrow_frames.arrow_schema(VECTORS)
    (tmp_path / "vectors").mkdir()
    notes = unfinished.begin(tmp_path, "vectors", "key", 4, VECTORS.json(), True)
    notes = replace(notes, seconds=0, share=0)
    ids = pa.RecordBatch.from_pydict({"id": list(range(16))})
    files = Files(tmp_path / "vectors", wide, schema, ("image_id",), notes)
    assert len(list(files.write([ids], arrow_frames.arrow_schema(ADDED)))) == 4
    return notes


ADDED = arrow_frames.struct("path string, size bigint, modified bigint, stats string")


def rows_found(root: Path, key: str = "key", version: int = 4) -> int:
    """The rows in the files that are found; 0 if there are none."""
    found = unfinished.find(root, "vectors", key, version)
    return sum(json.loads(file.stats)["numRecords"] for file in found.files) if found else 0


def test_notes_belong_to_one_write(noted: unfinished.Notes, tmp_path: Path) -> None:
    found = unfinished.find(tmp_path, "vectors", "key", 4)
    assert found is not None
    assert (found.append, found.schema) == (True, VECTORS.json())
    assert rows_found(tmp_path) == 16
    assert rows_found(tmp_path, key="other settings") == 0
    assert rows_found(tmp_path, version=5) == 0, "somebody has committed since"
    unfinished.begin(tmp_path, "vectors", "key", 4, VECTORS.json(), True)
    assert rows_found(tmp_path) == 0, "another write has begun"


def test_only_whole_files_of_one_attempt_count(noted: unfinished.Notes, tmp_path: Path) -> None:
    notes = [json.loads(path.read_text()) for path in sorted(noted.folder.glob("*.parquet.json"))]
    noted.add(NotedFile(**notes[0] | {"attempt": "another"}))  # the note has the file's name
    assert rows_found(tmp_path) == 12, "the first attempt has three files left"
    torn = tmp_path / "vectors" / notes[1]["path"]
    content = torn.read_bytes()
    torn.write_bytes(content[:-8] + b"\0" * 8)  # as a machine leaves it that lost power
    assert rows_found(tmp_path) == 8
    torn.unlink()
    assert rows_found(tmp_path) == 8
    (noted.folder / f"{notes[2]['path']}.json").write_text('{"path":')
    assert rows_found(tmp_path) == 4


@pytest.mark.spark
def test_the_next_write_adopts_what_was_complete(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 0.0)
    store = open_store(spark, str(tmp_path))
    commit = CommitInfo("run", "whiten", UNFINISHED)
    ids = spark.range(0, MANY, 1, 1)
    assert not store.adopt("vectors", "key", commit)
    with pytest.raises((PythonException, Py4JJavaError), match="it ends here"):
        store.write(ArrowTransform(ids, breaks, VECTORS, "key"), "vectors", commit)
    assert not store.exists("vectors")
    assert not store.adopt("vectors", "other", commit)
    assert store.adopt("vectors", "key", commit)
    assert store.newest("vectors") == replace(commit, version=0)
    rows = [row.image_id for row in store.read("vectors").sort("image_id").collect()]
    assert rows == [f"{number:03d}" for number in range(8)], "two files of four megabytes"
    assert not store.adopt("vectors", "key", commit), "it is in the table now"

    rest = ArrowTransform(ids.where("id >= 8"), wide, VECTORS, "key")
    store.write(rest, "vectors", replace(commit, fingerprint="mark"), append=True)
    assert store.count("vectors") == MANY
    assert not (tmp_path / unfinished.FOLDER / "vectors").exists()
    assert not store.adopt("vectors", "key", commit)


@pytest.mark.spark
def test_a_replaced_table_keeps_its_rows_until_the_next_run_adopts(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 0.0)
    store = open_store(spark, str(tmp_path))
    commit = CommitInfo("run", "whiten", "mark")
    store.write(ArrowTransform(spark.range(100, 103), wide, VECTORS), "vectors", commit)
    with pytest.raises((PythonException, Py4JJavaError), match="it ends here"):
        store.write(
            ArrowTransform(spark.range(0, MANY, 1, 1), breaks, VECTORS, "k"), "vectors", commit
        )
    later = open_store(spark, str(tmp_path))
    assert later.count("vectors") == 3
    assert later.adopt("vectors", "k", replace(commit, fingerprint=UNFINISHED))
    assert later.count("vectors") == 8, "the rows before are replaced, as the write meant to"
