"""Which small files of a table are merged, and how Spark's own Delta merges and deletes files.

LocalStore merges most tables by itself; `Upkeep` is for SparkStore, and for tables in a mounted
folder that only Spark may write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession

TARGET = 256 << 20  # bytes of a file
SMALL = TARGET // 4  # what is merged; far below half of TARGET, so that merged files are not small
# Delta lists a folder's files in so many tasks: by default thousands, which take a minute.
LISTING = {
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    "spark.databricks.delta.vacuum.parallelDelete.enabled": "false",
}
MERGING = {
    "spark.databricks.delta.optimize.minFileSize": str(SMALL),
    "spark.databricks.delta.optimize.maxFileSize": str(TARGET),
}
METADATA = "spark.databricks.delta.commitInfo.userMetadata"


def mergeable(files: Mapping[str, int]) -> list[str]:
    """Return the small files that have another one beside them, in the same partition.

    files: bytes by path.

    >>> mergeable({"a": 5, "b": TARGET, "c": 7, "day=1/d": 3})
    ['a', 'c']
    """
    folders: dict[str, list[str]] = {}
    for path, size in files.items():
        if size < SMALL:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    return [path for small in folders.values() if len(small) > 1 for path in small]


def merged_count(files: Mapping[str, int], small: Sequence[str]) -> int:
    """Return into how many files the small ones are merged."""
    folders: dict[str, int] = {}
    for path in small:
        folder = path.rpartition("/")[0]
        folders[folder] = folders.get(folder, 0) + files[path]
    return sum(max(1, math.ceil(size / TARGET)) for size in folders.values())


def arranged(rows: DataFrame, order: Sequence[str], files: int) -> DataFrame:
    """Return rows in as many partitions as files are wanted, sorted through all of them."""
    order = [name for name in order if name in rows.columns]
    if not order:
        return rows.coalesce(files)
    parts = rows.repartitionByRange(files, *order) if files > 1 else rows.repartition(1)
    return parts.sortWithinPartitions(*order)


class Upkeep:
    """Merging and deleting of a table's files by Spark's own Delta."""

    def __init__(self, spark: SparkSession, path: str, metadata: str) -> None:
        # A session of its own: its settings must not reach other writes.
        self._spark = spark.newSession()
        self._path = path
        self._metadata = metadata

    def merge(self, files: Mapping[str, int], small: Sequence[str], order: Sequence[str]) -> None:
        """Merge small files; if all are small, the rows come sorted.

        Delta's OPTIMIZE puts files one after the other in the order of their sizes.
        """
        self._set(MERGING)
        if order and len(small) == len(files):
            rows = self._spark.read.format("delta").load(self._path)
            sorted_rows = arranged(rows, order, merged_count(files, small))
            writer = sorted_rows.write.format("delta").mode("overwrite")
            writer.option("dataChange", "false").save(self._path)
        else:
            self._spark.sql(f"OPTIMIZE {self._name}")

    def vacuum(self, hours: int | None, dry_run: bool) -> list[str]:
        """Delete what no version within the retention needs; in a dry run, return it.

        hours: the retention; None: that of the table.
        """
        retain = "" if hours is None else f" RETAIN {hours} HOURS"
        self._set(LISTING)
        rows = self._spark.sql(f"VACUUM {self._name}{retain}{' DRY RUN' if dry_run else ''}")
        return [str(row[0]) for row in rows.collect()] if dry_run else []

    @property
    def _name(self) -> str:
        """The table for SQL."""
        return "delta.`{}`".format(self._path.replace("`", "``"))

    def _set(self, more: Mapping[str, str]) -> None:
        """Set what Delta's commands take from their session."""
        for name, value in {METADATA: self._metadata, **more}.items():
            self._spark.conf.set(name, value)
