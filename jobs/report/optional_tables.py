"""Tables that jobs write where they are asked for: which are there, whole, and of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.runtime.run import Run

# Whose commits to an input table count as a change of it.
WRITERS = {"images": "ingest", "latents": "encode", "projections": "project", "axes": "project"}
WRITERS |= {"density": "project", "vectors": "whiten", "selection": "prune"}


@dataclass(frozen=True)
class Extra:
    """A table, the job that writes it, and the flags which that job is asked with."""

    stage: str
    flags: str = ""


EXTRAS = {
    "similarities": Extra("similarities"),
    "pairs": Extra("similarities"),
    "calibration": Extra("calibrate", "--set calibrate.labels=labels.csv"),
    "conflicts": Extra("conflicts", "--set conflicts.threshold=0.85"),
    "leaks": Extra("leaks", "--set 'leaks.split=[\"test\"]'"),
    "anomalies": Extra("anomalies", "--set anomalies.quantile=0.01"),
    "modes": Extra("modes", "--set modes.draws=200"),
    "generated": Extra("generate", "--set generate.count=12"),
}


@dataclass(frozen=True)
class State:
    """Whether a table can be shown: `there`, `absent`, or `stale` (its inputs changed since)."""

    name: str
    command: str  # what fills it

    @property
    def there(self) -> bool:
        """Whether it has rows to show, of now or of before."""
        return self.name != "absent"

    @property
    def note(self) -> str:
        """What a reader is told where it is not as it should be."""
        if self.name == "absent":
            return f"Not computed. Run {self.command} and then report to fill this."
        if self.name == "stale":
            return f"Computed before its inputs changed: run {self.command} and then report again."
        return ""


def present(run: Run) -> dict[str, str]:
    """Tables that are whole, and the jobs that wrote them: what a report reads beside the others.

    Of a job that died between two of its tables, none.
    """
    marks: dict[str, set[str]] = {}
    for table, extra in EXTRAS.items():
        commit = run.warehouse.newest(table, extra.stage)
        marks.setdefault(extra.stage, set()).add(commit.fingerprint if commit else "unfinished")
    return {
        table: extra.stage
        for table, extra in EXTRAS.items()
        if len(marks[extra.stage]) == 1 and "unfinished" not in marks[extra.stage]
    }


def states(run: Run, reads: Mapping[str, int], done: Mapping[str, Any]) -> dict[str, State]:
    """The state of each; reads: those that are there; done: newest row of each stage in `runs`."""
    found = {}
    for table, extra in EXTRAS.items():
        command = f"./spark-submit.sh {extra.stage} --warehouse … {extra.flags}".strip()
        if table not in reads:
            found[table] = State("absent", command)
        else:
            fresh = extra.stage not in done or _is_fresh(run, done[extra.stage]["versions_read"])
            found[table] = State("there" if fresh else "stale", command)
    return found


def _is_fresh(run: Run, read: Any) -> bool:
    """Whether the tables a job read still have the content that it read."""
    for table, version in dict(read or {}).items():
        commits = [
            commit
            for commit in run.warehouse.commits(table)
            if commit.stage == WRITERS.get(table, commit.stage)
        ]
        then = next((commit for commit in commits if commit.version <= version), None)
        if then and then.output_id != commits[0].output_id:
            return False
    return True
