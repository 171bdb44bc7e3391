"""A warehouse after `maintain`: the same tables, nothing to do, and old versions are there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.maintenance import maintain
from jobs.runtime.run import Run
from jobs.warehouse import tables
from jobs.warehouse.lock import lock
from jobs.warehouse.store import FORCED, Store, open_store
from tests.support.commands import COMMAND_SECONDS, command_line
from tests.support.folders import ROOT
from tests.support.foreign_readers import LAST, READERS
from tests.support.session import Runner, settings_for
from tests.support.tables import WRITTEN, assert_same_tables

pytestmark = [pytest.mark.spark, pytest.mark.whole]

# Each run changes what some stages depend on: their tables are written again.
CHANGES: tuple[tuple[str, ...], ...] = (
    (),
    ("publish.rule=fixed:0.999",),
    ("prune.thresholds=[0.999, 0.97, 0.95]", "publish.rule=fixed:0.95"),
    ("estimate.components=2",),
)


def keep_up(spark: SparkSession, images: Path, warehouse: Path, **more: Any) -> None:
    settings = settings_for(images, warehouse, **more)
    with lock(settings.warehouse):
        maintain.main(spark, settings)


def states(run: Run) -> set[str]:
    rows = run.warehouse.read("runs").where(F.col("run_id") == run.run_id).collect()
    return {row.state for row in rows}


def named(store: Store) -> set[tuple[str, int]]:
    """The tables and versions that runs have written, by `runs`."""
    rows = store.query("runs")
    return {
        (table, version)
        for row in rows
        if row["state"] == "done"
        for table, version in dict(row["versions_written"] or {}).items()
    }


def last_named(store: Store) -> dict[str, int]:
    """The version of each table that the last finished run wrote of it."""
    rows = sorted(store.query("runs"), key=lambda row: row["started"])
    done = [dict(row["versions_written"] or {}) for row in rows if row["state"] == "done"]
    return {table: version for written in done for table, version in written.items()}


def rows_of(store: Store, table: str, version: int) -> list[str]:
    names = sorted(tables.TABLES[table].schema.names)
    return sorted(map(repr, store.read(table, version).select(names).collect()))


def data_files(folder: Path) -> int:
    return len(list(folder.rglob("*.parquet")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "spark"])
def test_runs_and_time_travel_go_on_as_if_nothing_had_been_done(
    spark: SparkSession,
    run_pipeline: Runner,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    monkeypatch.setenv(FORCED, kind)
    warehouse = tmp_path / "warehouse"
    for flags in CHANGES:
        run = run_pipeline(pictures, warehouse, *flags)
    shutil.copytree(warehouse, tmp_path / "before")
    store = run.warehouse
    before = {key: rows_of(store, *key) for key in named(store)}
    used = sum(len(store.data_files(name)) for name in WRITTEN)
    listed = {path: path.stat().st_mtime_ns for path in warehouse.rglob("*") if path.is_file()}
    keep_up(spark, pictures, warehouse, dry_run=True)
    assert listed == {
        path: path.stat().st_mtime_ns
        for path in warehouse.rglob("*")
        if path.is_file() and path.name != ".lock"
    } | {path: at for path, at in listed.items() if path.name == ".lock"}
    keep_up(spark, pictures, warehouse)
    store = open_store(spark, str(warehouse))
    assert sum(len(store.data_files(name)) for name in WRITTEN) < used
    assert {key: rows_of(store, *key) for key in before} == before
    assert_same_tables(spark, tmp_path / "before", warehouse)
    # `runs` names the newest version of each table.
    newest = {name: store.version(name) for name in WRITTEN - {"runs"}}
    assert newest.items() <= last_named(store).items()
    assert states(run_pipeline(pictures, warehouse, *CHANGES[-1])) == {"skipped"}
    # What a change redoes begins from the merged tables.
    changed = run_pipeline(pictures, warehouse, "prune.thresholds=[0.999, 0.97]")
    fresh = run_pipeline(pictures, tmp_path / "before", "prune.thresholds=[0.999, 0.97]")
    assert states(changed) == states(fresh) == {"skipped", "done"}
    assert_same_tables(spark, tmp_path / "before", warehouse)


def test_every_reader_sees_the_same_rows(
    spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    shutil.copytree(finished.warehouse.root, warehouse)
    keep_up(spark, pictures, warehouse)
    child = str(ROOT / "tests/support/foreign_readers.py")
    for reader in READERS:
        target = tmp_path / reader
        target.mkdir()
        arguments = [sys.executable, child, reader, str(warehouse), str(target), *sorted(WRITTEN)]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert (target / LAST).exists(), done.stdout + done.stderr
        for name in WRITTEN - {"runs"}:
            rows = pa.ipc.open_file(pa.OSFile(str(target / f"{name}.arrow"))).read_all()
            read = finished.warehouse.read(name)
            assert rows.num_rows == read.count(), (reader, name)
            if "image_id" in rows.column_names:
                expected = sorted(row.image_id or "" for row in read.select("image_id").collect())
                found = [value or "" for value in rows.column("image_id").to_pylist()]
                assert sorted(found) == expected, (reader, name)


def wait_for_lock(warehouse: Path) -> None:
    """Wait until the processes of a killed run are gone: then nothing holds the lock."""
    end = time.monotonic() + 60
    while True:
        try:
            with lock(str(warehouse)):
                return
        except JobError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_kill_in_the_middle_leaves_a_good_warehouse(
    spark: SparkSession, finished: Run, run_pipeline: Runner, pictures: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    shutil.copytree(finished.warehouse.root, warehouse)
    before = open_store(spark, str(warehouse))
    many = [name for name in tables.TABLES if before.exists(name)]
    many = [name for name in many if len(before.data_files(name)) > 1]
    assert len(many) > 3

    def merged() -> list[str]:
        """The tables that have a new version; files alone may be those of a merge under way."""
        folders = {name: warehouse / name / "_delta_log" for name in many}
        return [
            name
            for name, folder in folders.items()
            if (folder / f"{before.version(name) + 1:020}.json").exists()
        ]

    assert merged() == []
    line, environment = command_line("maintain", "--warehouse", str(warehouse))
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            line,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + COMMAND_SECONDS
    try:
        while not merged():
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    wait_for_lock(warehouse)
    done = merged()
    assert 0 < len(done) < len(many)
    assert_same_tables(spark, Path(finished.warehouse.root), warehouse)
    assert states(run_pipeline(pictures, warehouse)) == {"skipped"}
    keep_up(spark, pictures, warehouse)
    after = open_store(spark, str(warehouse))
    assert all(len(after.data_files(name)) == 1 for name in many if name != "runs")
    assert {name: after.version(name) for name in many if name != "runs"}.items() <= last_named(
        after
    ).items()
    assert_same_tables(spark, Path(finished.warehouse.root), warehouse)
    assert states(run_pipeline(pictures, warehouse)) == {"skipped"}
