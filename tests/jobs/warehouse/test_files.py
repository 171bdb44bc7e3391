"""Small files beside the tables, in a mounted folder and by Hadoop's file systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.files import Files, HadoopFiles, LocalFiles


@pytest.fixture(params=["local", pytest.param("hadoop", marks=pytest.mark.spark)])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "local":
        return LocalFiles(tmp_path)
    spark: SparkSession = request.getfixturevalue("spark")
    return HadoopFiles(spark, f"file:{tmp_path}")


def test_a_file_of_parts_appears_whole(files: Files) -> None:
    def parts() -> Iterator[bytes]:
        for number in range(3):
            assert files.list("a") == ["a/old"]
            yield bytes([number]) * 5

    files.write("a/old", b"old")
    files.write_parts("a/new", parts())
    assert files.read("a/new") == b"\0" * 5 + b"\1" * 5 + b"\2" * 5
    assert files.list("a") == ["a/new", "a/old"]


def test_a_file_whose_parts_fail_is_not_there(files: Files) -> None:
    def parts() -> Iterator[bytes]:
        yield b"begin"
        raise KeyboardInterrupt

    files.write("a/x", b"before")
    with pytest.raises(KeyboardInterrupt):
        files.write_parts("a/x", parts())
    assert files.read("a/x") == b"before"
    assert files.list("a") == ["a/x"]


def test_files_get_other_names_and_second_ones(files: Files) -> None:
    files.write("a/x", b"1")
    files.link_or_copy("a/x", "b/c/y")
    files.rename("a/x", "a/z")
    assert {name: files.read(name) for name in files.list("")} == {"a/z": b"1", "b/c/y": b"1"}
    files.delete("a/z")
    assert files.read("b/c/y") == b"1"


def test_what_lies_directly_in_a_folder_is_named(files: Files) -> None:
    for name in ("a/x", "a/.hidden", "a/b/y"):
        files.write(name, b"1")
    assert files.entries("a") == [".hidden", "b", "x"]
    assert files.entries() == ["a"]
    assert files.entries("none") == []
