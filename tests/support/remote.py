"""A file system that is not mounted, for tests of what needs one."""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.hadoop import HadoopFileSystem

ELSEWHERE = ("path", "modified_at")  # columns that differ because the images lie elsewhere
REMOTE = "TEST_REMOTE"  # a folder such as hdfs://127.0.0.1:9000/tests


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> str:
    """The URI of a folder that does not exist yet, on HDFS or in what TEST_REMOTE names."""
    root = os.environ.get(REMOTE) or request.getfixturevalue("hdfs")
    return f"{root.rstrip('/')}/{secrets.token_hex(4)}"


def copy_up(spark: SparkSession, folder: Path, uri: str) -> None:
    """Copy a folder to a URI that does not exist yet; links become files.

    HDFS takes a fifth of a second to close a file, so many are written at once.
    """
    system = HadoopFileSystem(spark, uri)

    def copy(path: Path) -> None:
        target = system.path(f"{uri}/{path.relative_to(folder).as_posix()}")
        system.system.copyFromLocalFile(False, system.path(f"file:{path}"), target)

    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(copy, files))
