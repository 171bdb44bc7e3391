"""The job `maintain`: merges small files, and deletes what neither a run nor time travel needs.

No row of any table changes, so every stage stays up to date. See docs/operations.md, "Upkeep of a
warehouse".
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.errors import JobError
from jobs.maintenance import leftovers, old_models, versions
from jobs.maintenance.table_files import TableFiles, kept_up
from jobs.runtime.console import Console
from jobs.runtime.run import CODE_VERSION, blaming_damage
from jobs.runtime.stage import RunContext
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.warehouse import tables
from jobs.warehouse.store import Store

NAME = "maintain"  # in the column `stage` of `runs`


def main(spark: SparkSession, settings: Settings) -> None:
    """Warehouse → the same tables in fewer files, without what nothing needs any more."""
    run, started = RunContext(spark, settings), datetime.now(UTC)
    store, console = run.warehouse, run.console
    stored = [name for name in tables.TABLES if store.exists(name)]
    if not stored:
        raise JobError(
            f"--warehouse {settings.warehouse}: there is no table in it; name the folder that a "
            "pipeline wrote"
        )
    console.line(f"  {store.root}")
    with blaming_damage(store):
        for line in versions.remarks(store, stored):
            console.line(f"  {line}", event="remark")
        if settings.dry_run:
            keep_up(store, console, dry_run=True)
            console.line("  nothing was done (--dry-run)")
            return
        with store.lease(run.run_id, console.warn):
            keep_up(store, console, dry_run=False)
            record(run, started)


def keep_up(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete what killed runs left, old models and old versions; merge small files."""
    leftovers.delete_work_tables(store, console, dry_run=dry_run)
    leftovers.delete_notes(store, console, dry_run=dry_run)
    leftovers.delete_checkpoints(store, console, dry_run=dry_run)
    leftovers.delete_tableless(store, console, dry_run=dry_run)
    leftovers.delete_temporary(store, console, dry_run=dry_run)
    old_models.delete(store, console, dry_run=dry_run)
    keep_up_tables(store, console, dry_run=dry_run)


def keep_up_tables(store: Store, console: Console, *, dry_run: bool) -> None:
    """Merge and delete the files of each table, and print their numbers before and after."""
    console.line(f"  {'table':<14}{'files in use':>17}{'files stored':>19}{'stored':>26}")
    total = TableFiles.none()
    # A work table's files are cut so that a round reads few of them.
    kept = [name for name in tables.TABLES if name not in (PLACED, ROUNDS) and store.exists(name)]
    for name in kept:
        files = kept_up(store, console, name, dry_run=dry_run)
        console.line(f"  {name:<14}{files}", event="table", table=name, **files.fields())
        total += files
    console.line(f"  {'all':<14}{total}", event="total", **total.fields())


def record(run: RunContext, started: datetime) -> None:
    """Name in `runs` the new versions of the tables that runs wrote.

    Who reads tables at the versions of `runs` gets the merged files then. Of an older version
    Spark's Delta allows no reading once 30 days have passed since its commit.
    """
    newest = newest_versions(run.warehouse)
    if newest:
        run.run_log.record(
            {
                "run_id": run.run_id,
                "stage": NAME,
                "state": "done",
                "started": started,
                "finished": datetime.now(UTC),
                "settings": json.dumps(redacted(run.settings.sections()), sort_keys=True),
                "depends": "null",
                "code_version": os.environ.get(CODE_VERSION, "unknown"),
                "model_id": None,
                "message": "",
                "versions_read": {},
                "versions_written": newest,
                "row_counts": {},
                "commits": None,
            }
        )
    run.run_log.close()


def newest_versions(store: Store) -> dict[str, int]:
    """Return the versions that upkeep made of those that `runs` names, by table.

    A table whose newest version has other rows, of a run that was killed, is left out.
    """
    named: dict[str, int] = {}
    for row in sorted(store.query("runs"), key=lambda row: row["started"]):
        if row["state"] == "done":
            named |= dict(row["versions_written"] or {})
    found = {}
    for table, version in named.items():
        if table in tables.TABLES and store.exists(table):
            newest = store.same_rows(table, version)
            if newest > version:
                found[table] = newest
    return found
