"""Run the stages of one command on one warehouse, each with a row in the table `runs`.

`main` makes one `Run` for a command and calls `execute` for each stage; a dry run calls `pending`
and `input` alone. A stage is skipped if its outputs carry the fingerprint that they would get now.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from jobs.errors import MissingError
from jobs.runtime.stage import (
    RunContext,
    Stage,
    StageRun,
    check_consistent,
    recorded,
)
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.warehouse.commits import UNFINISHED, CommitInfo

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
        self._last: dict[str, tuple[str, dict[str, int]]] = {}

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
            self._perform(stage_run, clock)
        stage.afterwards(stage_run)
        return stage_run

    def open(self, stage: Stage) -> StageRun:
        """Pin the inputs of a stage and find its pending outputs, without running the stage.

        Raises MissingError if an input was never written, and JobError if two inputs that one stage
        wrote come from different runs of it.
        """
        depends = stage.depends(self)
        reads = stage.reads(self)
        inputs = {table: self.input(table, writer, stage) for table, writer in reads.items()}
        check_consistent(reads, {table: commit.fingerprint for table, commit in inputs.items()})
        output_ids = {table: commit.output_id for table, commit in inputs.items()}
        fingerprint = stage.fingerprint(depends, output_ids)
        outputs = stage.outputs(self)
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

        Raises MissingError if there is none.
        """
        commit = self.warehouse.newest(table, writer)
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
        if stage.name in self.settings.overwrite:
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
            with self.console.watching(name, stage_run.progress):
                stage_run.stage.main(stage_run)
        except BaseException as failure:
            self.console.broken(name, time.monotonic() - clock)
            self._record_failed(stage_run, failure)
            raise
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

    def _carries(self, table: str, stage: str, fingerprint: str) -> bool:
        commit = self.warehouse.newest(table, stage)
        return commit is not None and commit.fingerprint == fingerprint

    def _record_skipped(self, stage_run: StageRun) -> None:
        """Record that there was nothing to do.

        An earlier run of the stage may have died between its last commit and its row in `runs`. Its
        outputs are then recorded as done now, because readers outside the project take consistent
        versions from `runs`.
        """
        versions = self._versions(stage_run)
        state, last = self._last.get(stage_run.stage.name, ("", {}))
        if state != "done" or any(last.get(table, -1) < at for table, at in versions.items()):
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
            }
        )


def _rows(count: int | None) -> str:
    return "" if count is None else f" ({count:,} rows)"
