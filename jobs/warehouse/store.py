"""Opens a warehouse: `open_store` chooses the store by where the warehouse lies.

Everything outside this folder uses the interface `Store` and does not ask where a warehouse lies.
"""

from __future__ import annotations

import os

from pyspark.sql import SparkSession

from jobs import paths
from jobs.errors import JobError
from jobs.warehouse.base_store import Store
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.spark_store import SparkStore

__all__ = ["Store", "open_store"]

# For tests: `spark` has a mounted folder read and written as an object store would be.
FORCED = "LATENT_DEDUP_STORE"


def open_store(spark: SparkSession, root: str) -> Store:
    """Return the store of the warehouse at a path or URI. Raises JobError for an unusable path."""
    if paths.is_mounted(root) and os.environ.get(FORCED) != "spark":
        return LocalStore(spark, root)
    try:
        return SparkStore(spark, root)
    except OSError as refused:
        raise JobError(f"--warehouse {root}: {refused}") from refused
