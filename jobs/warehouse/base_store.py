"""The interface of a warehouse, and what LocalStore and SparkStore have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeAlias, cast

import pyarrow as pa
from delta import exceptions
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from jobs import paths
from jobs.errors import JobError
from jobs.warehouse import commits, compaction, table_log, tables
from jobs.warehouse.commits import UNFINISHED, Change, CommitInfo
from jobs.warehouse.files import Files
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.table_log import LogEntry, Recorded, TableLog

LAST_VERSION = "spark.databricks.delta.lastCommitVersionInSession"
# Delta leaves out a commit that changes no row, and with it that the stage is done.
SKIP_EMPTY = "spark.databricks.delta.skipRecordingEmptyCommits"
CONFLICTS = (  # how Delta refuses a commit because of another one; each is a class of its own
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.DeltaConcurrentModificationException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)
RETRIES = 5  # of a commit that others came before without changing a row
MISSING = "is missing"
COMMITS = "commits"  # the column of `runs` that remembers our commits
Rows: TypeAlias = "DataFrame | pa.Table | ArrowTransform"


def cut_off(size: int, written: int) -> str:
    """Say that a file has `size` bytes, of `written` ones."""
    return f"has {size:,} of {written:,} bytes"


class Store(ABC):
    """The Delta tables below one root, and the small files beside them.

    It remembers the commits that it read and made, so an object serves one thread, and is made anew
    after others wrote. In all methods `version` is a version of the table; None is the newest.
    """

    def __init__(self, spark: SparkSession, root: str, files: Files) -> None:
        self.spark = spark
        self.root = root
        self.files = files
        self._logs: dict[str, TableLog] = {}
        self._recorded: dict[str, Recorded] | None = None
        self._session = spark  # for queries and for rows that come from the driver

    @abstractmethod
    def read(self, table: str, version: int | None = None) -> DataFrame:
        """Return a table's rows as a Spark frame."""

    @abstractmethod
    def arrow(
        self, table: str, sql: str = "SELECT * FROM rows", version: int | None = None
    ) -> pa.Table | None:
        """Return the rows of a query on a table, which is called `rows` in it; None without one.

        They are held by the driver: ask for narrow columns. The SQL must mean the same to
        DataFusion and to Spark: say NULLS FIRST or LAST where a key of ORDER BY may be null, and
        write strings by `sql.quoted`.
        """

    def schema(self, table: str) -> StructType:
        """Return the columns of a table, as Spark has them."""
        return self.read(table).schema

    def query(
        self, table: str, sql: str = "SELECT * FROM rows", version: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of `arrow` as dictionaries, [] without a table; for short answers."""
        answer = self.arrow(table, sql, version)
        return [] if answer is None else [dict(row) for row in answer.to_pylist()]

    @abstractmethod
    def snapshot(self, table: str, version: int | None = None) -> ParquetSnapshot | None:
        """Return the table's Parquet row groups for tasks to read directly.

        None if Spark must read the table.
        """

    @abstractmethod
    def size(self, table: str, version: int | None = None) -> tuple[int, int] | None:
        """Return the numbers of rows and bytes by the log alone; None if it does not tell them."""

    @abstractmethod
    def data_files(self, table: str) -> dict[str, int]:
        """Return the files of the newest version, by their path in the table's folder, and bytes.

        The order is that in which the table is read.
        """

    @abstractmethod
    def damaged_files(self, table: str, version: int | None = None) -> dict[str, str]:
        """Return the files of a version that are not there whole, with what is wrong, by name.

        What is wrong is `MISSING` or text that says how a file is damaged.
        """

    @abstractmethod
    def _compact(self, table: str, small: Sequence[str], metadata: str) -> None:
        """Merge files in a commit that changes no row. See `compact`."""

    @abstractmethod
    def _vacuum(self, table: str, hours: int | None, metadata: str, dry_run: bool) -> list[str]:
        """Delete files that no version needs; return those named. See `vacuum`."""

    @abstractmethod
    def _exists(self, table: str) -> bool:
        """Return whether the table has a log."""

    @abstractmethod
    def _log(self, table: str) -> list[LogEntry]:
        """Return every commit that the table's log still has.

        Of our own it need not tell whether they changed rows. Raises JobError if one is damaged.
        """

    @abstractmethod
    def _newest_version(self, table: str) -> int:
        """Return the newest version of a table as it is now, whatever was read of it before."""

    @abstractmethod
    def _entry(self, table: str, version: int) -> LogEntry:
        """Return one commit of the table's log, with all that it did."""

    @abstractmethod
    def _write(
        self,
        rows: Rows,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        """Write rows that have the table's columns; return the new version. See `write`."""

    def path(self, table: str) -> str:
        """Return where a table lies."""
        return f"{self.root}/{table}"

    def _spark_path(self, table: str) -> str:
        """Return where a table lies, as Spark is to be given it."""
        return paths.for_spark(self.path(table))

    def exists(self, table: str) -> bool:
        """Return whether the table was ever written."""
        return table in self._logs or self._exists(table)

    def commits(self, table: str) -> list[CommitInfo]:
        """Return our commits of a table, the newest first; those of other programs are left out.

        Each tells what others changed after it. Where the log was cleaned up, the table `runs`
        tells of our newest commits.
        """
        return self._table_log(table).commits if self.exists(table) else []

    def changes(self, table: str) -> tuple[Change, ...]:
        """Return by which commits others changed rows of a table, the newest first."""
        return self._table_log(table).changes if self.exists(table) else ()

    def is_cleaned_up(self, table: str) -> bool:
        """Return whether a table's log no longer has all of its commits."""
        return self.exists(table) and self._table_log(table).first > 0

    def record(self, table: str) -> dict[str, Any]:
        """Return what the table `runs` is to remember of a table that exists, as JSON."""
        return table_log.recorded_text(self._table_log(table))

    def refresh(self, table: str) -> None:
        """Read the table's commits anew if there are newer ones than those read before."""
        if table in self._logs and self._newest_version(table) != self._logs[table].version:
            self._forget(table)

    def _table_log(self, table: str) -> TableLog:
        if table not in self._logs:
            entries = self._log(table)
            cleaned_up = min(entry.version for entry in entries) > 0
            recorded = self._recorded_by_runs().get(table) if cleaned_up else None
            self._logs[table] = TableLog.of(entries, recorded)
        return self._logs[table]

    def _recorded_by_runs(self) -> dict[str, Recorded]:
        """Return what the newest row of `runs` that names a table says of it, by table."""
        if self._recorded is None:
            rows: list[dict[str, Any]] = []
            if self.exists("runs") and COMMITS in self.columns("runs"):
                sql = f"SELECT started, {COMMITS} FROM rows WHERE {COMMITS} IS NOT NULL"
                rows = sorted(self.query("runs", sql), key=lambda row: row["started"])
            self._recorded = table_log.recorded_by(row[COMMITS] for row in rows)
        return self._recorded

    def newest(self, table: str, stage: str | None = None) -> CommitInfo | None:
        """Return our newest commit of a table, by one stage or by any; None if there is none."""
        ours = (commit for commit in self.commits(table) if stage in (None, commit.stage))
        return next(ours, None)

    def version(self, table: str) -> int:
        """Return the newest version of a table, whoever wrote it."""
        return self._table_log(table).version

    def is_readable(self, table: str, version: int) -> bool:
        """Return whether all files of a version are there."""
        try:
            return not self.damaged_files(table, version)
        except Exception:  # its log was cleaned up, or Spark counts it as too old
            return False

    def count(self, table: str, where: str = "true") -> int:
        """Return the number of rows, or of those that fulfil a condition."""
        (row,) = self.query(table, f"SELECT count(*) AS images FROM rows WHERE {where}")
        return int(row["images"])

    def scan(
        self,
        table: str,
        columns: StructType,
        rows: Callable[..., Iterator[pa.RecordBatch]],
        schema: StructType,
        *,
        version: int | None = None,
        tasks: int | None = None,
        constants: Mapping[str, str] | None = None,
    ) -> ArrowTransform:
        """Return a lazy table: the rows passed through `rows(batches, schema)` on the executors.

        columns: what `rows` gets. schema: of the batches that it yields. tasks: at most so many;
        None: as many as suit. constants: further columns of one value each. Tasks read Parquet
        files directly where they can (`snapshot`), else Spark reads them.
        """
        snapshot = self.snapshot(table, version)
        if snapshot is not None:
            slots = max(1, self.spark.sparkContext.defaultParallelism)
            number = tasks or snapshot.tasks(slots)
            return snapshot.whole(columns, number, constants).through(rows, schema)
        values = {name: F.lit(value) for name, value in (constants or {}).items()}
        frame = self.read(table, version).withColumns(values).select(columns.names)
        return ArrowTransform(frame.coalesce(tasks) if tasks else frame, rows, schema)

    def write(
        self,
        rows: Rows,
        table: str,
        commit: CommitInfo,
        *,
        append: bool = False,
        where: str | None = None,
    ) -> int:
        """Write rows in one commit and return the table's new version.

        The whole table is replaced, and its columns with it; or rows are added (`append`); or the
        rows that fulfil a condition (`where`, an SQL predicate) are replaced. In the last two cases
        the table gets the columns that it lacks, such as one that an earlier version did not write.
        Raises SchemaError naming every column that differs from the declaration in tables.py, and
        JobError if others changed rows since the table's `version` was read: then there is no
        commit. Files that they merged meanwhile are replaced as the others. Rows that they added
        stay beside rows that are added.
        """
        schema = from_arrow_schema(rows.schema) if isinstance(rows, pa.Table) else rows.schema
        tables.check(table, schema)
        fresh = not self.exists(table)
        if fresh:
            append, where = True, None
        if not fresh:
            self._table_log(table)  # before there is one commit more
        version = self._write(rows, table, commit, fresh, append, where)
        self._remember(table, replace(commit, version=version), fresh)
        return version

    def _remember(self, table: str, done: CommitInfo, fresh: bool) -> None:
        """Know of a commit that was made; fresh: whether it made the table."""
        before = TableLog(done.version, []) if fresh else self._table_log(table)
        self._logs[table] = before.with_commit(done)

    @property
    def adopts(self) -> bool:
        """Whether `adopt` may find rows: tasks write files of their own, and note each of them."""
        return False

    def adopt(self, table: str, resumable: str, commit: CommitInfo) -> bool:
        """Commit the rows that a killed run had completed; return whether there were any.

        They are those of a write of an `ArrowTransform` of this `resumable`, to the table as it is
        now, and are added to its rows or replace them as that write would have done. A store whose
        tasks write no files of their own finds none.
        """
        return False

    def _check_unchanged(self, table: str, append: bool, newest: int) -> None:
        """Raise JobError if others changed rows between the version that was read and `newest`.

        In a table whose rows are replaced by partitions nothing that others do matters.
        """
        if tables.TABLES[table].partition:
            return
        base = self.version(table)
        for version in range(base + 1, newest + 1):
            entry = self._entry(table, version)
            if entry.removes_rows or (entry.adds_rows and not append):
                raise JobError(
                    f"the table {self.path(table)} was changed by others while this run worked on "
                    f"its version {base}: {entry.change}. Their change stays and nothing was "
                    "written over it: run the same command again, which goes on from there"
                )

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return self.read(table).columns

    def compact(self, table: str) -> None:
        """Merge the small files of a table; rows that are sorted by label and image_id stay so.

        The commit changes no row and no stage's output. It carries our commits, see commits.py.
        """
        small = compaction.mergeable(self.data_files(table))
        if small:
            self._compact(table, small, commits.carrying(self.commits(table)))
            self._forget(table)

    def vacuum(self, table: str, *, dry_run: bool = False) -> list[str]:
        """Delete the files that no version within the table's retention needs; return their paths.

        A table without a retention of its own gets that of tables.py. Spark names at most 1,000.
        dry_run: only return them. Without any there is no commit.
        """
        hours = None if self._keeps_files(table) else 24 * tables.RETENTION_DAYS
        metadata = commits.carrying(self.commits(table))
        unneeded = self._vacuum(table, hours, metadata, True)
        if unneeded and not dry_run:
            self._vacuum(table, hours, metadata, False)
            self._forget(table)
        return unneeded

    def same_rows(self, table: str, version: int) -> int:
        """Return the newest version with the rows of this one: only upkeep came in between."""
        for entry in sorted(self._log(table), key=lambda entry: entry.version):
            if entry.version == version + 1 and commits.is_upkeep(entry.metadata):
                version = entry.version
        return version

    @abstractmethod
    def _keeps_files(self, table: str) -> bool:
        """Return whether the table says itself how long files of old versions are kept."""

    def drop(self, table: str) -> None:
        """Delete a work table and its history, if it exists."""
        if not self.exists(table):
            return
        self.files.delete(table)
        jvm = self.spark._jvm
        assert jvm is not None
        path = jvm.org.apache.hadoop.fs.Path(self._spark_path(table))
        jvm.org.apache.spark.sql.delta.DeltaLog.invalidateCache(self.spark._jsparkSession, path)
        self._forget(table)

    def _forget(self, table: str) -> None:
        """Read the table's commits anew when they are next asked for."""
        self._logs.pop(table, None)

    def lease(self, run: str, log: Callable[[str], None]) -> AbstractContextManager[None]:
        """Hold a warehouse alone that `lock` cannot hold, since it is on no mounted file system.

        run: its id, for others who want the warehouse. log: is told that another run is waited for.
        Raises JobError that names the holder. While it is held, whatever changes the warehouse
        raises JobError if another run took it over. Stores of mounted folders do nothing here.
        """
        return nullcontext()

    def check_lease(self) -> None:  # noqa: B027 (stores of mounted folders have no lease)
        """Raise JobError if another run took the warehouse over; for changes outside of it."""

    @abstractmethod
    def another(self) -> Store:
        """Return a store of the same warehouse, under the same lease, for another thread."""

    def _read_by_spark(
        self, table: str, version: int | None, session: SparkSession | None = None
    ) -> DataFrame:
        """Return the rows by Delta's own reader."""
        reader = (session or self.spark).read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self._spark_path(table))

    def _write_by_spark(
        self,
        rows: Rows,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        """Write rows by Delta's own writer."""
        declared = tables.TABLES[table]
        frame = (
            rows.mapped()
            if isinstance(rows, ArrowTransform)
            else self._session.createDataFrame(rows, declared.schema)
            if isinstance(rows, pa.Table)
            else rows
        )
        writer = (
            frame.write.format("delta")
            .mode("append" if append else "overwrite")
            .option("userMetadata", commit.json())
        )
        writer = writer.option("mergeSchema" if append or where else "overwriteSchema", "true")
        if where:
            writer = writer.option("replaceWhere", where)
        if fresh:
            writer = writer.options(**tables.properties(table)).partitionBy(*declared.partition)
        frame.sparkSession.conf.set(SKIP_EMPTY, "false")
        if fresh:
            writer.save(self._spark_path(table))
        else:
            self._save(writer, table, append)
        version = int(cast(str, frame.sparkSession.conf.get(LAST_VERSION)))
        if not fresh:
            self._check_between(table, version, commit, append)
        return version

    def _save(self, writer: DataFrameWriter, table: str, append: bool) -> None:
        """Write to a table that exists.

        Delta refuses also where others only merged files: then the rows are made again.
        """
        for left in reversed(range(RETRIES)):
            self._check_unchanged(table, append, self._newest_version(table))
            try:
                writer.save(self._spark_path(table))
                return
            except CONFLICTS:
                if not left:
                    raise

    def _check_between(self, table: str, version: int, commit: CommitInfo, append: bool) -> None:
        """Undo a commit by Spark if others changed rows while it was made. Raises JobError then.

        To Spark rows that are only added fit to whatever others do meanwhile.
        """
        try:
            self._check_unchanged(table, append, version - 1)
        except JobError:
            self._undo(table, version, commit)
            raise

    def _undo(self, table: str, version: int, commit: CommitInfo) -> None:
        """Restore the version before a commit of ours, by a commit that says it is unfinished.

        It has the metadata of the commit before, which describe the rows that are there again.
        """
        before = self.newest(table, commit.stage) or commit
        undone = replace(before, run_id=commit.run_id, fingerprint=UNFINISHED)
        self._restore(table, version - 1, undone)
        self._forget(table)

    @abstractmethod
    def _restore(self, table: str, version: int, commit: CommitInfo) -> None:
        """Make a commit by which the table is as in an earlier version."""
