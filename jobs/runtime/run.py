"""One run of jobs on one warehouse: its lock, its stages, and a row in `runs` for each."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.errors import JobError, MissingError
from jobs.runtime.console import Console
from jobs.runtime.progress import Progress, Tasks
from jobs.runtime.run_log import Ledger
from jobs.settings.load import Settings
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import open_store

CODE_VERSION = "LATENT_DEDUP_VERSION"  # the git hash, exported by spark-submit.sh


@dataclass
class Work:
    """One stage of a run: pinned input versions, stamped outputs."""

    run: Run
    stage: str
    fingerprint: str
    reads: dict[str, int]
    outputs: tuple[str, ...]
    pending: list[str]
    started: datetime
    writes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    model_id: str | None = None
    summary: str = ""
    images: int | None = None  # that its longest step goes through, for the console
    own_progress: Callable[[], Progress | None] | None = None

    def progress(self) -> Progress | None:
        """How far it is: by its own account where it gives one, else by Spark's tasks."""
        if self.own_progress is not None:
            return self.own_progress()
        return self.run.tasks.now(self.images)

    @contextmanager
    def telling(self, progress: Callable[[], Progress | None]) -> Iterator[None]:
        """Have the console ask this how far the stage is."""
        self.own_progress = progress
        try:
            yield
        finally:
            self.own_progress = None

    def tell(self, progress: Progress | None) -> None:
        """Have the console say this until something newer is told; None: Spark's tasks again."""
        self.own_progress = None if progress is None else lambda: progress

    @property
    def finished(self) -> bool:
        """Whether every output already carries this stage's fingerprint."""
        return not self.pending

    def read(self, table: str) -> DataFrame:
        """An input table at the version pinned when the stage started, or one written by it."""
        return self.run.warehouse.read(table, self.writes.get(table, self.reads.get(table)))

    def snapshot(self, table: str) -> ParquetSnapshot | None:
        """The pinned version of an input as Parquet row groups that tasks read directly.

        None if it must be read through Spark.
        """
        return self.run.warehouse.snapshot(table, self.writes.get(table, self.reads.get(table)))

    def scan(
        self,
        table: str,
        columns: StructType,
        rows: Callable[..., Iterator[pa.RecordBatch]],
        schema: StructType,
        *,
        tasks: int | None = None,
        constants: Mapping[str, str] | None = None,
    ) -> ArrowTransform:
        """An input table's rows through `rows(batches, schema=…)`, which gives batches of a schema.

        Workers read them by themselves where they can, else Spark does. tasks: so many at most;
        None: as many as suit. constants: columns of one value.
        """
        version = self.writes.get(table, self.reads.get(table))
        return self.run.warehouse.scan(
            table, columns, rows, schema, version=version, tasks=tasks, constants=constants
        )

    def query(self, table: str, sql: str = "SELECT * FROM rows") -> list[dict[str, Any]]:
        """What a query says of an input table at its pinned version, without Spark."""
        return self.run.warehouse.query(table, sql, self.writes.get(table, self.reads.get(table)))

    def write(
        self,
        frame: DataFrame | pa.Table | ArrowTransform,
        table: str,
        *,
        append: bool = False,
        where: str | None = None,
        metadata: dict[str, Any] | None = None,
        finished: bool = True,
    ) -> None:
        """Write an output in one commit; `finished` False: a step on the way, to be done again."""
        mark = self.fingerprint if finished else "unfinished"
        commit = CommitInfo(self.run.run_id, self.stage, mark, metadata or {})
        version = self.run.warehouse.write(frame, table, commit, append=append, where=where)
        self.writes[table] = version

    def discard(self, table: str) -> None:
        """Delete a work table that has served."""
        self.run.warehouse.drop(table)
        self.writes.pop(table, None)


class Run:
    """What the jobs of one command share."""

    def __init__(self, spark: SparkSession, settings: Settings, job: str) -> None:
        self.spark = spark
        self.settings = settings
        self.job = job
        now = datetime.now(UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self.warehouse = open_store(spark, settings.warehouse)
        self.console = Console.of(settings)
        self.tasks = Tasks(spark)
        self.seconds: dict[str, float] = {}
        self.ledger = Ledger(self.warehouse, self.run_id)
        self._last: dict[str, tuple[str, dict[str, int]]] = {}

    @contextmanager
    def stage(
        self,
        name: str,
        *,
        reads: Mapping[str, str] | None = None,
        writes: tuple[str, ...] = (),
        depends: Any = None,
        version: int = 1,
        finished: Callable[[str], bool] | None = None,
    ) -> Iterator[Work]:
        """Open a stage: `reads` maps input tables to the stages that write them.

        The stage's fingerprint is made of `depends` (the settings it depends on), the fingerprints
        of its inputs and `version`, an integer raised when its output changes. `finished` answers,
        given the fingerprint, for a stage whose output is no table.
        """
        inputs = {
            table: self._input(table, writer, name) for table, writer in (reads or {}).items()
        }
        check_whole(reads or {}, {table: commit.fingerprint for table, commit in inputs.items()})
        mark = mark_of(
            name, version, depends, {table: commit.output_id for table, commit in inputs.items()}
        )
        pending = self._pending(name, writes, mark, finished)
        pinned = {table: self.warehouse.version(table) for table in inputs}
        work = Work(self, name, mark, pinned, writes, pending, datetime.now(UTC))
        clock = time.monotonic()
        if work.finished:
            yield work
            self._skipped(work)
            self.seconds[name] = time.monotonic() - clock
            self.console.stage(name, "up to date", None, "skipped")
            return
        self._record(work, "started")
        self.console.begin(name)
        try:
            with self.console.watching(name, work.progress):
                yield work
        except BaseException as failure:
            self.console.broken(name, time.monotonic() - clock)
            self._failed(work, failure)
            raise
        work.writes = self._versions(work) | work.writes
        self._record(work, "done")
        self.seconds[name] = time.monotonic() - clock
        self.console.stage(name, work.summary, self.seconds[name], **self._account(work))
        self._details(work)

    def perform(self, job: ModuleType) -> None:
        """One job after the other, in a pipeline."""
        job.main(self)

    def close_stale(self) -> None:
        """Turn `started` rows of runs that died into `failed` ones; note what runs have said."""
        self.ledger.close_stale()
        self._last = self.ledger.last()

    def close(self) -> None:
        """Wait until all is written down."""
        self.ledger.close()

    def results(self) -> dict[str, str]:
        """Where what this command was for lies."""
        found = {}
        if "report" in self.seconds:
            found["report"] = f"{self.warehouse.root}/report/report.html"
        if "publish" in self.seconds:
            found["curated"] = self.warehouse.path("curated")
        return found

    def _account(self, work: Work) -> dict[str, Any]:
        """What a stage read and wrote, for the log."""
        return {"reads": work.reads, "writes": work.writes, "rows": work.rows}

    def _details(self, work: Work) -> None:
        """The same for people who ask for it, with the rows of each table's version."""
        if not self.console.shows("detail"):
            return
        for word, versions in (("read", work.reads), ("wrote", work.writes)):
            counted = {
                table: found[0] if (found := self.warehouse.size(table, version)) else None
                for table, version in versions.items()
            }
            tables = ", ".join(
                f"{table} version {version}{_rows(counted[table])}"
                for table, version in versions.items()
            )
            if tables:
                self.console.detail(f"    {word} {tables}", stage=work.stage, rows=counted)

    def _input(self, table: str, writer: str, reader: str) -> CommitInfo:
        commit = self.warehouse.newest(table, writer)
        if commit is None or commit.fingerprint == "unfinished":
            raise MissingError(
                f"{reader} reads the table {table}, which {self.warehouse.root} does not have yet: "
                f"run ./spark-submit.sh {writer} first (or pipeline, which does all)"
            )
        return commit

    def _pending(
        self,
        name: str,
        writes: tuple[str, ...],
        mark: str,
        finished: Callable[[str], bool] | None,
    ) -> list[str]:
        """The outputs of a stage that do not carry its fingerprint."""
        if name in self.settings.overwrite:
            return list(writes) or ["output"]
        if finished is not None:
            return [] if finished(mark) else ["output"]
        return [table for table in writes if not self._is_done(table, name, mark)]

    def _is_done(self, table: str, stage: str, mark: str) -> bool:
        commit = self.warehouse.newest(table, stage)
        return commit is not None and commit.fingerprint == mark

    def _skipped(self, work: Work) -> None:
        """Record that there was nothing to do.

        Where an earlier run of the stage died after its last commit, before it could say so: what
        it wrote is recorded as done, for readers look the versions up there.
        """
        versions = self._versions(work)
        state, said = self._last.get(work.stage, ("", {}))
        if state != "done" or any(said.get(table, -1) < at for table, at in versions.items()):
            work.writes = versions
            self._record(work, "done")
        else:
            self._record(work, "skipped")

    def _versions(self, work: Work) -> dict[str, int]:
        """The version at which the stage last wrote each of its outputs, in this run or before."""
        commits = {table: self.warehouse.newest(table, work.stage) for table in work.outputs}
        return {table: commit.version for table, commit in commits.items() if commit}

    def _failed(self, work: Work, failure: BaseException) -> None:
        """Record a failure as well as the failure allows; it is raised again by the caller."""
        try:
            self._record(work, "failed", f"{type(failure).__name__}: {failure}"[:2000])
            self.ledger.settle()
        except Exception as second:
            self.console.warn(f"the failure could not be recorded in runs: {second}")

    def _record(self, work: Work, state: str, message: str = "") -> None:
        """Put the stage's row down; `done` and `failed` replace `started`."""
        self.ledger.record(
            {
                "run_id": self.run_id,
                "stage": work.stage,
                "state": state,
                "started": work.started,
                "finished": None if state == "started" else datetime.now(UTC),
                "settings": json.dumps(self.settings.sections(), sort_keys=True),
                "code_version": os.environ.get(CODE_VERSION, "unknown"),
                "model_id": work.model_id,
                "message": message,
                "versions_read": dict(work.reads),
                "versions_written": dict(work.writes),
                "row_counts": dict(work.rows),
            }
        )


def mark_of(name: str, version: int, depends: Any, contents: Mapping[str, str]) -> str:
    """The fingerprint of a stage."""
    return fingerprint({"stage": name, "version": version, "on": depends, "inputs": contents})


def _rows(count: int | None) -> str:
    return "" if count is None else f" ({count:,} rows)"


def check_whole(reads: Mapping[str, str], marks: Mapping[str, str]) -> None:
    """Raise JobError where one stage's tables are not of one run of it: it died between them."""
    for writer in dict.fromkeys(reads.values()):
        tables = [table for table, name in reads.items() if name == writer]
        if len({marks[table] for table in tables}) > 1:
            raise JobError(
                f"{writer} ended between the tables {', '.join(tables)}: run ./spark-submit.sh "
                f"{writer} again first (or pipeline, which does all)"
            )
