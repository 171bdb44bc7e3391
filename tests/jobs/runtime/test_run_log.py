"""The table `runs`: one row a stage and run, whatever is recorded of it meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs.runtime.run_log import LastRow, RunLog
from jobs.warehouse import tables
from jobs.warehouse.store import open_store


def row(run_id: str, stage: str, state: str, minute: int, **more: Any) -> dict[str, Any]:
    names = tables.TABLES["runs"].schema.names
    known = {"run_id": run_id, "stage": stage, "state": state} | more
    known["started"] = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    return dict.fromkeys(names) | known


def test_a_stage_has_one_row_and_the_last_outcome_counts(
    spark: SparkSession, tmp_path: Path
) -> None:
    warehouse = open_store(spark, str(tmp_path))
    for run_id, minute in (("first", 0), ("second", 30)):
        log = RunLog(warehouse, run_id)
        log.record(row(run_id, "train", "started", minute))
        log.record(row(run_id, "encode", "started", minute + 1))
        written = {"latents": minute} if run_id == "first" else None
        state = "done" if run_id == "first" else "skipped"
        log.record(row(run_id, "encode", state, minute + 1, versions_written=written))
        log.record(row(run_id, "train", "failed", minute))
        log.close()
    rows = open_store(spark, str(tmp_path)).read("runs").collect()
    assert sorted((row.run_id, row.stage, row.state) for row in rows) == [
        ("first", "encode", "done"),
        ("first", "train", "failed"),
        ("second", "encode", "skipped"),
        ("second", "train", "failed"),
    ]
    log = RunLog(warehouse, "third")
    assert log.last() == {"train": LastRow("failed"), "encode": LastRow("done", {"latents": 0})}
    log.close()


def test_what_is_recorded_during_a_commit_makes_one_further_commit(
    spark: SparkSession, tmp_path: Path
) -> None:
    log = RunLog(open_store(spark, str(tmp_path)), "run")
    commit_ends = threading.Event()
    log._thread.submit(commit_ends.wait)
    log.record(row("run", "ingest", "started", 0))
    log.record(row("run", "ingest", "done", 0))
    log.record(row("run", "encode", "started", 1))
    commit_ends.set()
    log.settle()
    log.record(row("run", "encode", "done", 1))
    log.record(row("run", "prune", "started", 2))
    log.close()
    warehouse = open_store(spark, str(tmp_path))
    states = {row["stage"]: row["state"] for row in warehouse.query("runs")}
    assert states == {"ingest": "done", "encode": "done", "prune": "started"}
    assert 2 <= len(warehouse.commits("runs")) <= 3
