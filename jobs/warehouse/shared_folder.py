"""Checks that the driver and the executors see the same files in a folder that both use.

A warehouse or a source in a mounted folder must be mounted at one path on all machines. If it is
not, each machine writes and reads its own disk. These functions turn that into one message.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jobs import paths
from jobs.errors import JobError

# How Spark names a file that a task could not read, in each of its readers.
UNREAD = re.compile(
    r"(?:FILE_NOT_EXIST|FileNotFoundException).*?(file:/[^\n]*?)(?: does not|\.? |$)", re.S
)


class WrittenFile(NamedTuple):
    """A file that a task says it wrote: its name in the table's folder, and its size in bytes."""

    name: str
    size: int


def message(folder: object, seen: str) -> str:
    """Return the error for a folder that is not shared; seen: what was seen there, and where."""
    return (
        f"{seen}: the executors and the driver do not share the folder {folder}. Mount one file "
        "system at this path on all machines, or give a folder or URI that all of them reach"
    )


def check_written(folder: Path, files: Sequence[WrittenFile]) -> None:
    """Raise JobError unless all files that tasks wrote are in the folder with their sizes.

    The names are new, so a network file system asks its server for them and answers from no cache.
    """
    lost = [file for file in files if _size(folder / file.name) != file.size]
    if lost:
        seen = (
            f"{len(lost)} of {len(files)} files that the executors wrote, such as {lost[0].name}, "
            "are not there on the driver in their full size"
        )
        vacuumed = "(If a VACUUM without retention deleted them meanwhile, run the command again)"
        raise JobError(f"{message(folder, seen)}. {vacuumed}")


def deleted(folder: str, name: str) -> JobError:
    """Return the error for a file that was written and deleted before it was committed."""
    return JobError(
        f"{folder}: the file {name}, which this run wrote, was deleted before the run was done "
        "with the table, as by a VACUUM without retention. Nothing of it is in the table: run the "
        "same command again, and let VACUUM keep what is younger than a run (maintain keeps 30 "
        "days)"
    )


def check_folder(folder: Path) -> None:
    """Raise JobError if this machine lacks a folder that the driver made; call it in a task."""
    if not folder.is_dir():
        raise JobError(message(folder, f"{folder} is missing on {socket.gethostname()}"))


def unseen(path: Path) -> JobError:
    """Return the error for a file that the driver saw and a task on this machine cannot read."""
    return JobError(message(path.parent, f"{path.name} cannot be read on {socket.gethostname()}"))


def is_hidden_here(path: str) -> bool:
    """Return whether the folder of a file that the driver listed cannot be listed here.

    A single missing file may have been deleted since. A missing folder is another disk's.
    """
    return paths.is_mounted(path) and not os.access(paths.mounted(path).parent, os.R_OK)


def explained(failure: str) -> str | None:
    """Return the message for an error of Spark about a file that the driver does see, else None."""
    match = UNREAD.search(failure)
    if match is None:
        return None
    path = paths.mounted(match[1])
    if not path.exists():
        return None
    return message(path.parent, f"{path.name} cannot be read on an executor")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
