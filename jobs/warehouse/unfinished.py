"""What the tasks of a long write have completed before its commit, so that a next run can adopt it.

Tasks close a file after a while and begin another one, and leave a note beside the tables of each
file that is complete. When the write is committed the notes are deleted. If the run is killed
before, the next run of the stage commits the noted files, and does only the rest.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = ".unfinished"  # in the warehouse's folder
ABOUT = "about.json"
# A file is closed when it has been open for so many seconds, or for this share of the task's time
# if that is longer: so a killed task loses a tenth of its work at most, or half a minute's.
SECONDS = 30.0
SHARE = 0.1


# Whether the rows of a table belong to what the last row of the one before it is a part of.
GoesOn = Callable[[pa.Table, pa.Table], bool]


class NotedFile(NamedTuple):
    """A complete file: as the log's add action has it, and the task's partition and attempt."""

    path: str
    size: int
    modified: int
    stats: str
    partition: int
    attempt: str


class Unfinished(NamedTuple):
    """Files of a write that was not committed.

    schema: of the table, as Spark's JSON. append: whether they were to be added to the table's
    rows, or to replace them.
    """

    files: list[NotedFile]
    schema: str
    append: bool


@dataclass(frozen=True)
class Notes:
    """The notes of one write. Each has a name of its own, so tasks need not know each other.

    seconds, share: of the task's time; a file is closed when it was open for longer than both.
    """

    folder: Path
    seconds: float
    share: float

    def add(self, file: NotedFile) -> None:
        """Note a complete file. Raises FileNotFoundError if no run waits for it any more."""
        path = self.folder / f"{file.path}.json"
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(file._asdict()), encoding="utf-8")
        aside.replace(path)


def begin(root: Path, table: str, key: str, version: int, schema: str, append: bool) -> Notes:
    """Make the folder for the notes of a write; those of earlier ones are deleted.

    key: what decides the rows, but for which of them are still missing. version: of the table
    before the write, -1 if it is new.
    """
    discard(root, table)
    folder = root / FOLDER / table / secrets.token_hex(8)
    folder.mkdir(parents=True)
    about = {"key": key, "version": version, "schema": schema, "append": append}
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    return Notes(folder, SECONDS, SHARE)


def find(root: Path, table: str, key: str, version: int) -> Unfinished | None:
    """Return what a killed write left for a table that is still at this version; None if nothing.

    Of a task that was tried several times one attempt's files are taken, those with most rows. A
    file that is not there in its full size, or whose end is damaged, is left out.
    """
    for folder in (root / FOLDER / table).glob("*/"):
        about = _read(folder / ABOUT)
        if about is None or (about["key"], about["version"]) != (key, version):
            continue
        noted = (_read(path) for path in sorted(folder.glob("*.parquet.json")))
        files = [NotedFile(**content) for content in noted if content]
        whole = [file for file in files if _is_whole(root / table / file.path, file)]
        if whole:
            return Unfinished(_one_attempt(whole), about["schema"], about["append"])
    return None


def discard(root: Path, table: str) -> None:
    """Delete all notes about a table."""
    shutil.rmtree(root / FOLDER / table, ignore_errors=True)


def parts(
    groups: Iterable[pa.Table],
    seconds: float,
    share: float,
    clock: Callable[[], float] = time.monotonic,
    goes_on: GoesOn | None = None,
) -> Iterator[Iterator[pa.Table]]:
    """Yield the tables in consecutive parts, each made in so many seconds or that share of all.

    Each part must be read to its end before the next one is asked for. None is empty. goes_on: a
    part ends before a table for which this does not hold.
    """
    rest = iter(groups)
    begun = clock()
    held: list[pa.Table] = []  # the first table of the next part, if it had to be looked at

    def part(first: pa.Table) -> Iterator[pa.Table]:
        opened = clock()
        last = first
        yield first
        while True:
            # Asked before the next table is made, which belongs to the next part otherwise.
            is_full = clock() - opened >= max(seconds, share * (clock() - begun))
            if is_full and goes_on is None:
                return
            table = next(rest, None)
            if table is None:
                return
            if is_full and goes_on is not None and not goes_on(last, table):
                held.append(table)
                return
            last = table
            yield table

    while (first := held.pop() if held else next(rest, None)) is not None:
        yield part(first)


def _one_attempt(files: list[NotedFile]) -> list[NotedFile]:
    """Return the files of that attempt of each partition which got furthest."""
    attempts: defaultdict[int, defaultdict[str, list[NotedFile]]]
    attempts = defaultdict(lambda: defaultdict(list))
    for file in files:
        attempts[file.partition][file.attempt].append(file)
    return [
        file
        for tried in attempts.values()
        for file in max(tried.values(), key=lambda attempt: sum(map(_rows, attempt)))
    ]


def _rows(file: NotedFile) -> int:
    return int(json.loads(file.stats)["numRecords"])


def _is_whole(path: Path, file: NotedFile) -> bool:
    """Return whether a file is what its note says; a machine that lost power may have cut it."""
    try:
        return path.stat().st_size == file.size and pq.read_metadata(path).num_rows == _rows(file)
    except (OSError, pa.ArrowInvalid):
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object of a note; None if it is not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
