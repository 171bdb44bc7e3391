"""Paths and URIs: which lie on this machine, and how they are written."""

from __future__ import annotations

import os

import pytest

from jobs import paths


def test_remote_paths_are_recognised_by_their_scheme() -> None:
    assert paths.scheme("s3://bucket/a#b") == "s3"
    assert not paths.is_mounted("s3://bucket/images")
    assert paths.is_mounted("a:b/c://d")


@pytest.mark.parametrize("root", ["hdfs:/x", "dbfs:/mnt/a b", "s3a://b/c", "abfss://c@a.net/x"])
def test_one_slash_is_enough_for_a_uri(root: str) -> None:
    assert not paths.is_mounted(root)
    assert paths.absolute(f"{root}/") == root


@pytest.mark.parametrize("root", ["C:/x", "file:/a%20b", "file:///a%20b", "/a/hdfs:/x", "x"])
def test_paths_that_are_mounted(root: str) -> None:
    assert paths.is_mounted(root)


def test_spark_is_told_that_a_path_is_mounted() -> None:
    assert paths.for_spark("/a b%20#") == "file:/a b%20#"
    assert paths.for_spark("file:/a%20b") == "file:/a b"
    assert paths.for_spark("hdfs://host/a%20b") == "hdfs://host/a%20b"


def test_a_uri_may_hold_bytes_that_are_no_utf_8() -> None:
    assert os.fsencode(paths.mounted("file:///a%FF/%25.png")) == b"/a\xff/%.png"
