"""A warehouse in a mounted folder: delta-rs on the driver, Parquet read and written by the tasks.

Spark and Delta take a second or two of processor time to plan and commit a write, and half a second
to read, however small the table is; this takes a tenth of it. Spark is left to do what delta-rs
does not: callers' columns, of any type, and replacing the rows of a predicate.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import StructType

from jobs import paths
from jobs.errors import JobError
from jobs.warehouse import compaction, parquet_scan, shared_folder, table_log, tables, unfinished
from jobs.warehouse.base_store import MISSING, RETRIES, Rows, Store, cut_off
from jobs.warehouse.commits import (
    COMMIT,
    CommitInfo,
    added_files,
    properties,
)
from jobs.warehouse.files import LocalFiles
from jobs.warehouse.parquet_write import ArrowTransform, passthrough
from jobs.warehouse.table_log import LogEntry
from jobs.warehouse.unfinished import NotedFile

if TYPE_CHECKING:
    import deltalake

FEW_FILES = 32  # if there are more, Spark starts a job to list them (parallelPartitionDiscovery)
UNSAFE = r"%[]\^|"  # delta-rs 1.6 decodes a path twice, takes \ for /, and panics at the others
# Of a file in the table's folder: a partition's, another table's or an encoded one has more in it.
PLAIN = re.compile(r"[\w.-]+")
# How delta-rs understands a table's retention; any other text, which Spark may understand, it takes
# for a week.
RETENTION = re.compile(r"interval \d+ (second|minute|hour|day|week)s?")


def check_path(root: str) -> None:
    """Raise JobError if a warehouse's path has characters that no Delta library copes with."""
    if set(UNSAFE) & set(paths.absolute(root)):
        raise JobError(f"the warehouse {root}: its path may hold none of {UNSAFE}; move it")


class LocalStore(Store):
    """A warehouse in a folder that the driver and all executors see under one path."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        check_path(root)
        path = paths.absolute(root)
        super().__init__(spark, path, LocalFiles(Path(path)))

    def another(self) -> LocalStore:  # noqa: D102
        return LocalStore(self.spark, self.root)

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """Return a table's rows as a Spark frame.

        If the files are few they are named to Spark's own Parquet reader. Delta's starts two jobs
        to find them, a quarter second of processor time for each scan: 12 of a small pipeline's 30
        seconds.
        """
        log = self._table_if_any(table, version)
        names = _plain_files(log) if log is not None else []
        if log is None or not 0 < len(names) <= FEW_FILES:
            return self._read_by_spark(table, version)
        schema = StructType.fromJson(json.loads(log.schema().to_json()))
        folder = _unglobbed(self._spark_path(table))
        return self.spark.read.schema(schema).parquet(*(f"{folder}/{name}" for name in names))

    def schema(self, table: str) -> StructType:
        """Return the columns of a table by its log."""
        return StructType.fromJson(json.loads(self._table(table).schema().to_json()))

    def arrow(
        self, table: str, sql: str = "SELECT * FROM rows", version: int | None = None
    ) -> pa.Table | None:
        """Return the rows of a query by DataFusion, which starts no Spark job."""
        log = self._table_if_any(table, version)
        if log is None:
            return None
        import deltalake

        # Not to_pyarrow_table: after it, one process in ten aborts at its end.
        answer = deltalake.QueryBuilder().register("rows", log).execute(sql).read_all()
        return pa.table(answer)

    def snapshot(
        self, table: str, version: int | None = None
    ) -> parquet_scan.ParquetSnapshot | None:
        """Return the table's Parquet row groups for tasks to read directly.

        None if Spark must read the table: it uses deletion vectors or other features that we do not
        implement, it has more than MOST_FILES files (their footers are read on the driver), or a
        file is missing (Spark then names it).
        """
        log = self._table_if_any(table, version)
        names = _plain_files(log) if log is not None else []
        if not 0 < len(names) <= parquet_scan.MOST_FILES:
            return None
        folder = Path(self.path(table))
        try:
            row_groups = parquet_scan.row_groups_of(folder, names)
        except FileNotFoundError:
            return None
        return parquet_scan.ParquetSnapshot(self.spark, folder, row_groups)

    def size(self, table: str, version: int | None = None) -> tuple[int, int] | None:
        """Return rows and bytes of a version by its log alone; None if it does not tell."""
        log = self._table_if_any(table, version)
        if log is None:
            return None
        added = pa.table(log.get_add_actions())
        if "num_records" not in added.column_names or added.column("num_records").null_count:
            return None
        rows, taken = (
            sum(added.column(name).to_pylist()) for name in ("num_records", "size_bytes")
        )
        return rows, taken

    def data_files(self, table: str) -> dict[str, int]:
        """Return the files of the newest version and their bytes, sorted by name as it is read."""
        added = pa.table(self._table(table).get_add_actions())
        sizes = zip(
            added.column("path").to_pylist(), added.column("size_bytes").to_pylist(), strict=True
        )
        return dict(sorted(sizes))

    def damaged_files(self, table: str, version: int | None = None) -> dict[str, str]:  # noqa: D102
        added = pa.table(self._table(table, version).get_add_actions())
        names, sizes = (added.column(name).to_pylist() for name in ("path", "size_bytes"))
        folder = Path(self.path(table))
        wrong = {
            name: _damage(folder / name, size)
            for name, size in sorted(zip(map(unquote, names), sizes, strict=True))
        }
        return {name: damage for name, damage in wrong.items() if damage}

    def _compact(self, table: str, small: Sequence[str], metadata: str) -> None:
        """Have the tasks write merged files as they write new ones; delta-rs' own would unsort."""
        log, files = self._table(table), self.data_files(table)
        order = tables.TABLES[table].order
        if not _is_plain(log, table):
            upkeep = compaction.Upkeep(self.spark, self._spark_path(table), metadata)
            return upkeep.merge(files, small, order)
        schema = StructType.fromJson(json.loads(log.schema().to_json()))
        folder = _unglobbed(self._spark_path(table))
        rows = self.spark.read.schema(schema).parquet(*(f"{folder}/{name}" for name in small))
        number = compaction.merged_count(files, small)
        merged = ArrowTransform(compaction.arranged(rows, order, number), passthrough, schema)
        self._replace_files(merged, table, log, {name: files[name] for name in small}, metadata)
        return None

    def _replace_files(
        self,
        rows: ArrowTransform,
        table: str,
        log: deltalake.DeltaTable,
        old: Mapping[str, int],
        metadata: str,
    ) -> None:
        """Commit files of the same rows in the place of others; the log says that none changed."""
        from deltalake.exceptions import CommitFailedError
        from deltalake.transaction import AddAction, RemoveAction

        written = rows.write_files(Path(self.path(table)), tables.TABLES[table].scalars)
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(row.path, row.size, {}, row.modified, False, row.stats) for row in written
        ]
        actions += [RemoveAction(name, False, now, size, {}) for name, size in old.items()]
        once = properties(metadata, retries=0)
        try:
            log.create_write_transaction(actions, "append", log.schema(), commit_properties=once)
        except CommitFailedError as refused:
            raise JobError(
                f"the table {self.path(table)} was changed by others while its files were merged. "
                "They are as they were: run the same command again"
            ) from refused

    def _vacuum(self, table: str, hours: int | None, metadata: str, dry_run: bool) -> list[str]:
        """Delete by delta-rs, which lists a folder in milliseconds; by Spark what it cannot read.

        delta-rs takes the files of deletion vectors, for example, for files of no version.
        """
        log = self._table(table)
        retention = log.metadata().configuration.get(tables.KEPT_FILES)
        is_read = retention is None or RETENTION.fullmatch(retention)
        protocol = log.protocol()
        if (protocol.min_reader_version, protocol.min_writer_version) != (1, 2) or not is_read:
            upkeep = compaction.Upkeep(self.spark, self._spark_path(table), metadata)
            return upkeep.vacuum(hours, dry_run)
        names = log.vacuum(
            retention_hours=hours,
            dry_run=dry_run,
            full=True,
            commit_properties=properties(metadata),
        )
        # The log names what an earlier VACUUM deleted until it is cleaned up.
        return [name for name in names if not dry_run or Path(self.path(table), name).exists()]

    def _keeps_files(self, table: str) -> bool:
        return tables.KEPT_FILES in self._table(table).metadata().configuration

    def _exists(self, table: str) -> bool:
        """Return whether there is a log; Delta's first answer would take seconds."""
        return bool(self._commit_files(table))

    def _log(self, table: str) -> list[LogEntry]:
        """Read the log's files here: `history` starts a Spark job, a second for each table."""
        return [_entry(path) for path in self._commit_files(table)]

    def _newest_version(self, table: str) -> int:
        return max(int(path.stem) for path in self._commit_files(table))

    def _entry(self, table: str, version: int) -> LogEntry:
        return _entry(Path(self.path(table), "_delta_log", f"{version:020}.json"))

    def _commit_files(self, table: str) -> list[Path]:
        """Return the files of the commits that the log still has; none if there is no table."""
        log = Path(self.path(table)) / "_delta_log"
        try:
            return [path for path in log.iterdir() if COMMIT.fullmatch(path.name)]
        except FileNotFoundError:
            return []

    def _uri(self, table: str) -> str:
        """Return where a table lies, for delta-rs: it takes a path for a URI, % for an escape."""
        return Path(self.path(table)).as_uri()

    def _table(self, table: str, version: int | None = None) -> deltalake.DeltaTable:
        """Return a table as delta-rs sees it. Raises JobError if its log cannot be read."""
        import deltalake
        from deltalake.exceptions import DeltaError

        try:
            return deltalake.DeltaTable(self._uri(table), version=version)
        except DeltaError as refused:
            self._log(table)  # names a damaged file
            raise table_log.unreadable(self.path(table), refused) from refused

    def _table_if_any(self, table: str, version: int | None) -> deltalake.DeltaTable | None:
        return self._table(table, version) if self.exists(table) else None

    def _write(
        self,
        rows: Rows,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        """Write by delta-rs the rows that are on the driver, else by the tasks, else by Spark."""
        if isinstance(rows, pa.Table):
            return self._write_rows(rows, table, commit, fresh, append, where)
        log = None if fresh else self._table(table)
        if where or not _can_take_files(rows, table, log, append):
            version = self._write_by_spark(rows, table, commit, fresh, append, where)
            self._check_commit(table, version, commit)
            return version
        return self._write_files(rows, table, commit, log, append)

    def _check_commit(self, table: str, version: int, commit: CommitInfo) -> None:
        """Undo a commit by Spark if files that it names are missing here. Raises JobError then.

        Spark commits what the executors say they wrote, and looks at no file. A further commit then
        restores the version before and says that the stage is unfinished; of a new table all is
        deleted.
        """
        folder = Path(self.path(table))
        added = added_files((folder / "_delta_log" / f"{version:020d}.json").read_text("utf-8"))
        try:
            shared_folder.check_written(folder, added)
        except JobError:
            if version == 0:
                self.files.delete(table)
                self._forget(table)
            else:
                self._undo(table, version, commit)
            raise

    def _restore(self, table: str, version: int, commit: CommitInfo) -> None:
        self._table(table).restore(version, commit_properties=commit.properties())

    def _write_rows(
        self,
        rows: pa.Table,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        import deltalake

        options: dict[str, Any] = {"mode": "append" if append else "overwrite"}
        if fresh:
            options["mode"] = "error"
            options["configuration"] = tables.properties(table)
            options["partition_by"] = list(tables.TABLES[table].partition)
            options["commit_properties"] = commit.properties()
            with _created(self.path(table)):
                deltalake.write_deltalake(self._uri(table), rows, **options)
            return 0
        options["schema_mode"] = "merge" if append or where else "overwrite"
        options["predicate"] = where
        options["commit_properties"] = commit.properties()
        return self._commit(
            table, append, lambda log: deltalake.write_deltalake(log, rows, **options)
        )

    def _commit(
        self, table: str, append: bool, write: Callable[[deltalake.DeltaTable], None]
    ) -> int:
        """Commit on the newest version; begin again if others were faster and changed no row.

        write: commits to a table as the next version, or raises CommitFailedError: delta-rs's own
        retries keep files that others made by merging meanwhile, and with them the old rows.
        """
        from deltalake.exceptions import CommitFailedError

        left = RETRIES
        while True:
            log = self._table(table)
            newest = int(log.version())
            self._check_unchanged(table, append, newest)
            try:
                write(log)
                return newest + 1
            except CommitFailedError:
                left -= 1
                if not left:
                    raise

    def _write_files(
        self,
        rows: DataFrame | ArrowTransform,
        table: str,
        commit: CommitInfo,
        log: deltalake.DeltaTable | None,
        append: bool,
    ) -> int:
        """Have the tasks write files, then commit them; log: None if there is no table yet."""
        transform = (
            rows
            if isinstance(rows, ArrowTransform)
            else ArrowTransform(rows, passthrough, tables.TABLES[table].schema)
        )
        root, schema = Path(self.root), transform.schema.json()
        base = -1 if log is None else int(log.version())
        notes = (
            unfinished.begin(root, table, transform.resumable, base, schema, append)
            if transform.resumable
            else None
        )
        scalars = tables.TABLES[table].scalars
        written = transform.write_files(Path(self.path(table)), scalars, notes)
        version = self._add_files(written, table, commit, log, append, schema)
        if notes:
            unfinished.discard(root, table)
        return version

    @property
    def adopts(self) -> bool:
        """True: tasks write files of their own."""
        return True

    def adopt(self, table: str, resumable: str, commit: CommitInfo) -> bool:
        """Commit the rows that a killed run had completed; return whether there were any."""
        log = self._table(table) if self.exists(table) else None
        base = -1 if log is None else int(log.version())
        found = unfinished.find(Path(self.root), table, resumable, base)
        if found is None:
            return False
        version = self._add_files(found.files, table, commit, log, found.append, found.schema)
        unfinished.discard(Path(self.root), table)
        self._remember(table, replace(commit, version=version), fresh=log is None)
        return True

    def _add_files(
        self,
        files: Sequence[Row | NotedFile],
        table: str,
        commit: CommitInfo,
        log: deltalake.DeltaTable | None,
        append: bool,
        schema: str,
    ) -> int:
        """Commit files that tasks wrote; return the table's new version. schema: Spark's JSON."""
        import deltalake
        from deltalake.transaction import AddAction, create_table_with_add_actions

        added = [
            AddAction(file.path, file.size, {}, file.modified, True, file.stats) for file in files
        ]
        columns = deltalake.Schema.from_json(schema)
        properties = commit.properties()
        if log is None:
            with _created(self.path(table)):
                create_table_with_add_actions(
                    self._uri(table),
                    columns,
                    added,
                    configuration=tables.properties(table),
                    commit_properties=properties,
                )
            return 0
        mode: Literal["append", "overwrite"] = "append" if append else "overwrite"
        return self._commit(
            table,
            append,
            lambda newest: newest.create_write_transaction(
                [*added], mode, columns, commit_properties=properties
            ),
        )


def _damage(path: Path, written: int) -> str:
    """Say what is wrong with a Parquet file that had so many bytes; empty if it ends as it should.

    A machine that crashes may leave zeros in a file of the right size.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size != written:
                return cut_off(size, written)
            file.seek(-len(parquet_scan.MAGIC), os.SEEK_END)
            whole = file.read() == parquet_scan.MAGIC
    except FileNotFoundError:
        return MISSING
    return "" if whole else "does not end as a Parquet file does"


def _entry(commit: Path) -> LogEntry:
    return table_log.entry_of(int(commit.stem), commit.read_text("utf-8", "replace"), str(commit))


@contextmanager
def _created(path: str) -> Iterator[None]:
    """Say what to do if others make a table while it is made here."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except DeltaError as refused:
        if not Path(path, "_delta_log", f"{0:020}.json").exists():
            raise
        raise JobError(
            f"the table {path} was made by others while this run made it. Nothing of this run is "
            "in it: run the same command again"
        ) from refused


def _can_take_files(
    rows: DataFrame | ArrowTransform,
    table: str,
    log: deltalake.DeltaTable | None,
    append: bool,
) -> bool:
    """Return whether the rows can be written as files that are then added to the log.

    Not if there are callers' columns, which may be of any type; nor if others gave the table
    constraints, renamed columns and the like; nor if its columns would change.
    """
    declared = tables.TABLES[table]
    if set(rows.schema.names) != set(declared.schema.names) or declared.partition:
        return False
    if any(column.metadata for column in rows.schema):  # comments, which files do not hold
        return False
    if log is None:
        return True
    if not _takes_files(log):
        return False
    columns = StructType.fromJson(json.loads(log.schema().to_json()))
    types = {column.name: column.dataType for column in columns}
    return not append or all(types.get(c.name) == c.dataType for c in declared.schema)


def _is_plain(log: deltalake.DeltaTable, table: str) -> bool:
    """Return whether files of the table's rows can be written and read here.

    Not if there are callers' columns, or those of another version of this software.
    """
    columns = StructType.fromJson(json.loads(log.schema().to_json()))
    schema, scalars = tables.TABLES[table].schema, tables.TABLES[table].scalars
    # Statistics are kept of the first columns, which must be the narrow ones.
    if columns.names[:scalars] != schema.names[:scalars]:
        return False
    declared = {column.name: column.dataType for column in schema}
    known = all(declared.get(column.name) == column.dataType for column in columns)
    return known and _takes_files(log) and bool(_plain_files(log))


def _takes_files(log: deltalake.DeltaTable) -> bool:
    """Return whether files may be added to a log: others gave it no constraints and the like."""
    protocol, settings = log.protocol(), log.metadata().configuration
    if (protocol.min_reader_version, protocol.min_writer_version) != (1, 2):
        return False
    if settings.get("delta.appendOnly") == "true" or log.metadata().partition_columns:
        return False
    columns = StructType.fromJson(json.loads(log.schema().to_json()))
    return not any(column.metadata for column in columns)  # a condition on what it may hold


def _plain_files(log: deltalake.DeltaTable) -> list[str]:
    """Return the files of a version; none if Delta's own reader is needed to read them.

    That is so if others gave the table deletion vectors, renamed columns or partitions.
    """
    if log.protocol().min_reader_version != 1 or log.metadata().partition_columns:
        return []
    names = pa.table(log.get_add_actions()).column("path").to_pylist()
    return names if all(map(PLAIN.fullmatch, names)) else []


def _unglobbed(path: str) -> str:
    """Return a path for Hadoop, to which some characters are patterns."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)
