"""Why a stage would be done: what differs from the run that did it last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.runtime.console import abbreviated

# Of which sections a stage's settings are, where not of its own name.
SECTIONS = {
    "train": ("train", "ingest"),
    "encode": ("encode", "train"),
    "project": ("estimate",),
    "whiten": ("prune",),
    "leaks": ("leaks", "prune"),
    "conflicts": ("conflicts", "prune"),
    "prune": ("prune", "leaks"),
    "publish": ("publish", "anomalies"),
}
OF_PRUNE = {  # settings of its section that these stages depend on
    "whiten": ("mode", "axes"),
    "leaks": ("space", "thresholds"),
    "conflicts": ("space",),
}
UNIMPORTANT = {  # settings that no result depends on
    "ingest": ("tasks",),
    "train": ("device",),
    "encode": ("batch", "exchange", "device"),
    "prune": ("block", "window", "largest_class", "device", "audit"),
}


@dataclass(frozen=True)
class Last:
    """The last run that did a stage, as `runs` has it."""

    settings: Mapping[str, Mapping[str, Any]]
    reads: Mapping[str, int]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], stage: str) -> Last | None:
        """The newest `done` row of a stage."""
        done = [row for row in rows if (row["stage"], row["state"]) == (stage, "done")]
        if not done:
            return None
        row = max(done, key=lambda row: row["started"])
        return cls(json.loads(row["settings"]), dict(row["versions_read"] or {}))


def reason(
    stage: str,
    last: Last | None,
    settings: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, int],
    redone: Sequence[str],
) -> str:
    """In a few words; versions: of its inputs now; redone: the stages that they come of anew."""
    if last is None:
        return "never done here"
    found = changed(stage, last.settings, settings)
    if redone:
        found.append(f"{' and '.join(redone)} would be done")
    else:
        moved = [
            f"{table} is at version {version}, was {last.reads[table]}"
            for table, version in versions.items()
            if table in last.reads and last.reads[table] != version
        ]
        found += moved
    return abbreviated(found) or "it was not finished, or is done otherwise by this version"


def changed(
    stage: str, was: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The settings of a stage that are others than they were."""
    return [
        f"{section}.{key} = {value!r}, was {was[section][key]!r}"
        for section in SECTIONS.get(stage, (stage,))
        for key, value in now.get(section, {}).items()
        if key in was.get(section, {})
        and key not in UNIMPORTANT.get(section, ())
        and (section != "prune" or key in OF_PRUNE.get(stage, (key,)))
        and _plain(value) != was[section][key]
    ]


def _plain(value: Any) -> Any:
    """As JSON has it: lists for tuples."""
    return json.loads(json.dumps(value))
