"""Run the stages of one command on one warehouse, each with a row in the table `runs`.

`main` makes one `Run` for a command and calls `execute` for each stage; a dry run calls `pending`
and `input` alone. A stage is skipped if its outputs carry the fingerprint that they would get now.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from jobs.errors import JobError, MissingError, SettingsError
from jobs.runtime import session
from jobs.runtime.run_log import LastRow
from jobs.runtime.stage import (
    RunContext,
    Stage,
    StageRun,
    check_consistent,
    recorded,
)
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.warehouse import tables
from jobs.warehouse.base_store import MISSING
from jobs.warehouse.commits import LOST, UNFINISHED, Change, CommitInfo
from jobs.warehouse.store import Store

CODE_VERSION = "LATENT_DEDUP_VERSION"  # the git hash, exported by spark-submit.sh


class Run(RunContext):
    """The stages of one command.

    job: the job that the command names. seconds: what each stage took that was executed or skipped.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        job: str,
        stages: tuple[Stage, ...] = (),
    ) -> None:
        super().__init__(spark, settings, stages)
        self.job = job
        self.seconds: dict[str, float] = {}
        self._last: dict[str, LastRow] = {}

    def execute(self, stage: Stage) -> StageRun:
        """Run a stage if an output is not up to date, record it and report it on the console.

        Raises SettingsError if the stage cannot run with these settings.
        """
        stage.check_enabled(self.settings)
        stage.before(self)
        clock = time.monotonic()
        stage_run = self.open(stage)
        if stage_run.finished:
            self._record_skipped(stage_run)
            self.seconds[stage.name] = time.monotonic() - clock
            self.console.stage(stage.name, "up to date", None, "skipped")
        else:
            self._warn_of_changes(stage_run)
            self._perform(stage_run, clock)
        stage.afterwards(stage_run)
        return stage_run

    def open(self, stage: Stage) -> StageRun:
        """Pin the inputs of a stage and find its pending outputs, without running the stage.

        Raises MissingError if an input was never written, and JobError if two inputs that one stage
        wrote come from different runs of it.
        """
        depends = stage.depends(self)
        reads, outputs = stage.reads(self), stage.outputs(self)
        for table in (*reads, *outputs):
            self.warehouse.refresh(table)
        inputs = {table: self.input(table, writer, stage) for table, writer in reads.items()}
        check_consistent(reads, {table: commit.fingerprint for table, commit in inputs.items()})
        output_ids = {table: commit.output_id for table, commit in inputs.items()}
        fingerprint = stage.fingerprint(depends, output_ids)
        stage_run = StageRun(
            self,
            stage,
            fingerprint,
            depends,
            inputs,
            {table: self.warehouse.version(table) for table in inputs},
            outputs,
            self.pending(stage, outputs, fingerprint),
            datetime.now(UTC),
        )
        stage_run.model_id = stage.model_id(self)
        return stage_run

    def input(self, table: str, writer: str, reader: Stage) -> CommitInfo:
        """Return the commit by which the stage `writer` finished a table that `reader` reads.

        Raises MissingError if there is none, JobError if nothing tells of it any more.
        """
        commit = self.warehouse.newest(table, writer)
        if commit is None and self.warehouse.is_cleaned_up(table):
            raise JobError(
                f"{reader.name} reads the table {self.warehouse.path(table)}, but its log was "
                f"cleaned up, and neither it nor the table runs tells what {writer} finished it "
                f"with: run ./spark-submit.sh {writer} again (or pipeline, which does all)"
            )
        if commit is None or commit.fingerprint == UNFINISHED:
            raise MissingError(
                f"{reader.name} reads the table {table}, which {self.warehouse.root} does not have "
                f"yet: run ./spark-submit.sh {writer} first (or pipeline, which does all)"
            )
        return commit

    def pending(self, stage: Stage, outputs: tuple[str, ...], fingerprint: str) -> list[str]:
        """Return the outputs of a stage that do not carry this fingerprint.

        An output that is no table is called "output".
        """
        if stage.name in self.settings.overwrite or stage.disturbed_by(self):
            return list(outputs) or ["output"]
        if stage.is_current is not None:
            return [] if stage.is_current(self, fingerprint) else ["output"]
        return [table for table in outputs if not self._carries(table, stage.name, fingerprint)]

    def lease(self) -> AbstractContextManager[None]:
        """Hold the warehouse alone, if it is none that was locked before Spark started."""
        return self.warehouse.lease(self.run_id, self.console.warn)

    def close_stale(self) -> None:
        """Turn `started` rows of runs that died into `failed` ones, and read each stage's last row.

        To be called once, under the lock, before any stage is executed.
        """
        self.run_log.close_stale()
        self._last = self.run_log.last()

    def close(self) -> None:
        """Wait until all rows of `runs` are written. To be called last, also after an error."""
        self.run_log.close()

    def results(self) -> dict[str, str]:
        """The paths of this command's results, by name: `report` and `curated`."""
        paths = {}
        if "report" in self.seconds:
            paths["report"] = self.report_path
        if "publish" in self.seconds:
            paths["curated"] = self.warehouse.path("curated")
        return paths

    def _perform(self, stage_run: StageRun, clock: float) -> None:
        """Do the work of a stage; write its row in `runs` when it starts and when it ends."""
        name = stage_run.stage.name
        self.record(stage_run, "started")
        self.console.begin(name)
        try:
            session.plan_for(self.spark, self._image_count())
            with self.console.watching(name, stage_run.progress):
                stage_run.stage.main(stage_run)
        except BaseException as failure:
            self.console.broken(name, time.monotonic() - clock)
            reason = self._reason(stage_run, failure)
            self._record_failed(stage_run, reason)
            if reason is failure:
                raise
            raise reason from failure
        stage_run.writes = self._versions(stage_run) | stage_run.writes
        self.record(stage_run, "done")
        self.seconds[name] = time.monotonic() - clock
        self.console.stage(
            name,
            stage_run.summary,
            self.seconds[name],
            reads=dict(stage_run.reads),
            writes=stage_run.writes,
            rows=stage_run.rows,
        )
        self._log_details(stage_run)

    def _image_count(self) -> int | None:
        """The rows of `images` by its log; None if there is none, or it does not tell."""
        size = self.warehouse.size("images") if self.warehouse.exists("images") else None
        return None if size is None else size[0]

    def _reason(self, stage_run: StageRun, failure: BaseException) -> BaseException:
        """Return the error to report: damaged files of a table explain whatever comes of them."""
        if not isinstance(failure, Exception) or isinstance(failure, JobError):
            return failure
        return damaged_data(self.warehouse, stage_run.reads) or failure

    def _log_details(self, stage_run: StageRun) -> None:
        """With --verbose, log the versions and row counts that the stage read and wrote."""
        if not self.console.shows("detail"):
            return
        for word, versions in (("read", stage_run.reads), ("wrote", stage_run.writes)):
            counted = {
                table: size[0] if (size := self.warehouse.size(table, version)) else None
                for table, version in versions.items()
            }
            named = ", ".join(
                f"{table} version {version}{_rows(counted[table])}"
                for table, version in versions.items()
            )
            if named:
                self.console.detail(f"    {word} {named}", stage=stage_run.stage.name, rows=counted)

    def _warn_of_changes(self, stage_run: StageRun) -> None:
        """Say what others changed in the inputs since the stage read them last."""
        read = self._last.get(stage_run.stage.name, LastRow()).read
        new = {
            table: [change for change in commit.changes if change.version > read.get(table, -1)]
            for table, commit in stage_run.inputs.items()
        }
        for table, changes in {**new, **stage_run.stage.disturbed_by(self)}.items():
            if changes:
                self.console.warn(f"{stage_run.name}: {changed_by_others(table, changes)}")

    def _carries(self, table: str, stage: str, fingerprint: str) -> bool:
        commit = self.warehouse.newest(table, stage)
        if commit is None or any(change.operation == LOST for change in commit.changes):
            return False  # among what the log has lost may be a commit of ours that is unfinished
        return commit.fingerprint == fingerprint

    def _record_skipped(self, stage_run: StageRun) -> None:
        """Record that there was nothing to do.

        An earlier run of the stage may have died between its last commit and its row in `runs`. Its
        outputs are then recorded as done now, because readers outside the project take consistent
        versions from `runs`.
        """
        versions = self._versions(stage_run)
        last = self._last.get(stage_run.stage.name, LastRow())
        if last.state != "done" or any(
            last.written.get(table, -1) < at for table, at in versions.items()
        ):
            stage_run.writes = versions
            self.record(stage_run, "done")
        else:
            self.record(stage_run, "skipped")

    def _versions(self, stage_run: StageRun) -> dict[str, int]:
        """The version that the stage last wrote of each of its outputs, in this run or before."""
        commits = {
            table: self.warehouse.newest(table, stage_run.stage.name) for table in stage_run.outputs
        }
        return {table: commit.version for table, commit in commits.items() if commit}

    def _record_failed(self, stage_run: StageRun, failure: BaseException) -> None:
        """Record a failure. If that fails too, warn only, since the caller raises the first one."""
        try:
            self.record(stage_run, "failed", f"{type(failure).__name__}: {failure}"[:2000])
            self.run_log.settle()
        except Exception as second:
            self.console.warn(f"the failure could not be recorded in runs: {second}")

    def record(self, stage_run: StageRun, state: str, message: str = "") -> None:
        """Write the stage's row, without credentials; `done` and `failed` replace `started`."""
        self.run_log.record(
            {
                "run_id": self.run_id,
                "stage": stage_run.stage.name,
                "state": state,
                "started": stage_run.started,
                "finished": None if state == "started" else datetime.now(UTC),
                "settings": json.dumps(redacted(self.settings.sections()), sort_keys=True),
                "depends": json.dumps(redacted(recorded(stage_run.depends)), sort_keys=True),
                "code_version": os.environ.get(CODE_VERSION, "unknown"),
                "model_id": stage_run.model_id,
                "message": redacted(message),
                "versions_read": dict(stage_run.reads),
                "versions_written": dict(stage_run.writes),
                "row_counts": dict(stage_run.rows),
                "commits": self._commits(stage_run) if state != "started" else None,
            }
        )

    def _commits(self, stage_run: StageRun) -> str | None:
        """Our newest commits of what the stage writes, for when the logs are cleaned up."""
        stored = [table for table in stage_run.outputs if self.warehouse.exists(table)]
        commits = {table: self.warehouse.record(table) for table in stored}
        return json.dumps(commits, sort_keys=True) if commits else None


@contextmanager
def blaming_damage(warehouse: Store) -> Iterator[None]:
    """Turn what the body raises into the error that names damaged files, if there are any."""
    try:
        yield
    except (JobError, SettingsError):
        raise
    except Exception as failure:
        reason = damaged_data(warehouse, {})
        if reason is None:
            raise
        raise reason from failure


def damaged_data(warehouse: Store, reads: Mapping[str, int]) -> JobError | None:
    """Return the error for tables whose files are missing or damaged, if there are any.

    reads: the versions that are read, by table.
    """
    try:
        for table in filter(warehouse.exists, tables.TABLES):
            damaged = warehouse.damaged_files(table)
            if damaged:
                where = f"{warehouse.path(table)} (version {warehouse.version(table)})"
                return JobError(_damage(where, damaged, _repair(table, warehouse)))
        for table, version in reads.items():
            damaged = warehouse.damaged_files(table, version)
            if damaged:
                where = f"{warehouse.path(table)} at version {version}, which this run reads"
                again = "run the same command again: the newest version has all of its files"
                return JobError(_damage(where, damaged, again))
    except JobError as damaged_log:
        return damaged_log
    except Exception:  # the warehouse cannot be reached: the first error tells more
        return None
    return None


def _damage(where: str, damaged: Mapping[str, str], advice: str) -> str:
    """Say what is wrong with the first of a table's damaged files, and what to do."""
    name, damage = next(iter(damaged.items()))
    more = f" (and {len(damaged) - 1:,} more are damaged)" if len(damaged) > 1 else ""
    if damage == MISSING:
        cause = "somebody deleted it, for example by a VACUUM with a short retention"
    else:
        cause = "as after a crash of the machine, or a copy of the warehouse that was interrupted"
    return f"the table {where}: its file {name} {damage}{more}: {cause}; {advice}"


def _repair(table: str, warehouse: Store) -> str:
    """Say how a table is made again of which files are missing."""
    stages = tables.TABLES[table].stages
    backup = "put it back from a backup; without one"
    if not stages:
        return f"{backup} delete the folder {warehouse.path(table)}: it only says what runs did"
    again = f"run ./spark-submit.sh {stages[0]} --overwrite {stages[0]}, then pipeline"
    if len(stages) > 1:  # their rows are replaced by a condition, which reads the files
        return f"{backup} delete the folder {warehouse.path(table)} and {again}"
    return f"{backup} {again}"


def changed_by_others(table: str, changes: Sequence[Change]) -> str:
    """Say what others did to a table, the newest first."""
    return f"others changed the table {table}: {', '.join(map(str, changes))}"


def _rows(count: int | None) -> str:
    return "" if count is None else f" ({count:,} rows)"
