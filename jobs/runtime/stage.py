"""Declare a stage, a step of the pipeline from tables to tables, and give it what it works with.

A stage's file ends in `STAGE = Stage(…)`; `jobs/pipeline.py` lists all of them in order. These
declarations determine the order of a pipeline, the list of jobs, the names that `--overwrite`
takes, the stage that has to run first, the plan of a dry run, and what the report says of tables
that the settings do not ask for. `StageRun` is what `main` of a stage reads, writes
and reports through.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.errors import JobError, SettingsError
from jobs.runtime.console import Console
from jobs.runtime.progress import Progress, SparkProgress
from jobs.runtime.run_log import RunLog
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.commits import UNFINISHED, Change, CommitInfo, Input, fingerprint
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store, open_store

Answer = TypeVar("Answer")


class RunContext:
    """What all stages of a run share: the settings, the warehouse, Spark and the console."""

    def __init__(
        self, spark: SparkSession, settings: Settings, stages: tuple[Stage, ...] = ()
    ) -> None:
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self.spark = spark
        self.settings = settings
        self.stages = stages
        self.warehouse = open_store(spark, settings.warehouse)
        self.console = Console.of(settings)
        self.run_log = RunLog(self.warehouse, self.run_id)
        self.spark_progress = SparkProgress(spark)
        self._once: dict[Callable[[RunContext], Any], Any] = {}

    @property
    def report_path(self) -> str:
        """Where the report's page lies: its copy on the driver's disk, if --report asks for one."""
        copy = self.settings.report_folder
        return f"{copy or self.warehouse.files.path('report')}/report.html"

    def once(self, make: Callable[[RunContext], Answer]) -> Answer:
        """Cache and return `make(run)`, for example the listing of the source."""
        if make not in self._once:
            self._once[make] = make(self)
        return cast(Answer, self._once[make])


@dataclass(frozen=True)
class NamedValues:
    """A part of `depends` that is recorded by names, but hashed in another form.

    values: what the table `runs` records, by the full names of settings, such as `prune.seed`. What
    is no setting has a name of this form too. hashed: JSON that the fingerprint contains instead.
    If this form changed, finished outputs would no longer count as up to date.
    """

    values: Mapping[str, Any]
    hashed: Any


def _reads_nothing(run: RunContext) -> Mapping[str, str]:
    return {}


def _depends_on_nothing(run: RunContext) -> Any:
    return None


def _always(settings: Settings) -> bool:
    return True


def _nothing(run: RunContext) -> Mapping[str, Sequence[Change]]:
    return {}


def _no_model(run: RunContext) -> str | None:
    return None


def _needs_nothing(run: RunContext) -> None:
    return None


def _finds_nothing(run: RunContext) -> Sequence[str]:
    return ()


def _does_nothing(stage_run: StageRun) -> None:
    return None


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    name: the name of the stage, and of its job on the command line.
    main: does the work. It is called only if an output is not up to date.
    reads: the input tables, each with the stage that must have written it (see `written_by`).
    writes: the output tables.
    depends: JSON of all settings and other inputs that decide the outputs. It is hashed for the
        fingerprint, and recorded in the table `runs` so that a dry run can tell what differs. A key
        is a setting of the stage's own section; settings of others stand in `NamedValues`.
    version: a number to raise when the outputs of the same inputs change.
    enabled: whether the stage can run, and a pipeline runs it, with these settings.
    in_pipeline: False for a stage that is only ever run as a job of its own.
    example_flags: flags that enable it, as an example for messages.
    message_if_disabled: the message with which the stage's own job fails if the stage is not
        enabled; "" lets it run.
    is_current: whether the output has a given fingerprint. It replaces the look at the commits of
        tables, for outputs that are not only tables.
    disturbed_by: what others changed in tables so that the stage has to look at its outputs again.
    model_id: the model that the stage uses, for the table `runs`. It may raise JobError.
    before: raises an error if the stage cannot do its work; a pipeline asks at its beginning.
    mistakes: a line for each setting that does not fit the table `images`; a pipeline asks when
        `ingest` has written it, before hours of training. The stage itself must find them too.
    afterwards: what to do or log at the end, also if there was nothing to do.
    imports: modules that take long to import; the driver loads them while Spark starts.
    worker_imports: those that its tasks import, beside the stage's own module.
    """

    name: str
    main: Callable[[StageRun], None]
    reads: Callable[[RunContext], Mapping[str, str]] = _reads_nothing
    writes: tuple[str, ...] | Callable[[RunContext], tuple[str, ...]] = ()
    depends: Callable[[RunContext], Any] = _depends_on_nothing
    version: int = 1
    enabled: Callable[[Settings], bool] = _always
    in_pipeline: bool = True
    example_flags: str = ""
    message_if_disabled: str = ""
    is_current: Callable[[RunContext, str], bool] | None = None
    disturbed_by: Callable[[RunContext], Mapping[str, Sequence[Change]]] = _nothing
    model_id: Callable[[RunContext], str | None] = _no_model
    before: Callable[[RunContext], None] = _needs_nothing
    mistakes: Callable[[RunContext], Sequence[str]] = _finds_nothing
    afterwards: Callable[[StageRun], None] = _does_nothing
    imports: tuple[str, ...] = ()
    worker_imports: tuple[str, ...] = ()

    @property
    def worker_modules(self) -> tuple[str, ...]:
        """The modules that its tasks import."""
        return (self.main.__module__, *self.worker_imports)

    def check_enabled(self, settings: Settings) -> None:
        """Raise SettingsError if the stage refuses to run with settings that do not enable it."""
        if self.message_if_disabled and not self.enabled(settings):
            raise SettingsError(f"{self.name}: {self.message_if_disabled}")

    def outputs(self, run: RunContext) -> tuple[str, ...]:
        """The tables that the stage writes in this run."""
        return self.writes(run) if callable(self.writes) else self.writes

    def fingerprint(self, depends: Any, input_ids: Mapping[str, str]) -> str:
        """The hash of everything that decides the outputs.

        depends: the answer of `self.depends`. input_ids: the `output_id` of each input table.
        """
        return fingerprint(
            {
                "stage": self.name,
                "version": self.version,
                "on": hashed(depends),
                "inputs": input_ids,
            }
        )


def hashed(depends: Any) -> Any:
    """Return `depends` as the fingerprint contains it, with `hashed` of each `NamedValues`."""
    return _replaced(depends, lambda part: part.hashed)


def recorded(depends: Any) -> Any:
    """Return `depends` as the table `runs` records it, with `values` of each `NamedValues`."""
    return _replaced(depends, lambda part: part.values)


def _replaced(value: Any, replace: Callable[[NamedValues], Any]) -> Any:
    if isinstance(value, NamedValues):
        return replace(value)
    if isinstance(value, Mapping):
        return {key: _replaced(part, replace) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(part, replace) for part in value]
    return value


def check_consistent(reads: Mapping[str, str], fingerprints: Mapping[str, str]) -> None:
    """Raise JobError if tables that one stage wrote have different fingerprints.

    This happens if the stage died between two of its tables.
    """
    for writer in dict.fromkeys(reads.values()):
        written = [table for table, stage in reads.items() if stage == writer]
        if len({fingerprints[table] for table in written}) > 1:
            raise JobError(
                f"the last run of {writer} stopped after it had written only some of "
                f"{', '.join(written)}: run ./spark-submit.sh {writer} again first (or pipeline, "
                "which does all)"
            )


@dataclass
class StageRun:
    """One stage being run. It reads and writes all its tables through this object.

    Input tables are read at the versions pinned when the stage started. `main` of the stage sets
    `rows` (counts for the table `runs`), `summary` (its line on the console) and
    `progress_total`.

    fingerprint: what the outputs will carry. inputs: the commits that finished the input tables.
    reads, writes: the versions read and written, by table. pending: outputs that are not up to
    date. progress_total: images that the longest step goes through, for the rate on the console.
    """

    run: RunContext
    stage: Stage
    fingerprint: str
    depends: Any
    inputs: Mapping[str, CommitInfo]
    reads: Mapping[str, int]
    outputs: tuple[str, ...]
    pending: list[str]
    started: datetime
    writes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    model_id: str | None = None
    summary: str = ""
    progress_total: int | None = None
    _progress: Callable[[], Progress | None] | None = None
    _without: set[str] = field(default_factory=set)  # tables that are made without earlier rows
    _once: dict[Callable[[StageRun], Any], Any] = field(default_factory=dict)

    def once(self, make: Callable[[StageRun], Answer]) -> Answer:
        """Cache and return `make(self)`, for what several parts of a stage ask for."""
        if make not in self._once:
            self._once[make] = make(self)
        return cast(Answer, self._once[make])

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.run.settings

    @property
    def spark(self) -> SparkSession:
        """The Spark session of the run."""
        return self.run.spark

    @property
    def warehouse(self) -> Store:
        """The warehouse of the run."""
        return self.run.warehouse

    @property
    def console(self) -> Console:
        """The console of the run."""
        return self.run.console

    @property
    def is_overwritten(self) -> bool:
        """Whether --overwrite asks for the stage."""
        return self.name in self.settings.overwrite

    @property
    def finished(self) -> bool:
        """Whether every output is up to date."""
        return not self.pending

    def read(self, table: str) -> DataFrame:
        """Return an input table at its pinned version, or an output as this stage wrote it."""
        return self.warehouse.read(table, self._version(table))

    def snapshot(self, table: str) -> ParquetSnapshot | None:
        """Return the pinned version of an input as Parquet row groups that tasks read directly.

        None if it must be read through Spark.
        """
        return self.warehouse.snapshot(table, self._version(table))

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
        """Apply `rows(batches, schema)`, which yields batches of `schema`, to an input table.

        Tasks read the files directly if they can, else Spark reads them. Nothing runs before the
        result is written or mapped.

        Args:
            table: an input table, read at its pinned version.
            columns: the columns that `rows` gets, with those of `constants` among them.
            rows: the function, which is sent to the executors.
            schema: the columns of the result.
            tasks: the largest number of tasks; None leaves it to the store.
            constants: columns that the table does not have, with the value of all their rows.
        """
        return self.warehouse.scan(
            table,
            columns,
            rows,
            schema,
            version=self._version(table),
            tasks=tasks,
            constants=constants,
        )

    def query(self, table: str, sql: str = "SELECT * FROM rows") -> list[dict[str, Any]]:
        """Query an input table, called `rows` in SQL, at its pinned version without a Spark job."""
        return self.warehouse.query(table, sql, self._version(table))

    def count(self, table: str, where: str = "true") -> int:
        """Count the rows of a table, at the version that `read` returns, that meet a condition."""
        (row,) = self.query(table, f"SELECT count(*) AS images FROM rows WHERE {where}")
        return int(row["images"])

    def previous(self, table: str) -> DataFrame | None:
        """Return an output as an earlier run left it; None if the table does not exist.

        The version is pinned, so what this run writes later is not part of it. Of a table whose
        files are damaged --overwrite makes another one, so it counts as none then.
        """
        if not self.warehouse.exists(table):
            return None
        damaged = self.warehouse.damaged_files(table) if self.is_overwritten else {}
        if damaged:
            name, damage = next(iter(damaged.items()))
            if table not in self._without:
                self.console.warn(f"{table}: the file {name} {damage}; the table is made anew")
            self._without.add(table)
            return None
        return self.warehouse.read(table, self.warehouse.version(table))

    def previous_commit(self, table: str) -> CommitInfo | None:
        """Return the newest commit of this stage to an output; None if there is none."""
        return self.warehouse.newest(table, self.name)

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
        """Write an output in one commit.

        Args:
            frame: the rows.
            table: the output.
            append: add the rows to the table instead of replacing it.
            where: a condition; only the rows of the table that meet it are replaced.
            metadata: what else the commit records, as JSON.
            finished: False if another commit to the table follows. If the run dies before that, the
                next run does the stage again.
        """
        fingerprint = self.fingerprint if finished else UNFINISHED
        commit = CommitInfo(
            self.run.run_id, self.name, fingerprint, metadata or {}, inputs=self._inputs_read()
        )
        version = self.warehouse.write(frame, table, commit, append=append, where=where)
        self.writes[table] = version

    def adopt(self, table: str, resumable: str, metadata: dict[str, Any]) -> bool:
        """Commit what a killed run of this stage had completed of a table; see `Store.adopt`.

        Returns whether there was anything, which with --overwrite there never is. What is still
        missing must then be appended.
        """
        if self.is_overwritten:
            return False
        commit = CommitInfo(self.run.run_id, self.name, UNFINISHED, metadata)
        adopted = self.warehouse.adopt(table, resumable, commit)
        if adopted:
            self.writes[table] = self.warehouse.version(table)
        return adopted

    def log_kept(self, table: str) -> None:
        """Tell how many rows an output has already, if a run of this stage was stopped."""
        last = self.previous_commit(table)
        if last and last.fingerprint == UNFINISHED:
            rows = self.warehouse.count(table)
            self.console.line(
                f"    goes on where a run was stopped: {table} has {rows:,} rows already",
                stage=self.name,
                event="adopted",
                table=table,
                rows=rows,
            )

    def discard(self, table: str) -> None:
        """Delete an intermediate table that is no longer needed."""
        self.warehouse.drop(table)
        self.writes.pop(table, None)

    def progress(self) -> Progress | None:
        """How far the stage is: as it reports itself, else by the Spark tasks that are done."""
        if self._progress:
            return self._progress()
        return self.run.spark_progress.current(self.progress_total)

    @contextmanager
    def progress_from(self, progress: Callable[[], Progress | None]) -> Iterator[None]:
        """Let the console call `progress` for how far the stage is, while this context is open."""
        self._progress = progress
        try:
            yield
        finally:
            self._progress = None

    def set_progress(self, progress: Progress | None) -> None:
        """Set the progress that the console shows until the next call; None: Spark's own."""
        self._progress = None if progress is None else lambda: progress

    def _inputs_read(self) -> dict[str, Input]:
        return {
            table: Input(commit.stage, commit.output_id) for table, commit in self.inputs.items()
        }

    def _version(self, table: str) -> int | None:
        return self.writes.get(table, self.reads.get(table))


def written_by(*names: str, **others: str) -> dict[str, str]:
    """Return tables with the stages that write them, for `Stage.reads`.

    Of a table that several stages write, the first one is taken, unless the table is given by
    keyword with another: `written_by("latents", density="estimate")`.
    """
    return {name: tables.TABLES[name].stages[0] for name in names} | others
