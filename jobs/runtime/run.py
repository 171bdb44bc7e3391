"""One run: the stages of one command on one warehouse, each with a row in the table `runs`."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from jobs.errors import MissingError, SettingsError
from jobs.runtime.stage import (
    UNFINISHED,
    RunContext,
    Stage,
    StageRun,
    check_consistent,
    recorded,
)
from jobs.settings.model import Settings
from jobs.warehouse.commits import CommitInfo

CODE_VERSION = "LATENT_DEDUP_VERSION"  # the git hash, exported by spark-submit.sh


class Run(RunContext):
    """The stages of one command; `job` is what the command was called with."""

    def __init__(
        self,
        spark: SparkSession,
        settings: Settings,
        job: str,
        stages: tuple[Stage, ...] = (),
    ) -> None:
        super().__init__(spark, settings, stages)
        self.job = job
        self.seconds: dict[str, float] = {}  # of each stage that was looked at
        self._last: dict[str, tuple[str, dict[str, int]]] = {}

    def execute(self, stage: Stage) -> StageRun:
        """Run a stage where an output is not up to date; record it, and say so on the console.

        Raises SettingsError where the settings do not ask for the stage.
        """
        if stage.refusal and not stage.enabled(self.settings):
            raise SettingsError(f"{stage.name}: {stage.refusal}")
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
        """A stage with pinned inputs, and which of its outputs are pending. Nothing is done yet.

        Raises MissingError where an input was never written, JobError where inputs of one stage are
        of different runs of it.
        """
        depends = stage.depends(self)
        reads = stage.reads(self)
        inputs = {table: self.input(table, writer, stage) for table, writer in reads.items()}
        check_consistent(reads, {table: commit.fingerprint for table, commit in inputs.items()})
        mark = stage.fingerprint(
            depends, {table: commit.output_id for table, commit in inputs.items()}
        )
        outputs = stage.outputs(self)
        stage_run = StageRun(
            self,
            stage,
            mark,
            depends,
            inputs,
            {table: self.warehouse.version(table) for table in inputs},
            outputs,
            self.pending(stage, outputs, mark),
            datetime.now(UTC),
        )
        stage_run.model_id = stage.model_id(self)
        return stage_run

    def input(self, table: str, writer: str, reader: Stage) -> CommitInfo:
        """The commit by which a stage finished a table; raises MissingError where it never did."""
        commit = self.warehouse.newest(table, writer)
        if commit is None or commit.fingerprint == UNFINISHED:
            raise MissingError(
                f"{reader.name} reads the table {table}, which {self.warehouse.root} does not have "
                f"yet: run ./spark-submit.sh {writer} first (or pipeline, which does all)"
            )
        return commit

    def pending(self, stage: Stage, outputs: tuple[str, ...], mark: str) -> list[str]:
        """The outputs of a stage that do not carry its fingerprint."""
        if stage.name in self.settings.overwrite:
            return list(outputs) or ["output"]
        if stage.is_current is not None:
            return [] if stage.is_current(self, mark) else ["output"]
        return [table for table in outputs if not self._carries(table, stage.name, mark)]

    def close_stale(self) -> None:
        """Turn `started` rows of runs that died into `failed` ones; note what runs recorded."""
        self.run_log.close_stale()
        self._last = self.run_log.last()

    def close(self) -> None:
        """Wait until all rows of `runs` are written."""
        self.run_log.close()

    def results(self) -> dict[str, str]:
        """Where the results of this command lie, by name."""
        paths = {}
        if "report" in self.seconds:
            paths["report"] = f"{self.warehouse.root}/report/report.html"
        if "publish" in self.seconds:
            paths["curated"] = self.warehouse.path("curated")
        return paths

    def _perform(self, stage_run: StageRun, clock: float) -> None:
        """Do a stage, with a row in `runs` when it starts and when it ends."""
        name = stage_run.stage.name
        self._record(stage_run, "started")
        self.console.begin(name)
        try:
            with self.console.watching(name, stage_run.progress):
                stage_run.stage.main(stage_run)
        except BaseException as failure:
            self.console.broken(name, time.monotonic() - clock)
            self._record_failed(stage_run, failure)
            raise
        stage_run.writes = self._versions(stage_run) | stage_run.writes
        self._record(stage_run, "done")
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

    def _carries(self, table: str, stage: str, mark: str) -> bool:
        commit = self.warehouse.newest(table, stage)
        return commit is not None and commit.fingerprint == mark

    def _record_skipped(self, stage_run: StageRun) -> None:
        """Record that there was nothing to do.

        An earlier run of the stage may have died after its last commit, before it was recorded. Its
        outputs are recorded as done now, since readers look the versions up there.
        """
        versions = self._versions(stage_run)
        state, last = self._last.get(stage_run.stage.name, ("", {}))
        if state != "done" or any(last.get(table, -1) < at for table, at in versions.items()):
            stage_run.writes = versions
            self._record(stage_run, "done")
        else:
            self._record(stage_run, "skipped")

    def _versions(self, stage_run: StageRun) -> dict[str, int]:
        """The version at which the stage last wrote each of its outputs, in this run or before."""
        commits = {
            table: self.warehouse.newest(table, stage_run.stage.name) for table in stage_run.outputs
        }
        return {table: commit.version for table, commit in commits.items() if commit}

    def _record_failed(self, stage_run: StageRun, failure: BaseException) -> None:
        """Record a failure as well as the failure allows; the caller raises it again."""
        try:
            self._record(stage_run, "failed", f"{type(failure).__name__}: {failure}"[:2000])
            self.run_log.settle()
        except Exception as second:
            self.console.warn(f"the failure could not be recorded in runs: {second}")

    def _record(self, stage_run: StageRun, state: str, message: str = "") -> None:
        """Write the stage's row; `done` and `failed` replace `started`."""
        self.run_log.record(
            {
                "run_id": self.run_id,
                "stage": stage_run.stage.name,
                "state": state,
                "started": stage_run.started,
                "finished": None if state == "started" else datetime.now(UTC),
                "settings": json.dumps(self.settings.sections(), sort_keys=True),
                "depends": json.dumps(recorded(stage_run.depends), sort_keys=True),
                "code_version": os.environ.get(CODE_VERSION, "unknown"),
                "model_id": stage_run.model_id,
                "message": message,
                "versions_read": dict(stage_run.reads),
                "versions_written": dict(stage_run.writes),
                "row_counts": dict(stage_run.rows),
            }
        )


def _rows(count: int | None) -> str:
    return "" if count is None else f" ({count:,} rows)"
