"""What a run does after others changed, merged, cleaned up or damaged the tables."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from jobs.duplicates import prune, publish
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage
from jobs.warehouse.store import FORCED, open_store
from tests.support.folders import Once
from tests.support.foreign_hands import CHANGES, UPKEEP, clean_up_log
from tests.support.given_latents import GivenLatents, prepared

KINDS = ["local", pytest.param("spark", marks=pytest.mark.whole)]
pytestmark = [pytest.mark.spark, pytest.mark.parametrize("kind", KINDS)]

GONE = "a/0007ü.png"


@pytest.fixture
def given(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    once: Once,
    kind: str,
) -> GivenLatents:
    """A pruned and published warehouse, written by each kind of store."""
    monkeypatch.setenv(FORCED, kind)
    given = GivenLatents(spark, tmp_path / "w", {"a": 20})
    return prepared(given, f"pruned_and_published_{kind}", once, prune.STAGE, publish.STAGE)


def ids(given: GivenLatents, table: str) -> set[str]:
    store = open_store(given.spark, str(given.folder))
    return {row.image_id for row in store.read(table).select("image_id").collect()}


def work(given: GivenLatents, *flags: str) -> dict[str, str]:
    """Run prune and publish as one command does; return what each of them did."""
    run = Run(given.spark, given.settings(*flags), "pipeline")
    run.close_stale()
    try:
        for stage in (prune.STAGE, publish.STAGE):
            run.execute(stage)
    finally:
        run.close()
    rows = open_store(given.spark, str(given.folder)).query("runs")
    return {row["stage"]: row["state"] for row in rows if row["run_id"] == run.run_id}


def table_rows(given: GivenLatents, table: str) -> pa.Table:
    """A row of the table under another id."""
    rows = DeltaTable((given.folder / table).as_uri()).to_pyarrow_table().slice(0, 1)
    at = rows.schema.get_field_index("image_id")
    return rows.set_column(at, "image_id", pa.array(["a/new.png"]))


@pytest.mark.parametrize("engine", ["spark", "rs"])
def test_a_deleted_latent_leaves_what_is_published(
    given: GivenLatents, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = given.folder / "latents"
    if engine == "rs":
        DeltaTable(folder.as_uri()).delete(f"image_id = '{GONE}'")
    else:
        given.spark.sql(f"DELETE FROM delta.`{folder}` WHERE image_id = '{GONE}'")
    capsys.readouterr()
    assert work(given) == {"prune": "done", "publish": "done"}
    said = capsys.readouterr()
    assert re.search(
        r"prune: others changed the table latents: DELETE by .* at version 1", said.out
    )
    assert GONE not in ids(given, "selection") | ids(given, "curated")
    assert work(given) == {"prune": "skipped", "publish": "skipped"}


@pytest.mark.whole
def test_changes_by_others_make_readers_pending_and_upkeep_does_not(given: GivenLatents) -> None:
    """Of rows with the id 001 there are none: an operation on nothing changes nothing."""
    rows, aside = table_rows(given, "latents"), given.folder.with_name("aside")
    shutil.copytree(given.folder, aside)
    for name, hand in (CHANGES | UPKEEP).items():
        if name.endswith("restore"):  # there is no earlier version
            continue
        hand(given.spark, str(given.folder / "latents"), rows)
        changed = name.endswith(("append", "overwrite", "merge"))
        commit = open_store(given.spark, str(given.folder)).newest("latents")
        assert commit is not None
        assert bool(commit.changes) == changed, name
        run = Run(given.spark, given.settings(), "prune")
        assert run.open(prune.STAGE).finished != changed, name
        run.close()
        shutil.rmtree(given.folder)
        shutil.copytree(aside, given.folder)
        forget(given, "latents")


def test_upkeep_by_others_makes_nothing_pending(given: GivenLatents) -> None:
    for table in ("latents", "images", "selection"):
        for hand in UPKEEP.values():
            hand(given.spark, str(given.folder / table), None)
    assert work(given) == {"prune": "skipped", "publish": "skipped"}


def optimise(given: GivenLatents, table: str) -> None:
    UPKEEP["rs_optimize"](given.spark, str(given.folder / table), None)


@pytest.mark.slow
def test_appended_decisions_survive_the_clean_up_of_the_logs(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A month of others' merging, checkpoints and clean-ups."""
    monkeypatch.setenv(FORCED, kind)
    given = GivenLatents(spark, tmp_path, {"a": 30})
    early = sorted(given.images)[::2]
    given.write(early)
    given.prune("prune.mode=append")
    first = given.selection()
    for table in ("latents", "selection", "thresholds", "audit"):
        optimise(given, table)
        for value in "12":
            spark.sql(
                f"ALTER TABLE delta.`{tmp_path}/{table}` SET TBLPROPERTIES ('t.x' = '{value}')"
            )
        clean_up_log(str(tmp_path / table))
        assert open_store(spark, str(tmp_path)).is_cleaned_up(table)
    given.write()
    given.prune("prune.mode=append")
    assert first.items() <= given.selection().items()
    # What `runs` remembers is all that is left; without it nothing is decided anew.
    optimise(given, "selection")
    clean_up_log(str(tmp_path / "selection"))
    shutil.rmtree(tmp_path / "runs")
    both = given.selection()
    with pytest.raises(JobError, match="neither its log nor the table runs tells any more"):
        given.prune("prune.mode=append")
    assert given.selection() == both
    given.prune()
    assert given.selection() == given.defined()


def test_what_a_cleaned_up_table_is_finished_with_is_known(given: GivenLatents) -> None:
    """A run sees that others only merged files; when the log has forgotten it, it is still done."""
    for table in ("selection", "thresholds", "audit", "curated"):
        for _ in range(2):
            spark_sql = f"ALTER TABLE delta.`{given.folder}/{table}` SET TBLPROPERTIES ('t.x'='1')"
            given.spark.sql(spark_sql)
    assert work(given) == {"prune": "skipped", "publish": "skipped"}
    for table in ("selection", "thresholds", "audit", "curated"):
        clean_up_log(str(given.folder / table))
        assert open_store(given.spark, str(given.folder)).is_cleaned_up(table)
    assert work(given) == {"prune": "skipped", "publish": "skipped"}
    shutil.rmtree(given.folder / "runs")
    run = Run(given.spark, given.settings(), "publish")
    with pytest.raises(JobError, match=r"selection, but its log was cleaned up.* run .* prune ag"):
        run.open(publish.STAGE)
    run.close()


def newest_commit(folder: Path) -> Path:
    return max((folder / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("kept", [0, 100])
def test_a_commit_that_was_cut_off_is_named(given: GivenLatents, kept: int) -> None:
    """As a machine that crashed leaves it; what the message says to do helps."""
    given.prune("prune.thresholds=[0.97, 0.9, 0.7]")
    commit = newest_commit(given.folder / "selection")
    commit.write_text(commit.read_text()[:kept])
    given.spark.catalog.clearCache()
    forget(given, "selection")
    with pytest.raises(JobError, match="is empty or cut off") as said:
        given.prune()
    match = re.search(r"\(mv (\S+) (\S+)\)", str(said.value))
    assert match
    assert Path(match[1]) == commit
    Path(match[1]).rename(match[2])
    forget(given, "selection")
    given.prune()
    assert given.selection() == given.defined()


def forget(given: GivenLatents, table: str) -> None:
    """Let Spark read a table's log anew, as another process would."""
    jvm: Any = given.spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(str(given.folder / table))
    jvm.org.apache.spark.sql.delta.DeltaLog.invalidateCache(given.spark._jsparkSession, path)


def lose(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def leave_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def overwrite(given: GivenLatents, stage: Stage) -> None:
    settings = given.settings()
    object.__setattr__(settings, "overwrite", (stage.name,))
    given.run(stage, settings)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lose, "is missing"),
        (cut_off, r"has [\d,]+ of [\d,]+ bytes"),
        (leave_zeros, "does not end as a Parquet file does"),
    ],
)
def test_damaged_files_are_named_and_can_be_made_again(
    given: GivenLatents, kind: str, damage: Callable[[Path], None], told: str
) -> None:
    """Zeros in a file of the right size are looked for where files are cheap to open."""
    if damage is leave_zeros and kind == "spark":
        pytest.skip("what keeps files for Spark keeps check sums of them")
    file = min((given.folder / "selection").glob("*.parquet"))
    damage(file)
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)  # of Hadoop's local files alone
    with pytest.raises(
        JobError,
        match=rf"{given.folder}/selection \(version 0\): its file {file.name} {told}.*"
        "--overwrite prune, then pipeline",
    ):
        given.job(publish.STAGE, "publish.rule=fixed:0.8")
    rows = open_store(given.spark, str(given.folder)).query("runs")
    failed = [row["message"] for row in rows if row["state"] == "failed"]
    assert [file.name in message for message in failed] == [True]
    overwrite(given, prune.STAGE)
    assert given.selection() == given.defined()


def test_files_that_a_vacuum_deletes_during_a_run_are_named(given: GivenLatents) -> None:
    """The pinned version is gone, the newest one is there: the same command goes on."""
    run = Run(given.spark, given.settings("publish.rule=fixed:0.8"), "publish")
    stage_run = run.open(publish.STAGE)
    table = DeltaTable((given.folder / "selection").as_uri())
    table.update(predicate="true", updates={"label": "'a'"})
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(
        JobError,
        match=r"selection at version 0, which this run reads: its file .* is missing.* same",
    ):
        run._perform(stage_run, 0.0)
    run.close()


def test_rows_of_runs_are_text_that_can_be_read(given: GivenLatents) -> None:
    rows = open_store(given.spark, str(given.folder)).query("runs")
    (row,) = (row for row in rows if row["stage"] == "publish")
    recorded = json.loads(row["commits"])
    assert recorded.keys() == {"curated", "changes"}
    assert recorded["curated"]["commits"][0]["stage"] == "publish"
