"""A table's log as a whole: our commits, what others changed, and what it no longer tells.

Delta deletes a log's old files when anybody writes a checkpoint. What is known of the commits in
them then comes from `carrying` commits and from the table `runs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.errors import JobError, reason
from jobs.warehouse.commits import LOST, Change, CommitInfo, carried, is_upkeep, parse

# Commits of these operations change no row (Delta's `DeltaOperations`, and those of delta-rs). Of
# any other operation the commit's actions tell.
HARMLESS = frozenset(
    {
        "OPTIMIZE",
        "VACUUM START",
        "VACUUM END",
        "SET TBLPROPERTIES",
        "UNSET TBLPROPERTIES",
        "UPGRADE PROTOCOL",
        "ADD CONSTRAINT",
        "DROP CONSTRAINT",
        "CHANGE COLUMN",
        "ADD COLUMNS",
        "COMPUTE STATS",
    }
)


@dataclass(frozen=True)
class LogEntry:
    """A commit in a table's log, whoever made it.

    metadata: its userMetadata. adds_rows, removes_rows: whether files come or go with the rows in
    them; files that are merged do neither.
    """

    version: int
    metadata: str | None = None
    operation: str = ""
    engine: str = ""
    adds_rows: bool = False
    removes_rows: bool = False

    @property
    def change(self) -> Change:
        """What it is to a reader who depends on the table."""
        name = self.operation or "a commit"
        return Change(self.version, name, self.engine, self.removes_rows)


@dataclass(frozen=True)
class Recorded:
    """What the table `runs` says of a table: our commits, and of others up to which version.

    seen: the newest version of the table when the row was written. changes: of others, until then.
    """

    commits: tuple[CommitInfo, ...]
    seen: int
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class TableLog:
    """Our commits of a table, the newest first; changes by others, the newest first; its version.

    Each commit has the changes after it. first: the first version that the log still has.
    """

    version: int
    commits: list[CommitInfo]
    changes: tuple[Change, ...] = ()
    first: int = 0

    @classmethod
    def of(cls, entries: Sequence[LogEntry], recorded: Recorded | None = None) -> TableLog:
        """Make it of the commits that the log still has, and of what `runs` says."""
        ours: dict[int, CommitInfo] = {}
        changes: dict[int, Change] = {}
        first = min(entry.version for entry in entries)
        covered = -1  # what happened up to this version is known though the log has lost it
        if recorded:
            ours |= {commit.version: commit for commit in recorded.commits}
            changes |= {change.version: change for change in recorded.changes}
            covered = recorded.seen
        for entry in sorted(entries, key=lambda entry: entry.version):
            for commit in carried(entry.metadata):
                ours[commit.version] = commit
                changes |= {change.version: change for change in commit.changes}
            if is_upkeep(entry.metadata):
                covered = max(covered, entry.version)
                continue
            commit_of_ours = parse(entry.version, entry.metadata)
            if commit_of_ours:
                ours[entry.version] = commit_of_ours
            elif entry.adds_rows or entry.removes_rows:
                changes[entry.version] = entry.change
        if first > 0 and covered < first - 1:
            changes[first - 1] = Change(first - 1, LOST, "")
        newest_first = tuple(changes[version] for version in sorted(changes, reverse=True))
        commits = [
            replace(ours[version], changes=_after(newest_first, version))
            for version in sorted(ours, reverse=True)
        ]
        return cls(max(entry.version for entry in entries), commits, newest_first, first)

    def with_commit(self, commit: CommitInfo) -> TableLog:
        """Return the log after a further commit of ours."""
        return replace(self, version=commit.version, commits=[commit, *self.commits])


def _after(changes: Iterable[Change], version: int) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.version > version)


def entry_of(version: int, text: str, where: str) -> LogEntry:
    """Return what a commit's file says. Raises JobError if it is empty or cut off.

    where: the file, for the message.
    """
    try:
        actions: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line]
        if not actions or not all(isinstance(action, dict) for action in actions):
            raise ValueError("it is empty, or no log of Delta's")
        info: Mapping[str, Any] = next(
            (action["commitInfo"] for action in actions if "commitInfo" in action), {}
        )
        changed = [
            kind
            for action in actions
            for kind in ("add", "remove")
            if kind in action and action[kind].get("dataChange", True)
        ]
    except (ValueError, TypeError, AttributeError) as wrong:
        raise damaged(where) from wrong
    metadata = info.get("userMetadata")
    return LogEntry(
        version,
        None if metadata is None else str(metadata),
        str(info.get("operation", "")),
        str(info.get("engineInfo", "")),
        "add" in changed,
        "remove" in changed,
    )


def damaged(where: str) -> JobError:
    """Return the error for a commit's file that is empty or cut off."""
    return JobError(
        f"{where}: this commit of the table's log is empty or cut off, as after a crash of the "
        "machine. If no commit with a higher number is beside it, move the file away (mv "
        f"{where} {where}.damaged): the table is then as before that commit, and the same command "
        "goes on. Else put the file back from a backup; without one, delete the table's folder "
        "and run ./spark-submit.sh pipeline, which makes the table anew"
    )


def unreadable(path: str, refused: Exception) -> JobError:
    """Return the error for a table's log that cannot be read; path: the table's folder."""
    return JobError(
        f"{path}/_delta_log cannot be read ({reason(refused)}): put its files back from a "
        f"backup; without one, delete the folder {path} and run ./spark-submit.sh pipeline, which "
        "makes the table anew"
    )


def recorded_text(log: TableLog) -> dict[str, Any]:
    """Return what the table `runs` records of a table, as JSON: our newest commit of each stage."""
    newest: dict[str, CommitInfo] = {}
    for commit in log.commits:
        newest.setdefault(commit.stage, commit)
    return {
        "seen": log.version,
        "commits": [commit.entry() for commit in newest.values()],
    }


def recorded_by(rows: Iterable[str]) -> dict[str, Recorded]:
    """Return what rows of `runs`, the oldest first, say of each table; the newest row counts."""
    recorded: dict[str, Recorded] = {}
    for row in rows:
        for table, content in json.loads(row).items():
            parsed = [parse(entry["version"], json.dumps(entry)) for entry in content["commits"]]
            known = tuple(commit for commit in parsed if commit)
            changes = {change.version: change for commit in known for change in commit.changes}
            recorded[table] = Recorded(known, int(content["seen"]), tuple(changes.values()))
    return recorded
