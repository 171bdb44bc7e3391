"""The job `maintain`: merges small files, and deletes what neither a run nor time travel needs.

No row of any table changes, so every stage stays up to date. See docs/operations.md, "Upkeep of a
warehouse".
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.maintenance import leftovers, old_models, versions
from jobs.maintenance.table_files import TableFiles, kept_up
from jobs.runtime.console import Console
from jobs.settings.model import Settings
from jobs.warehouse import paths, tables
from jobs.warehouse.store import Store, open_store


def check_folder(settings: Settings) -> None:
    """Raise JobError if there is no warehouse: taking its lock would make one."""
    root = settings.warehouse
    if paths.is_mounted(root) and not Path(paths.absolute(root)).is_dir():
        raise JobError(f"--warehouse {root}: there is no such folder; name the one of a pipeline")


def main(spark: SparkSession, settings: Settings) -> None:
    """Warehouse → the same tables in fewer files, without what nothing needs any more."""
    store, console = open_store(spark, settings.warehouse), Console.of(settings)
    dry_run = settings.dry_run
    stored = [name for name in tables.TABLES if store.exists(name)]
    if not stored:
        raise JobError(
            f"--warehouse {settings.warehouse}: there is no table in it; name the folder that a "
            "pipeline wrote"
        )
    console.line(f"  {store.root}")
    for line in versions.remarks(store, stored):
        console.line(f"  {line}", event="remark")
    leftovers.delete_work_tables(store, console, dry_run=dry_run)
    leftovers.delete_tableless(store, console, dry_run=dry_run)
    leftovers.delete_temporary(store, console, dry_run=dry_run)
    old_models.delete(store, console, dry_run=dry_run)
    keep_up_tables(store, console, dry_run=dry_run)
    if dry_run:
        console.line("  nothing was done (--dry-run)")


def keep_up_tables(store: Store, console: Console, *, dry_run: bool) -> None:
    """Merge and delete the files of each table, and print their numbers before and after."""
    console.line(f"  {'table':<14}{'files in use':>17}{'files stored':>19}{'stored':>26}")
    total = TableFiles.none()
    for name in (name for name in tables.TABLES if store.exists(name)):
        files = kept_up(store, console, name, dry_run=dry_run)
        console.line(f"  {name:<14}{files}", event="table", table=name, **files.fields())
        total += files
    console.line(f"  {'all':<14}{total}", event="total", **total.fields())
