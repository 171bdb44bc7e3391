"""A file system that is not mounted, for tests of what needs one."""

from __future__ import annotations

import os
import secrets
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
    """Copy a folder to a URI that does not exist yet, in one call; links become files."""
    system = HadoopFileSystem(spark, uri)
    system.system.mkdirs(system.path(uri).getParent())
    system.system.copyFromLocalFile(False, system.path(f"file:{folder}"), system.path(uri))
