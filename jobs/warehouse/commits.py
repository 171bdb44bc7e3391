"""Commits of a Delta table: what we write into their metadata, and how it is read back.

The unit of finished work is what one stage writes to one table. The `userMetadata` of every commit
of ours holds the run, the stage and the stage's fingerprint; commits of others have none of it. If
they changed rows, they are part of what readers of the table depend on (`CommitInfo.output_id`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from jobs.settings.redaction import redacted
from jobs.warehouse.shared_folder import WrittenFile

if TYPE_CHECKING:
    import deltalake

UNFINISHED = "unfinished"  # the fingerprint of a commit that another one will follow
ABSOLUTE = re.compile(r"/|[A-Za-z][\w+.-]*:")  # a file elsewhere, as clones have them
COMMIT = re.compile(r"\d{20}\.json")  # the name of a commit's file in a table's log
LOST = "LOST"  # the operation of a change that the log no longer tells of
CARRIED = "carried"  # the key of the commits that one without rows carries


class Change(NamedTuple):
    """A commit by which another program changed rows of a table.

    operation: as Delta's history names it, such as DELETE. engine: the program, if it says so.
    removes: whether it took rows out, be it to put changed ones in.
    """

    version: int
    operation: str
    engine: str
    removes: bool = True

    def __str__(self) -> str:
        if self.operation == LOST:
            return f"commits until version {self.version} that the log has lost"
        by = f" by {self.engine}" if self.engine else ""
        return f"{self.operation}{by} at version {self.version}"


class Input(NamedTuple):
    """What a stage read of a table: the stage that had written it, and its `output_id` then."""

    stage: str
    output_id: str


@dataclass(frozen=True)
class CommitInfo:
    """The run and stage that made a commit, the stage's fingerprint, and further metadata.

    version: of the table, which the commit made; -1 before it is made. changes: what others changed
    in the table after it, as far as the log was read. inputs: the tables that the stage read; None
    in commits of versions that did not record them.
    """

    run_id: str
    stage: str
    fingerprint: str
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = -1
    changes: tuple[Change, ...] = field(default=(), compare=False)
    inputs: Mapping[str, Input] | None = field(default=None, compare=False)

    @property
    def output_id(self) -> str:
        """What readers depend on.

        It is the fingerprint, what that leaves open (metadata `content`), and the versions at which
        others changed rows.
        """
        more = self.metadata.get("content")
        parts = [self.fingerprint, *([str(more)] if more else [])]
        versions = ["?" if change.operation == LOST else change.version for change in self.changes]
        changed = [f"changed at {', '.join(map(str, versions))}"] if versions else []
        return "|".join(parts + changed)

    def as_of(self, version: int) -> CommitInfo:
        """Return the commit with those changes alone that a version of the table has."""
        return replace(self, changes=tuple(c for c in self.changes if c.version <= version))

    @property
    def orientations(self) -> int:
        """The number of orientations of an image that each latent in the commit is the mean of."""
        return int(self.metadata.get("orientations", 1))

    @property
    def has_pixels(self) -> bool:
        """Whether the images of the commit have pixels: not where a table held vectors alone."""
        return not self.metadata.get("vectors") or bool(self.metadata.get("pictures"))

    def json(self) -> str:
        """The text of the commit's userMetadata; `metadata` is stored under the key `notes`.

        It holds no credentials, since every reader of the table may see it.
        """
        content = {"run_id": self.run_id, "stage": self.stage, "fingerprint": self.fingerprint}
        inputs = {} if self.inputs is None else {"inputs": dict(self.inputs)}
        return json.dumps(content | inputs | {"notes": redacted(self.metadata)}, sort_keys=True)

    def entry(self) -> dict[str, Any]:
        """The commit as another one carries it, and as the table `runs` records it."""
        more = {"version": self.version, "changes": [list(change) for change in self.changes]}
        return dict(json.loads(self.json())) | more

    def properties(self) -> deltalake.CommitProperties:
        """The commit's metadata for a commit by delta-rs, which is tried once."""
        return properties(self.json(), retries=0)


def properties(metadata: str, retries: int | None = None) -> deltalake.CommitProperties:
    """Return userMetadata for a commit by delta-rs.

    retries: how often it is tried on a newer version; 0: it becomes the next version or fails.
    """
    import deltalake

    return deltalake.CommitProperties(
        custom_metadata={"userMetadata": metadata}, max_commit_retries=retries
    )


def fingerprint(content: Any) -> str:
    """Return the sha256 of a value's canonical JSON: equal for equal settings and inputs."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def parse(version: int, metadata: str | None) -> CommitInfo | None:
    """Return what a commit's userMetadata says; None for a commit that is not ours."""
    try:
        content = json.loads(metadata or "")
        inputs = content.get("inputs")
        return CommitInfo(
            content["run_id"],
            content["stage"],
            content["fingerprint"],
            content["notes"],
            version,
            tuple(Change(*change) for change in content.get("changes", ())),
            None if inputs is None else {table: Input(*read) for table, read in inputs.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def carrying(ours: Iterable[CommitInfo]) -> str:
    """Return the userMetadata of a commit that changes no row: our newest commit of each stage.

    Delta deletes the log's files that are older than `logRetentionDuration` when it writes a
    checkpoint, and a commit that changes no row may be what makes it write one. What it carries
    still says then which stages are done. ours: the newest first.
    """
    newest: dict[str, CommitInfo] = {}
    for commit in ours:
        newest.setdefault(commit.stage, commit)
    return json.dumps({CARRIED: [each.entry() for each in newest.values()]}, sort_keys=True)


def carried(metadata: str | None) -> list[CommitInfo]:
    """Return the commits of ours that the userMetadata of another commit carries."""
    try:
        entries = json.loads(metadata or "")[CARRIED]
        found = [parse(entry["version"], json.dumps(entry)) for entry in entries]
    except (ValueError, KeyError, TypeError):
        return []
    return [commit for commit in found if commit]


def is_upkeep(metadata: str | None) -> bool:
    """Return whether a commit's userMetadata says that it changed no row: it was `carrying`."""
    try:
        return CARRIED in json.loads(metadata or "")
    except (ValueError, TypeError):
        return False


def added_files(commit: str) -> list[WrittenFile]:
    """Return the files in the table's folder that a commit adds (Delta protocol: Add File).

    commit: the text of its file.
    """
    added = [action["add"] for action in map(json.loads, commit.splitlines()) if "add" in action]
    return [
        WrittenFile(unquote(add["path"]), int(add["size"]))
        for add in added
        if not ABSOLUTE.match(add["path"])
    ]
