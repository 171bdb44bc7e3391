"""Commits of a Delta table: what we write into their metadata, and how it is read back.

The unit of finished work is what one stage writes to one table. The `userMetadata` of every commit
of ours holds the run, the stage and the stage's fingerprint; commits of others (OPTIMIZE, VACUUM,
rows that other programs appended) have none of it and are passed over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobs.settings.redaction import redacted
from jobs.warehouse.shared_folder import WrittenFile

if TYPE_CHECKING:
    import deltalake

UNFINISHED = "unfinished"  # the fingerprint of a commit that another one will follow
ABSOLUTE = re.compile(r"/|[A-Za-z][\w+.-]*:")  # a file elsewhere, as clones have them
COMMIT = re.compile(r"\d{20}\.json")  # the name of a commit's file in a table's log
CARRIED = "carried"  # the key of the commits that one without rows carries


@dataclass(frozen=True)
class CommitInfo:
    """The run and stage that made a commit, the stage's fingerprint, and further metadata.

    version: of the table, which the commit made; -1 before it is made.
    """

    run_id: str
    stage: str
    fingerprint: str
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = -1

    @property
    def output_id(self) -> str:
        """What readers depend on: the fingerprint, and what it leaves open (metadata `content`)."""
        more = self.metadata.get("content")
        return f"{self.fingerprint}|{more}" if more else self.fingerprint

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
        return json.dumps(content | {"notes": redacted(self.metadata)}, sort_keys=True)

    def properties(self) -> deltalake.CommitProperties:
        """The commit's metadata for a commit by delta-rs."""
        return properties(self.json())


def properties(metadata: str) -> deltalake.CommitProperties:
    """Return userMetadata for a commit by delta-rs."""
    import deltalake

    return deltalake.CommitProperties(custom_metadata={"userMetadata": metadata})


def fingerprint(content: Any) -> str:
    """Return the sha256 of a value's canonical JSON: equal for equal settings and inputs."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def parse(version: int, metadata: str | None) -> CommitInfo | None:
    """Return what a commit's userMetadata says; None for a commit that is not ours."""
    try:
        content = json.loads(metadata or "")
        return CommitInfo(
            content["run_id"], content["stage"], content["fingerprint"], content["notes"], version
        )
    except (ValueError, KeyError, TypeError):
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
    entries = [json.loads(each.json()) | {"version": each.version} for each in newest.values()]
    return json.dumps({CARRIED: entries}, sort_keys=True)


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


def user_metadata(commit: Path) -> str | None:
    """Return commitInfo.userMetadata of a commit's file (Delta protocol: Commit Provenance)."""
    with commit.open(encoding="utf-8") as lines:
        for line in lines:
            info = json.loads(line).get("commitInfo")
            if info:
                metadata = info.get("userMetadata")
                return None if metadata is None else str(metadata)
    return None


def added_files(commit: Path) -> list[WrittenFile]:
    """Return the files in the table's folder that a commit adds (Delta protocol: Add File)."""
    actions = map(json.loads, commit.read_text(encoding="utf-8").splitlines())
    added = [action["add"] for action in actions if "add" in action]
    return [
        WrittenFile(unquote(add["path"]), int(add["size"]))
        for add in added
        if not ABSOLUTE.match(add["path"])
    ]
