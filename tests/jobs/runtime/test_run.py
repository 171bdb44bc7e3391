"""What a run records of itself, and of runs before it that were killed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.report import provenance
from jobs.runtime import session
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage, StageRun
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.support.session import settings_for


def opened(run: Run, name: str) -> StageRun:
    """A stage that has begun, without a look at its inputs."""
    stage = Stage(name, lambda _: None)
    return StageRun(run, stage, "", None, {}, {}, (), ["output"], datetime.now(UTC))


def test_stages_of_killed_runs_are_recorded_as_failed(
    spark: SparkSession, survey: Path, tmp_path: Path
) -> None:
    """All stages that a killed run left as `started`; the report can list them."""
    settings = settings_for(survey, tmp_path)
    for stages in (("ingest", "train"), ("report",)):
        run = Run(spark, settings, "pipeline")
        for stage in stages:
            run.record(opened(run, stage), "started")
        run.close()
    run = Run(spark, settings, "pipeline")
    run.record(opened(run, "encode"), "skipped")
    run.run_log.settle()
    Run(spark, settings, "pipeline").close_stale()
    rows = run.warehouse.read("runs").orderBy("started").collect()
    expected = [("ingest", "failed"), ("train", "failed"), ("report", "failed")]
    assert [(row.stage, row.state) for row in rows] == [*expected, ("encode", "skipped")]
    assert all(row.finished is None and "killed" in row.message for row in rows[:3])
    listed = provenance.stages(provenance.last_runs(run))
    assert [(row["stage"], row["state"]) for row in listed] == expected
    version = run.warehouse.version("runs")
    Run(spark, settings, "pipeline").close_stale()
    assert open_store(spark, str(tmp_path)).version("runs") == version, "nothing was stale"


def test_a_stage_is_planned_for_as_many_images_as_there_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    setting = "spark.sql.codegen.wholeStage"
    seen: list[str | None] = []

    def main(_: StageRun) -> None:
        seen.append(spark.conf.get(setting))

    stage = Stage("generate", main, is_current=lambda *_: False)
    warehouse = open_store(spark, str(tmp_path))
    try:
        for counted in (False, True):
            if counted:
                warehouse.write(tables.rows("images", []), "images", CommitInfo("r", "ingest", "1"))
            run = Run(spark, settings_for(tmp_path, tmp_path), "generate")
            run.execute(stage)
            run.close()
    finally:
        session.plan_for(spark, None)
    assert seen == ["true", "false"]
