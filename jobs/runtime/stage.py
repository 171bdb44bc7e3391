"""A stage: one step from tables to tables, declared once, and what it gets while it runs.

A stage's file ends in `STAGE = Stage(…)`; `jobs/pipeline.py` lists all of them in order. From these
declarations follow the order of a pipeline, the job list, what `--overwrite` takes, which stage has
to run first, what a dry run says, and what the report tells of tables that were never asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.errors import JobError
from jobs.runtime.console import Console
from jobs.runtime.progress import Progress, SparkProgress
from jobs.runtime.run_log import RunLog
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store, open_store

Made = TypeVar("Made")
UNFINISHED = "unfinished"  # the fingerprint of a commit that is to be followed by another


class RunContext:
    """What every stage of a run may ask: the settings, the warehouse, Spark, the console."""

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

    def once(self, make: Callable[[RunContext], Made]) -> Made:
        """The answer of `make(run)`, which is asked only once in a run."""
        if make not in self._once:
            self._once[make] = make(self)
        return cast(Made, self._once[make])


@dataclass(frozen=True)
class Details:
    """A part of `depends` that is long: its hash goes into the fingerprint, itself is recorded."""

    content: Any


def _reads_nothing(run: RunContext) -> Mapping[str, str]:
    return {}


def _depends_on_nothing(run: RunContext) -> Any:
    return None


def _always(settings: Settings) -> bool:
    return True


def _no_model(run: RunContext) -> str | None:
    return None


def _says_nothing(stage_run: StageRun) -> None:
    return None


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    name: also the job's name on the command line.
    main: does the work. It is called only where an output is not up to date.
    reads: the input tables, each with the stage that wrote what is wanted (`tables.written_by`).
    writes: the output tables.
    depends: JSON of all settings and other inputs that decide the outputs. It is hashed for the
        fingerprint, and recorded in the table `runs` so that a dry run can say what differs.
    version: raised when the outputs of the same inputs change.
    enabled: whether a pipeline with these settings runs it.
    to_enable: flags that ask for it, as an example; refusal: why it cannot run without them.
    is_current: whether an output that is no table is of a fingerprint; it decides alone.
    model_id: the model that it uses, for the table `runs`; it may raise JobError.
    afterwards: said at the end, also where nothing had to be done.
    imports: modules that take long to import, loaded while Spark starts.
    """

    name: str
    main: Callable[[StageRun], None]
    reads: Callable[[RunContext], Mapping[str, str]] = _reads_nothing
    writes: tuple[str, ...] | Callable[[RunContext], tuple[str, ...]] = ()
    depends: Callable[[RunContext], Any] = _depends_on_nothing
    version: int = 1
    enabled: Callable[[Settings], bool] = _always
    to_enable: str = ""
    refusal: str = ""
    is_current: Callable[[RunContext, str], bool] | None = None
    model_id: Callable[[RunContext], str | None] = _no_model
    afterwards: Callable[[StageRun], None] = _says_nothing
    imports: tuple[str, ...] = ()

    def outputs(self, run: RunContext) -> tuple[str, ...]:
        """The tables that it writes in this run."""
        return self.writes(run) if callable(self.writes) else self.writes

    def fingerprint(self, depends: Any, input_ids: Mapping[str, str]) -> str:
        """The hash of all that decides its outputs; input_ids: `output_id` of each input table."""
        return fingerprint(
            {
                "stage": self.name,
                "version": self.version,
                "on": hashed(depends),
                "inputs": input_ids,
            }
        )


def hashed(depends: Any) -> Any:
    """`depends` as it goes into the fingerprint: details by their hash."""
    return _replaced(depends, lambda details: fingerprint(details.content))


def recorded(depends: Any) -> Any:
    """`depends` as it is recorded: details as they are."""
    return _replaced(depends, lambda details: details.content)


def _replaced(value: Any, replace: Callable[[Details], Any]) -> Any:
    if isinstance(value, Details):
        return replace(value)
    if isinstance(value, Mapping):
        return {key: _replaced(part, replace) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(part, replace) for part in value]
    return value


def check_consistent(reads: Mapping[str, str], fingerprints: Mapping[str, str]) -> None:
    """Raise JobError where tables that one stage wrote are of two runs of it: it died between."""
    for writer in dict.fromkeys(reads.values()):
        written = [table for table, stage in reads.items() if stage == writer]
        if len({fingerprints[table] for table in written}) > 1:
            raise JobError(
                f"{writer} ended between the tables {', '.join(written)}: run ./spark-submit.sh "
                f"{writer} again first (or pipeline, which does all)"
            )


@dataclass
class StageRun:
    """One stage being run: the one door to its tables, at versions pinned when it started."""

    run: RunContext
    stage: Stage
    fingerprint: str
    depends: Any
    inputs: Mapping[str, CommitInfo]  # the commits that the input tables were finished by
    reads: Mapping[str, int]  # the pinned versions of the input tables
    outputs: tuple[str, ...]
    pending: list[str]  # outputs that are not up to date
    started: datetime
    writes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    model_id: str | None = None
    summary: str = ""
    images: int | None = None  # that its longest step goes through, for the console
    _progress: Callable[[], Progress | None] | None = None

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
        """The session of the run."""
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
    def finished(self) -> bool:
        """Whether every output is up to date."""
        return not self.pending

    def read(self, table: str) -> DataFrame:
        """An input table at the version pinned when the stage started, or one written by it."""
        return self.warehouse.read(table, self._version(table))

    def snapshot(self, table: str) -> ParquetSnapshot | None:
        """The pinned version of an input as Parquet row groups that tasks read directly.

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
        """An input table's rows through `rows(batches, schema)`, which yields batches of `schema`.

        Tasks read the files directly where they can, else Spark does. tasks: at most so many; None:
        as many as suit. constants: further columns, each of one value.
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
        """The answer of a query on an input table at its pinned version, without a Spark job."""
        return self.warehouse.query(table, sql, self._version(table))

    def count(self, table: str, where: str = "true") -> int:
        """Rows of an input table, or of one written by this stage, that a predicate holds for."""
        (row,) = self.query(table, f"SELECT count(*) AS images FROM rows WHERE {where}")
        return int(row["images"])

    def previous(self, table: str) -> DataFrame | None:
        """An output as an earlier run left it; None where there is none.

        Its version is pinned, so that what this run writes is not part of it.
        """
        if not self.warehouse.exists(table):
            return None
        return self.warehouse.read(table, self.warehouse.version(table))

    def previous_commit(self, table: str) -> CommitInfo | None:
        """The newest commit of this stage to an output; None where there is none."""
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
        """Write an output in one commit; finished=False: a step on the way, done again if it dies.

        metadata: what else the commit records, as JSON.
        """
        mark = self.fingerprint if finished else UNFINISHED
        commit = CommitInfo(self.run.run_id, self.name, mark, metadata or {})
        version = self.warehouse.write(frame, table, commit, append=append, where=where)
        self.writes[table] = version

    def discard(self, table: str) -> None:
        """Delete a work table that is no longer needed."""
        self.warehouse.drop(table)
        self.writes.pop(table, None)

    def progress(self) -> Progress | None:
        """How far the stage is: what it says itself, else how many of Spark's tasks are done."""
        return self._progress() if self._progress else self.run.spark_progress.current(self.images)

    @contextmanager
    def progress_from(self, progress: Callable[[], Progress | None]) -> Iterator[None]:
        """While this is open, the console asks `progress` how far the stage is."""
        self._progress = progress
        try:
            yield
        finally:
            self._progress = None

    def set_progress(self, progress: Progress | None) -> None:
        """The console shows this until it is told something newer; None: Spark's tasks again."""
        self._progress = None if progress is None else lambda: progress

    def _version(self, table: str) -> int | None:
        return self.writes.get(table, self.reads.get(table))


def written_by(*names: str, **others: str) -> dict[str, str]:
    """For `Stage.reads`: tables with the stages that write them.

    A table that several stages write is wanted as the first of them leaves it, unless it is given
    by keyword with another: `written_by("latents", density="estimate")`.
    """
    return {name: tables.TABLES[name].stages[0] for name in names} | others
