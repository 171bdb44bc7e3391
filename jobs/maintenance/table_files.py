"""The files of one table: merged, deleted, and counted before and after."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any, Self

from jobs.runtime.console import Console
from jobs.warehouse import compaction
from jobs.warehouse.files import FileInfo
from jobs.warehouse.store import Store

# The files that Delta's writers leave in a table's folder beside the log.
OF_DELTA = re.compile(
    r"(part|cdc)-\d{5}-.+\.parquet|deletion_vector_.+\.bin|\..+\.crc|_SUCCESS|_committed_.*"
)
UNITS = ("bytes", "KB", "MB", "GB", "TB")


@dataclass(frozen=True)
class TableFiles:
    """Files that the newest version consists of, all stored ones, and the bytes of these."""

    used_before: int
    used: int
    stored_before: int
    stored: int
    bytes_before: int
    bytes: int

    @classmethod
    def none(cls) -> Self:
        """Of no table."""
        return cls(0, 0, 0, 0, 0, 0)

    def __add__(self, other: TableFiles) -> TableFiles:
        return TableFiles(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        sizes = f"{readable(self.bytes_before)} → {readable(self.bytes)}"
        used, stored = (
            f"{before:,} → {after:,}"
            for before, after in ((self.used_before, self.used), (self.stored_before, self.stored))
        )
        return f"{used:>17}{stored:>19}{sizes:>26}"

    def fields(self) -> dict[str, Any]:
        """The numbers by name, for a JSON event."""
        return dict(vars(self))


def kept_up(store: Store, console: Console, table: str, *, dry_run: bool) -> TableFiles:
    """Merge a table's small files and delete those that no version needs; return the counts.

    In a dry run nothing changes, and the counts are what they would be: of merged files the bytes
    of those that they are made of.
    """
    used, stored = store.data_files(table), store.files.infos(table)
    small = compaction.mergeable(used)
    may_delete = only_of_delta(console, table, stored)
    if dry_run:
        unneeded = store.vacuum(table, dry_run=True) if may_delete else []
        names = {path.rpartition("/")[2] for path in unneeded}
        gone = [file.size for file in stored if file.name.rpartition("/")[2] in names]
        merged = compaction.merged_count(used, small)
        return TableFiles(
            len(used),
            len(used) - len(small) + merged,
            len(stored),
            len(stored) - len(gone) + merged,
            sum(file.size for file in stored),
            sum(file.size for file in stored) - sum(gone) + sum(used[name] for name in small),
        )
    store.compact(table)
    if may_delete:
        store.vacuum(table)
    after = store.files.infos(table)
    return TableFiles(
        len(used),
        len(store.data_files(table)),
        len(stored),
        len(after),
        sum(file.size for file in stored),
        sum(file.size for file in after),
    )


def only_of_delta(console: Console, table: str, stored: list[FileInfo]) -> bool:
    """Return whether a table's folder holds nothing but the table; warn where it does.

    VACUUM deletes whatever no version of the table names, once it is old, whosever it is.
    """
    others = [file.name for file in stored if not is_of_delta(file.name)]
    if others:
        console.warn(
            f"the folder of the table {table} also holds files that are no part of a table, such "
            f"as {sorted(others)[0]}: nothing in it is deleted until they are moved elsewhere"
        )
    return not others


def is_of_delta(name: str) -> bool:
    """Return whether a file of a table's folder, named from the warehouse, is Delta's."""
    return "/_delta_log/" in name or bool(OF_DELTA.fullmatch(name.rpartition("/")[2]))


def readable(size: float) -> str:
    """Return a number of bytes as people write it.

    >>> readable(999), readable(1_250_000)
    ('999 bytes', '1.2 MB')
    """
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:,.{1 if unit else 0}f} {UNITS[unit]}"
