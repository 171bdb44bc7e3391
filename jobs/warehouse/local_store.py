"""The warehouse: Delta tables below one folder, and what their commits say of themselves.

The unit of finished work is what one stage writes to one table. Every commit's `userMetadata` holds
the run, the stage and the stage's fingerprint; others' commits (OPTIMIZE, VACUUM) are passed over.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.errors import JobError
from jobs.warehouse import parquet_scan, paths, tables
from jobs.warehouse.parquet_write import ArrowTransform, passthrough

if TYPE_CHECKING:
    import deltalake

FEW_FILES = 32  # of more Spark would list the folders by a job (parallelPartitionDiscovery)
UNSAFE = r"%[]\^|"  # delta-rs 1.6 decodes a path twice, takes \ for /, and panics at the others
# Of a file in the table's folder: a partition's, another table's or an encoded one has more in it.
PLAIN = re.compile(r"[\w.-]+")
COMMIT = re.compile(r"\d{20}\.json")  # of a table's log
LAST_VERSION = "spark.databricks.delta.lastCommitVersionInSession"
PROPERTIES = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.enableDeletionVectors": "false",  # whoever writes next: every reader must cope
}


@dataclass(frozen=True)
class CommitInfo:
    """What a commit says of itself."""

    run_id: str
    stage: str
    fingerprint: str
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = -1

    @property
    def output_id(self) -> str:
        """What readers depend on: the fingerprint, and what it leaves open (note `content`)."""
        more = self.metadata.get("content")
        return f"{self.fingerprint}|{more}" if more else self.fingerprint

    @property
    def orientations(self) -> int:
        """How many orientations of an image its latent is the mean of, in what was written."""
        return int(self.metadata.get("orientations", 1))

    def json(self) -> str:
        """The commit as a commit's userMetadata."""
        content = {"run_id": self.run_id, "stage": self.stage, "fingerprint": self.fingerprint}
        return json.dumps(content | {"notes": self.metadata}, sort_keys=True)


def fingerprint(content: Any) -> str:
    """The sha256 of a value's canonical JSON: equal for equal settings and inputs."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class Warehouse:
    """The tables below one folder, and the trained models beside them."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = paths.absolute(root)
        if paths.is_mounted(root) and set(UNSAFE) & set(self.root):
            raise JobError(f"the warehouse {root}: its path may hold none of {UNSAFE}; move it")
        self._known: dict[str, list[CommitInfo]] = {}
        self._versions: dict[str, int] = {}
        self._transactions = 0

    def path(self, table: str) -> str:
        """Where a table lies."""
        return f"{self.root}/{table}"

    def _place(self, table: str) -> str:
        """Where a table lies, for delta-rs: it takes a path for a URI, and % for an escape."""
        path = self.path(table)
        return Path(path).as_uri() if paths.is_mounted(self.root) else path

    def exists(self, table: str) -> bool:
        """Whether the table was ever written.

        Of a mounted log it is seen here: Delta's first answer takes seconds.
        """
        if table in self._known:
            return True
        if paths.is_mounted(self.root):
            return bool(self._log(table))
        return DeltaTable.isDeltaTable(self.spark, self.path(table))

    def _log(self, table: str) -> list[Path]:
        """The commits of a mounted table that its log still has; none where there is no table."""
        log = paths.mounted(self.path(table)) / "_delta_log"
        try:
            return [path for path in log.iterdir() if COMMIT.fullmatch(path.name)]
        except FileNotFoundError:
            return []

    def commits(self, table: str) -> list[CommitInfo]:
        """The commits of a table's commits, newest first."""
        if table not in self._known:
            if not self.exists(table):
                return []
            commits = sorted(self._commits(table), reverse=True)
            found = [_commit_info(version, metadata) for version, metadata in commits]
            self._known[table] = [commit for commit in found if commit]
            self._versions[table] = commits[0][0]
        return self._known[table]

    def _commits(self, table: str) -> list[tuple[int, str | None]]:
        """Version and userMetadata of every commit that the table's log still has.

        Of a mounted log they are read here: `history` starts a Spark job for it, a second a table.
        """
        if not paths.is_mounted(self.root):
            history = DeltaTable.forPath(self.spark, self.path(table)).history()
            rows = history.select("version", "userMetadata").collect()
            return [(row.version, row.userMetadata) for row in rows]
        return [(int(path.stem), _metadata(path)) for path in self._log(table)]

    def newest(self, table: str, stage: str | None = None) -> CommitInfo | None:
        """The commit of the newest commit to a table, of one stage or of any."""
        found = (commit for commit in self.commits(table) if stage in (None, commit.stage))
        return next(found, None)

    def version(self, table: str) -> int:
        """The newest version of a table, whoever wrote it."""
        self.commits(table)
        return self._versions[table]

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """A table's rows, at a version or the newest.

        Files that are few are named to Spark's own Parquet reader. Delta's starts two jobs to find
        them, a quarter second of processor time for each scan: 12 of a small pipeline's 30 seconds.
        """
        stored = self._logged(table, version)
        names = _files(stored) if stored is not None else []
        if stored is not None and 0 < len(names) <= FEW_FILES:
            schema = StructType.fromJson(json.loads(stored.schema().to_json()))
            folder = _unglobbed(self.path(table))
            return self.spark.read.schema(schema).parquet(*(f"{folder}/{n}" for n in names))
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def snapshot(
        self, table: str, version: int | None = None
    ) -> parquet_scan.ParquetSnapshot | None:
        """A table's files for workers to read by themselves; None where that is left to Spark.

        So of a table that is not mounted, that others gave deletion vectors and the like, or that
        has very many files, whose footers are read here. And of one that lost a file: Spark says
        which.
        """
        log = self._logged(table, version)
        names = _files(log) if log is not None else []
        if not 0 < len(names) <= parquet_scan.MOST_FILES:
            return None
        folder = paths.mounted(self.path(table))
        try:
            return parquet_scan.ParquetSnapshot(
                self.spark, folder, parquet_scan.row_groups_of(folder, names)
            )
        except FileNotFoundError:
            return None

    def rows(
        self, table: str, sql: str = "SELECT * FROM rows", version: int | None = None
    ) -> list[dict[str, Any]]:
        """What a query says of a table, read here; nothing where it was never written.

        sql: DataFusion's, of the relation `rows`; for small tables, and short answers from narrow
        columns. Spark starts two jobs for one, half a second of processor time where this takes
        hundredths.
        """
        if not self.exists(table):
            return []
        import deltalake

        # Not to_pyarrow_table: after it, one process in ten aborts at its end.
        stored = self._stored(table, version)
        found = deltalake.QueryBuilder().register("rows", stored).execute(sql).read_all()
        return [dict(row) for row in pa.table(found).to_pylist()]

    def count(self, table: str, where: str = "true") -> int:
        """Rows of a table, or those of a predicate."""
        (found,) = self.rows(table, f"SELECT count(*) AS images FROM rows WHERE {where}")
        return int(found["images"])

    def size(self, table: str, version: int | None = None) -> tuple[int, int] | None:
        """Rows and bytes of a version by its log alone; None where that is not read here."""
        stored = self._logged(table, version)
        if stored is None:
            return None
        parts = pa.table(stored.get_add_actions())
        rows, taken = (
            sum(parts.column(name).to_pylist()) for name in ("num_records", "size_bytes")
        )
        return rows, taken

    def _logged(self, table: str, version: int | None) -> deltalake.DeltaTable | None:
        """The same, for its log; None where there is no table, or its log is not read here."""
        there = paths.is_mounted(self.root) and self.exists(table)
        return self._stored(table, version) if there else None

    def _stored(self, table: str, version: int | None = None) -> deltalake.DeltaTable:
        """A table as delta-rs sees it."""
        import deltalake

        return deltalake.DeltaTable(self._place(table), version=version)

    def write(
        self,
        frame: DataFrame | pa.Table | ArrowTransform,
        table: str,
        commit: CommitInfo,
        *,
        append: bool = False,
        where: str | None = None,
    ) -> int:
        """Write rows in one commit and return the table's new version.

        The whole table is replaced, or (`append`) added to, or (`where`) the rows of a predicate
        are. Raises SchemaError naming every column that differs from the declaration.

        Spark and Delta take a second or two of processor time to plan and commit a write, however
        small. So rows that are on the driver anyway (`schemas.rows`) are written by delta-rs, and
        others by the executors (`writing`): a tenth of that. Spark's own writing is left for what
        delta-rs does not do: callers' columns, of any type, and a predicate's rows.
        """
        fresh = not self.exists(table)
        if fresh:
            append, where = True, None
        if isinstance(frame, pa.Table):
            version = self._write_rows(frame, table, commit, fresh, append, where)
        else:
            tables.check(table, frame.schema)
            stored = None if fresh else self._logged(table, None)
            if not where and self._is_plain(frame, table, stored, append):
                version = self._write_files(frame, table, commit, stored, append)
            else:
                version = self._write_frame(frame, table, commit, fresh, append, where)
        done = replace(commit, version=version)
        self._known[table] = [done, *self.commits(table)] if not fresh else [done]
        self._versions[table] = version
        return version

    def _is_plain(
        self,
        frame: DataFrame | ArrowTransform,
        table: str,
        stored: deltalake.DeltaTable | None,
        append: bool,
    ) -> bool:
        """Whether the rows can be written as files that are then added to the log.

        Not callers' columns, which may be of any type; not to a table that others gave constraints,
        renamed columns and the like; and not where it would get columns, or they other types.
        """
        declared = tables.TABLES[table]
        ours = set(frame.schema.names) == set(declared.schema.names)
        if not ours or declared.partition or not paths.is_mounted(self.root):
            return False
        if stored is None:
            return True
        protocol, settings = stored.protocol(), stored.metadata().configuration
        if (protocol.min_reader_version, protocol.min_writer_version) != (1, 2):
            return False
        if settings.get("delta.appendOnly") == "true" or stored.metadata().partition_columns:
            return False
        known = StructType.fromJson(json.loads(stored.schema().to_json()))
        if any(column.metadata for column in known):  # of one, what may stand in it
            return False
        kinds = {column.name: column.dataType for column in known}
        return not append or all(kinds.get(c.name) == c.dataType for c in declared.schema)

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

        more: dict[str, Any] = {"mode": "append" if append else "overwrite"}
        if fresh:
            more["configuration"] = properties(table)
            more["partition_by"] = list(tables.TABLES[table].partition)
        elif where:
            more["predicate"] = where
        else:
            more["schema_mode"] = "merge" if append else "overwrite"
        more["commit_properties"] = _noted(commit)
        deltalake.write_deltalake(self._place(table), rows, **more)
        return int(self._stored(table).version())

    def _write_files(
        self,
        frame: DataFrame | ArrowTransform,
        table: str,
        commit: CommitInfo,
        stored: deltalake.DeltaTable | None,
        append: bool,
    ) -> int:
        """As files of the executors; stored: the table as it is before they are made."""
        import deltalake
        from deltalake.transaction import AddAction, create_table_with_add_actions

        declared = tables.TABLES[table]
        transform = (
            frame
            if isinstance(frame, ArrowTransform)
            else ArrowTransform(frame, passthrough, declared.schema)
        )
        added = [
            AddAction(row.path, row.size, {}, row.modified, True, row.stats)
            for row in transform.write_files(paths.mounted(self.path(table)), declared.scalars)
        ]
        columns = deltalake.Schema.from_json(transform.schema.json())
        note = _noted(commit)
        if stored is None:
            create_table_with_add_actions(
                self._place(table),
                columns,
                added,
                configuration=properties(table),
                commit_properties=note,
            )
        else:
            mode = "append" if append else "overwrite"
            stored.create_write_transaction([*added], mode, columns, commit_properties=note)
        return int(self._stored(table).version())

    def _write_frame(
        self,
        frame: DataFrame | ArrowTransform,
        table: str,
        commit: CommitInfo,
        fresh: bool,
        append: bool,
        where: str | None,
    ) -> int:
        rows = frame.mapped() if isinstance(frame, ArrowTransform) else frame
        writer = (
            rows.write.format("delta")
            .mode("append" if append else "overwrite")
            .option("userMetadata", commit.json())
            .option("txnAppId", f"{commit.run_id}/{commit.stage}/{table}")
            .option("txnVersion", str(self._transaction()))
        )
        if where:
            writer = writer.option("replaceWhere", where)
        elif append:
            writer = writer.option("mergeSchema", "true")
        else:
            writer = writer.option("overwriteSchema", "true")
        if fresh:
            writer = writer.options(**properties(table))
            writer = writer.partitionBy(*tables.TABLES[table].partition)
        writer.save(self.path(table))
        return int(cast(str, self.spark.conf.get(LAST_VERSION)))

    def drop(self, table: str) -> None:
        """Delete a work table with its history, where there is one."""
        if not self.exists(table):
            return
        path = self.path(table)
        jvm = self.spark._jvm  # Spark's own file systems: wherever the warehouse lies
        assert jvm is not None
        place = jvm.org.apache.hadoop.fs.Path(path)
        place.getFileSystem(self.spark._jsparkSession.sessionState().newHadoopConf()).delete(
            place, True
        )
        jvm.org.apache.spark.sql.delta.DeltaLog.invalidateCache(self.spark._jsparkSession, place)
        self._known.pop(table, None)
        self._versions.pop(table, None)

    def _transaction(self) -> int:
        self._transactions += 1
        return self._transactions


def properties(table: str) -> dict[str, str]:
    """What a new table's log says of it."""
    return PROPERTIES | {"delta.dataSkippingNumIndexedCols": str(tables.TABLES[table].scalars)}


def _noted(commit: CommitInfo) -> deltalake.CommitProperties:
    """A commit for delta-rs."""
    import deltalake

    return deltalake.CommitProperties(custom_metadata={"userMetadata": commit.json()})


def _files(log: deltalake.DeltaTable) -> list[str]:
    """The files of a version; none where they are for Delta's own reader alone.

    So where others gave the table deletion vectors, renamed columns or partitions.
    """
    if log.protocol().min_reader_version != 1 or log.metadata().partition_columns:
        return []
    names = pa.table(log.get_add_actions()).column("path").to_pylist()
    return names if all(map(PLAIN.fullmatch, names)) else []


def _unglobbed(path: str) -> str:
    """A path for Hadoop, to which some characters are patterns."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", path)


def _metadata(commit: Path) -> str | None:
    """commitInfo.userMetadata of a commit's file (Delta protocol: Commit Provenance)."""
    with commit.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line).get("commitInfo")
            if found:
                metadata = found.get("userMetadata")
                return None if metadata is None else str(metadata)
    return None


def _commit_info(version: int, metadata: str | None) -> CommitInfo | None:
    """The commit in a commit's userMetadata; None for commits that are not ours."""
    try:
        content = json.loads(metadata or "")
        return CommitInfo(
            content["run_id"], content["stage"], content["fingerprint"], content["notes"], version
        )
    except (ValueError, KeyError, TypeError):
        return None
