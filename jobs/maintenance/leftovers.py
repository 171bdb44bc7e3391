"""What killed runs left behind: work tables, checkpoints, files without a table, temporary files.

Only names that this software gives are deleted: whatever else lies in the warehouse stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from jobs.autoencoder import models
from jobs.duplicates.export_folder import EXPORT
from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.maintenance.table_files import is_of_delta, readable
from jobs.runtime.console import Console, abbreviated
from jobs.warehouse import tables
from jobs.warehouse.commits import COMMIT
from jobs.warehouse.files import DELETED, NEW, OLD, FileInfo, is_aside
from jobs.warehouse.lease_files import CLOCK
from jobs.warehouse.lease_files import FOLDER as LEASES
from jobs.warehouse.store import Store
from jobs.warehouse.unfinished import FOLDER as UNFINISHED

DAY = 86_400
# A stage that was stopped goes on from its work tables or notes, a training from its checkpoint.
# After so many days nobody waits for that.
RESUMABLE_DAYS = 7
LOG = "_delta_log/"
# Folders that are no tables.
OURS = ("models", models.CHECKPOINTS, "report", "generated_images", EXPORT)
# A commit that Delta's writers had not yet renamed: Spark's and delta-rs'.
UNCOMMITTED = re.compile(r"\..+\.tmp(\.crc)?|_commit_.+\.json\.tmp")
FINISHED = ("_SUCCESS", "_committed_")
CHECKPOINT = re.compile(models.checkpoint_name("([0-9a-f]+)"))
CHECKSUM = re.compile(r"\.(.+)\.crc")


def delete_work_tables(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete the work tables of `prune` that no run will go on from."""
    for table in (PLACED, ROUNDS):
        if not store.exists(table):
            continue
        reason = unneeded(store, table)
        if not reason:
            console.line(
                f"  work table {table}: a prune that was stopped goes on from it; kept for "
                f"{RESUMABLE_DAYS} days"
            )
            continue
        size = sum(file.size for file in store.files.infos(table))
        _say(console, f"work table {table}, {readable(size)} ({reason})", dry_run)
        if not dry_run:
            store.drop(table)


def delete_notes(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete the notes of long writes that were stopped so long ago that nobody goes on."""
    old = time.time() - RESUMABLE_DAYS * DAY
    for table in tables.TABLES:
        files = store.files.infos(f"{UNFINISHED}/{table}")
        if files and all(file.modified < old for file in files):
            _say(console, f"what a stopped run had completed of {table}", dry_run)
            if not dry_run:
                store.files.delete(f"{UNFINISHED}/{table}")


def unneeded(store: Store, table: str) -> str:
    """Return why no run will go on from a work table; "" if one may."""
    commit, done = store.newest(table, "prune"), store.newest("selection", "prune")
    made_for = commit.metadata.get("for") if commit else None
    if commit is None or made_for is None:
        return "no run of this version left it"
    if done is not None and done.fingerprint == made_for:
        return "its prune has finished"
    # One prune writes both tables, and may have been begun long before it was stopped.
    files = [file for name in (PLACED, ROUNDS) for file in store.files.infos(name)]
    days = int((time.time() - max(file.modified for file in files)) // DAY)
    return f"its prune was stopped {days} days ago" if days >= RESUMABLE_DAYS else ""


def delete_checkpoints(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete the checkpoints of `train` that no run will go on from."""
    for file in store.files.infos(models.CHECKPOINTS):
        match = CHECKPOINT.fullmatch(file.name)
        if not match:
            continue
        reason = ""
        if models.find(store, match[1]):
            reason = "its model is stored"
        elif (days := int((time.time() - file.modified) // DAY)) >= RESUMABLE_DAYS:
            reason = f"its training was stopped {days} days ago"
        if not reason:
            console.line(
                f"  checkpoint {match[1][:12]}: a training that was stopped goes on from it; kept "
                f"for {RESUMABLE_DAYS} days"
            )
            continue
        size = readable(file.size)
        _say(console, f"checkpoint {match[1][:12]}, {size} ({reason})", dry_run)
        if not dry_run:
            models.delete_checkpoint(store.files, match[1])


def delete_tableless(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete the files of tables whose first commit never came."""
    for table in tables.TABLES:
        files = store.files.infos(table)
        old = time.time() - DAY  # a writer may be about to make its first commit
        if not files or not all(_of_no_table(file) and file.modified < old for file in files):
            continue
        size = sum(file.size for file in files)
        _say(console, f"{len(files):,} files in {table}, no table, {readable(size)}", dry_run)
        if not dry_run:
            store.files.delete(table)


def _of_no_table(file: FileInfo) -> bool:
    """Return whether a file is what a writer leaves before the first commit.

    A checkpoint is none: the log of a table may have lost its other files. Nor is what Spark writes
    when Parquet files without a log are complete.
    """
    if file.name.rpartition("/")[2].startswith(FINISHED):
        return False
    logged = COMMIT.fullmatch(file.name.rpartition("/")[2]) or "checkpoint" in file.name
    return is_of_delta(file.name) and not logged


def delete_temporary(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete what was set aside under a name with a dot, and commits that were never made."""
    names = temporary(store)
    if names:
        _say(console, f"{len(names):,} temporary files: {abbreviated(names)}", dry_run)
    if not dry_run:
        for name in names:
            store.files.delete(name)


def temporary(store: Store) -> list[str]:
    """Return the names of temporary files and folders, sorted.

    The lock keeps our own runs away; in the folders of tables others may be writing.
    """
    top = store.files.entries()
    asides = {f".{name}{end}" for name in (*OURS, *tables.TABLES) for end in (NEW, OLD, DELETED)}
    names = [name for name in top if name in asides]
    old = time.time() - DAY
    names += [
        file.name
        for file in store.files.infos(LEASES)
        if file.name.startswith(f"{LEASES}/{CLOCK}") and file.modified < old
    ]
    for folder in (name for name in top if not name.startswith(".")):
        files = store.files.infos(folder)
        if folder in tables.TABLES:
            names += _of_writers(files)
        elif folder in OURS:
            names += _aside(files)
    return sorted(set(names))


def _aside(files: Iterable[FileInfo]) -> list[str]:
    """Return the files and folders that are set aside, of which a folder stands for its files."""
    found = []
    for file in files:
        parts = file.name.split("/")
        ends = [end for end in range(2, len(parts) + 1) if is_aside(parts[end - 1])]
        if ends:
            found.append("/".join(parts[: ends[0]]))
    return found


def _of_writers(files: list[FileInfo]) -> list[str]:
    """Return a table's commits that were not made within a day, and checksums of lost files."""
    names = {file.name for file in files}
    old = time.time() - DAY
    found = []
    for folder, last, file in ((*file.name.rpartition("/")[::2], file) for file in files):
        checksum = CHECKSUM.fullmatch(last)
        uncommitted = f"{folder}/".endswith(f"/{LOG}") and UNCOMMITTED.fullmatch(last)
        if file.modified < old and (
            uncommitted or (checksum and f"{folder}/{checksum[1]}" not in names)
        ):
            found.append(file.name)
    return found


def _say(console: Console, what: str, dry_run: bool) -> None:
    console.line(f"  {'to delete' if dry_run else 'deleted'}: {what}", event="leftover")
