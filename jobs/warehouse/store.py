"""Opens a warehouse: `open_store` chooses the store by where the warehouse lies.

Everything outside this folder uses the interface `Store` and does not ask where a warehouse lies.
"""

from __future__ import annotations

import os
from pathlib import Path

from pyspark.sql import SparkSession

from jobs import paths
from jobs.errors import JobError
from jobs.warehouse.base_store import Store
from jobs.warehouse.local_store import LocalStore, check_path
from jobs.warehouse.spark_store import SparkStore

__all__ = ["Store", "check_root", "open_store"]

# For tests: `spark` has a mounted folder read and written as an object store would be.
FORCED = "LATENT_DEDUP_STORE"


def check_root(root: str, *, may_be_new: bool) -> None:
    """Raise JobError if a warehouse's path cannot be used, before anything is made there.

    may_be_new: whether a job may begin a warehouse. Of a path that Spark alone reaches nothing is
    known before it has started.
    """
    if not paths.is_mounted(root):
        return
    if not _by_spark():
        check_path(root)
    if not may_be_new and not Path(paths.absolute(root)).is_dir():
        raise JobError(f"--warehouse {root}: there is no such folder; name the one of a pipeline")


def _by_spark() -> bool:
    return os.environ.get(FORCED) == "spark"


def open_store(spark: SparkSession, root: str) -> Store:
    """Return the store of the warehouse at a path or URI. Raises JobError for an unusable path."""
    if paths.is_mounted(root) and not _by_spark():
        return LocalStore(spark, root)
    try:
        return SparkStore(spark, root)
    except OSError as refused:
        raise JobError(f"--warehouse {root}: {refused}") from refused
