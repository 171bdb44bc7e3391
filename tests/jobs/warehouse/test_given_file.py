"""Files that settings name, on this machine and in HDFS."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.concurrently import gather
from jobs.warehouse import given_file
from jobs.warehouse.hadoop import HadoopFileSystem


def test_a_file_on_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "a b.csv"
    assert given_file.identity(str(file)) == str(file)
    with pytest.raises(OSError, match="No such file"):
        given_file.read(str(file))
    file.write_bytes(b"1")
    before = given_file.identity(str(file))
    assert given_file.read(str(file)) == b"1"
    assert given_file.read(f"file:{tmp_path}/a%20b.csv") == b"1"
    file.write_bytes(b"22")
    assert given_file.identity(str(file)) != before
    assert given_file.read(str(file), 1) == b"2"
    assert given_file.is_folder(str(tmp_path))
    assert not given_file.is_folder(str(file))


@pytest.mark.cluster
@pytest.mark.spark
def test_a_file_in_hdfs(spark: SparkSession, remote: str) -> None:
    file = f"{remote}/a b.csv"
    assert given_file.identity(file) == file
    assert not given_file.is_folder(remote)
    HadoopFileSystem(spark, remote).write(file, b"1")
    before = given_file.identity(file)
    assert given_file.read(file) == b"1"
    assert gather(partial(given_file.read, file), lambda: None) == (b"1", None)  # in a thread
    assert given_file.is_folder(remote)
    HadoopFileSystem(spark, remote).write(file, b"22")
    assert given_file.identity(file) != before
