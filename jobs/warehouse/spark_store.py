"""A warehouse in any file system that Spark can reach (hdfs, s3a, abfss, gs), by Spark alone.

Delta's own reader and writer, Spark SQL for queries, and Hadoop's file systems for small files. It
is slower than LocalStore, which needs a mounted folder: a query or a small write takes a second.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs import paths
from jobs.warehouse import compaction, shared_folder, table_log, tables
from jobs.warehouse.base_store import MISSING, Rows, Store, cut_off
from jobs.warehouse.commits import COMMIT, CommitInfo, added_files, parse
from jobs.warehouse.files import HadoopFiles
from jobs.warehouse.lease import Lease, Owner
from jobs.warehouse.lease_files import HadoopLeaseFiles
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.table_log import HARMLESS, LogEntry


class SparkStore(Store):
    """A warehouse that Spark alone reads and writes.

    lease: of another store of this warehouse; each store checks it before it changes anything.
    """

    def __init__(self, spark: SparkSession, root: str, lease: Lease | None = None) -> None:
        root = paths.absolute(root)
        # A lost lease ends what Spark is doing: a write of minutes must not end in a commit.
        self._lease = lease or Lease(
            HadoopLeaseFiles(spark, root), root, on_lost=spark.sparkContext.cancelAllJobs
        )
        super().__init__(spark, root, HadoopFiles(spark, root, self._lease.check))
        # The view `rows` and the version of the last commit belong to a session, and the log of
        # the runs is written by a thread with a store of its own: sharing one, it would hand its
        # version to a stage.
        self._session = spark.newSession()

    def lease(  # noqa: D102
        self, run: str, log: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        if paths.is_mounted(self.root):
            return nullcontext()
        user = self.spark.sparkContext.sparkUser()
        return self._lease.hold(Owner(run, os.getpid(), socket.gethostname(), user), log)

    def check_lease(self) -> None:  # noqa: D102
        self._lease.check()

    def another(self) -> SparkStore:  # noqa: D102
        return SparkStore(self.spark, self.root, self._lease)

    def read(self, table: str, version: int | None = None) -> DataFrame:  # noqa: D102
        return self._read_by_spark(table, version)

    def arrow(  # noqa: D102
        self, table: str, sql: str = "SELECT * FROM rows", version: int | None = None
    ) -> pa.Table | None:
        if not self.exists(table):
            return None
        self._read_by_spark(table, version, self._session).createOrReplaceTempView("rows")
        return self._session.sql(sql).toArrow()

    def snapshot(self, table: str, version: int | None = None) -> ParquetSnapshot | None:
        """Return None: tasks get their rows from Spark."""
        return None

    def size(self, table: str, version: int | None = None) -> tuple[int, int] | None:
        """Return None: Spark would start a job to read the log."""
        return None

    def data_files(self, table: str) -> dict[str, int]:
        """Return the files of the newest version by Delta's log, sorted by name."""
        files = DataFrame(self._snapshot(table).allFiles().toDF(), self.spark)
        return {row.path: row.size for row in files.select("path", "size").sort("path").collect()}

    def damaged_files(self, table: str, version: int | None = None) -> dict[str, str]:
        """See `Store.damaged_files`; sizes are compared for files of the newest version alone."""
        used = self._read_by_spark(table, version).inputFiles()
        stored = {file.name.rpartition("/")[2]: file.size for file in self.files.infos(table)}
        newest = self.data_files(table).items()
        written = {unquote(path).rpartition("/")[2]: size for path, size in newest}
        damaged = {}
        for name in sorted({unquote(path.rpartition("/")[2]) for path in used}):
            if name not in stored:
                damaged[name] = MISSING
            elif stored[name] != written.get(name, stored[name]):
                damaged[name] = cut_off(stored[name], written[name])
        return damaged

    def _compact(self, table: str, small: Sequence[str], metadata: str) -> None:
        self._lease.check()
        upkeep = compaction.Upkeep(self.spark, self._spark_path(table), metadata)
        upkeep.merge(self.data_files(table), small, tables.TABLES[table].order)

    def _vacuum(self, table: str, hours: int | None, metadata: str, dry_run: bool) -> list[str]:
        if not dry_run:
            self._lease.check()
        return compaction.Upkeep(self.spark, self._spark_path(table), metadata).vacuum(
            hours, dry_run
        )

    def _keeps_files(self, table: str) -> bool:
        detail = (
            DeltaTable.forPath(self.spark, self._spark_path(table)).detail().select("properties")
        )
        return tables.KEPT_FILES in detail.collect()[0].properties

    def _exists(self, table: str) -> bool:
        return DeltaTable.isDeltaTable(self.spark, self._spark_path(table))

    def _log(self, table: str) -> list[LogEntry]:
        columns = ("version", "userMetadata", "operation", "engineInfo")
        try:
            history = DeltaTable.forPath(self.spark, self._spark_path(table)).history()
            rows = history.select(*columns).collect()
        except Exception as refused:
            self._check_log(table)
            raise table_log.unreadable(self.path(table), refused) from refused
        entries = [LogEntry(r.version, r.userMetadata, r.operation, r.engineInfo) for r in rows]
        return [
            entry
            if entry.operation in HARMLESS or parse(entry.version, entry.metadata)
            else self._entry(table, entry.version)
            for entry in entries
        ]

    def _newest_version(self, table: str) -> int:
        return int(self._snapshot(table).version())

    def _entry(self, table: str, version: int) -> LogEntry:
        name = f"{table}/_delta_log/{version:020}.json"
        text = self.files.read(name).decode("utf-8", "replace")
        return table_log.entry_of(version, text, self.files.path(name))

    def _check_log(self, table: str) -> None:
        """Raise JobError that names a commit of the log that is empty or cut off, if one is."""
        names = (file.name.rpartition("/")[2] for file in self.files.infos(f"{table}/_delta_log"))
        for name in sorted(filter(COMMIT.fullmatch, names), reverse=True):
            try:
                self._entry(table, int(name.partition(".")[0]))
            except OSError as refused:  # of a mounted folder, the check sum beside it differs
                where = self.files.path(f"{table}/_delta_log/{name}")
                raise table_log.damaged(where) from refused

    def _snapshot(self, table: str) -> Any:
        """Return Delta's object of a table's newest version."""
        jvm = self.spark._jvm
        assert jvm is not None
        logs = jvm.org.apache.spark.sql.delta.DeltaLog
        return logs.forTableWithSnapshot(self.spark._jsparkSession, self._spark_path(table))._2()

    def _restore(self, table: str, version: int, commit: CommitInfo) -> None:
        session = self.spark.newSession()
        session.conf.set(compaction.METADATA, commit.json())
        DeltaTable.forPath(session, self._spark_path(table)).restoreToVersion(version)

    def _write(
        self,
        rows: Rows,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        self._lease.check()
        version = self._write_by_spark(rows, table, commit, fresh, append, where)
        self._lease.check()  # else nobody would learn of a commit that was too late to be ended
        self._check_files(table, version, commit)
        return version

    def _check_files(self, table: str, version: int, commit: CommitInfo) -> None:
        """Undo a commit if files that it names are gone. Raises JobError then."""
        text = self.files.read(f"{table}/_delta_log/{version:020}.json").decode()
        added = {file.name.rpartition("/")[2] for file in added_files(text)}
        stored = {file.name.rpartition("/")[2] for file in self.files.infos(table)} if added else ()
        missing = added.difference(stored)
        if missing:
            if version > 0:
                self._undo(table, version, commit)
            else:
                self.drop(table)
            raise shared_folder.deleted(self.path(table), sorted(missing)[0])
