"""The job as a command, and the versions that it names in `runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs import main as command
from jobs.errors import JobError
from jobs.maintenance import maintain
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.lock import lock
from jobs.warehouse.store import open_store
from tests.support.folders import ROOT
from tests.support.session import settings_for


@pytest.mark.spark
def test_it_waits_for_no_other_run_and_makes_no_warehouse(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--settings", str(ROOT / "conf/local.toml"), "--warehouse"]
    assert command.main(["maintain", *arguments, str(tmp_path / "none")]) == 1
    assert "there is no such folder" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    with lock(str(tmp_path)):
        assert command.main(["maintain", *arguments, str(tmp_path)]) == 1
    assert "is in use by process" in capsys.readouterr().out
    with pytest.raises(JobError, match="there is no table in it"):
        maintain.main(spark, settings_for(tmp_path, tmp_path))


@pytest.mark.spark
def test_runs_name_merged_versions_but_not_those_of_a_run_that_was_killed(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(spark, str(tmp_path))
    for table in ("anomalies", "sublabels"):
        for number in range(2):
            row: dict[str, Any] = {"image_id": f"{number}", "label": "a"}
            commit = CommitInfo("one", "modes", "mark")
            store.write(tables.rows(table, [row]), table, commit, append=True)
    run: dict[str, Any] = {
        "run_id": "one",
        "stage": "modes",
        "state": "done",
        "started": datetime.now(UTC),
    }
    run |= {"versions_written": {"anomalies": 1, "sublabels": 0}}  # the run died after sublabels 1
    store.write(tables.rows("runs", [run]), "runs", CommitInfo("one", "runs", ""))
    maintain.main(spark, settings_for(tmp_path, tmp_path))
    store = open_store(spark, str(tmp_path))
    (row,) = store.query("runs", "SELECT * FROM rows WHERE stage = 'maintain'")
    assert (row["state"], dict(row["versions_written"])) == ("done", {"anomalies": 2})
    maintain.main(spark, settings_for(tmp_path, tmp_path))
    assert store.count("runs", "stage = 'maintain'") == 1  # nothing new to name
