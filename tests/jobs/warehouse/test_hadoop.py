"""Files and folders in HDFS, and what is said of those that are not there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.files import HadoopFiles
from jobs.warehouse.hadoop import HadoopFileSystem

pytestmark = pytest.mark.cluster

NAMES = (
    "a/x y.png", "a/_hidden.png", "a/.dot", "_b/ü#1?.png", "_b/g[1]*{2}.png", "100%.png",
    "a/%41.png", "deep/er/still.png",
)  # fmt: skip


@pytest.fixture
def files(spark: SparkSession, remote: str) -> HadoopFileSystem:
    return HadoopFileSystem(spark, remote)


def test_every_file_is_listed_with_its_size_and_time(files: HadoopFileSystem) -> None:
    started = datetime.now(UTC) - timedelta(seconds=5)
    for size, name in enumerate(NAMES):
        files.write(f"{files.root}/{name}", b"x" * size * 100)
    statuses = {each.path.removeprefix(f"{files.root}/"): each for each in files.walk(files.root)}
    assert {name: each.size_bytes for name, each in statuses.items()} == {
        name: size * 100 for size, name in enumerate(NAMES)
    }
    assert all(started < each.modified_at < datetime.now(UTC) for each in statuses.values())
    children = {each.path.rpartition("/")[2]: each for each in files.children(files.root)}
    assert {name for name, each in children.items() if each.is_folder} == {"a", "_b", "deep"}
    (only,) = files.walk(f"{files.root}/{NAMES[0]}")
    assert only == statuses[NAMES[0]] == files.status(only.path)


def test_a_large_file_and_a_folder_of_many(files: HadoopFileSystem) -> None:
    data = bytes(range(256)) * 20_000
    files.write(f"{files.root}/large", data)
    assert files.read(f"{files.root}/large") == data
    status = files.status(f"{files.root}/large")
    assert status is not None
    assert status.size_bytes == len(data)


def test_what_is_missing_or_forbidden(spark: SparkSession, files: HadoopFileSystem) -> None:
    assert files.status(f"{files.root}/nothing") is None
    with pytest.raises(FileNotFoundError):
        files.read(f"{files.root}/nothing")
    with pytest.raises(FileNotFoundError):
        list(files.walk(f"{files.root}/nothing"))
    with pytest.raises(OSError, match='No FileSystem for scheme "nosuch"'):
        HadoopFileSystem(spark, "nosuch://host/x")
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        HadoopFileSystem(spark, "hdfs://127.0.0.1:9/x").status("hdfs://127.0.0.1:9/x")


def test_small_files_are_replaced_whole(spark: SparkSession, files: HadoopFileSystem) -> None:
    small = HadoopFiles(spark, files.root)
    assert small.list("models") == []
    small.write("models/a/model.json", b"old")
    small.write("models/a/model.json", b"new")
    assert small.read("models/a/model.json") == b"new"
    assert small.list("models") == ["models/a/model.json"]
    assert [file.name for file in small.infos("models")] == [
        "models/a/model.json"
    ]  # nothing is left of writing it
    assert small.replace("pictures", [("a/1.png", b"1"), ("2.png", b"2")]) == 2
    assert small.replace("pictures", [("3.png", b"3")]) == 1
    assert small.list("") == ["models/a/model.json", "pictures/3.png"]
    small.delete("pictures")
    small.delete("pictures")
    assert not small.exists("pictures")


def test_the_query_of_a_uri_reaches_no_file_system(spark: SparkSession, tmp_path: Path) -> None:
    """It is part of a file's name: nobody can name another host or key in it."""
    name = "1.png?scheme=http&endpoint_override=localhost"
    (tmp_path / name).write_bytes(b"one")
    system = HadoopFileSystem(spark, f"file:{tmp_path}/{name}")
    assert system.path(f"file:{tmp_path}/{name}").toUri().getQuery() is None
    assert system.read(f"file:{tmp_path}/{name}") == b"one"
    assert system.status(f"file:{tmp_path}/1.png?scheme=http") is None
