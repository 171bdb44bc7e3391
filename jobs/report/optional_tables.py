"""Tables that jobs write where they are asked for: which are there, whole, and of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.runtime.stage import UNFINISHED, RunContext
from jobs.warehouse import tables

# Tables that a pipeline writes only where it is asked to, or that a job wrote by itself.
OPTIONAL = (
    "similarities",
    "pairs",
    "calibration",
    "conflicts",
    "leaks",
    "anomalies",
    "modes",
    "generated",
)


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


def present(run: RunContext) -> dict[str, str]:
    """Tables that are whole, and the jobs that wrote them: what a report reads beside the others.

    Of a job that died between two of its tables, none.
    """
    writers = {table: writer_of(table) for table in OPTIONAL}
    marks: dict[str, set[str]] = {}
    for table, writer in writers.items():
        commit = run.warehouse.newest(table, writer)
        marks.setdefault(writer, set()).add(commit.fingerprint if commit else UNFINISHED)
    return {
        table: writer
        for table, writer in writers.items()
        if len(marks[writer]) == 1 and UNFINISHED not in marks[writer]
    }


def writer_of(table: str) -> str:
    """The stage that writes a table first."""
    return tables.TABLES[table].stages[0]


def states(run: RunContext, reads: Mapping[str, int], done: Mapping[str, Any]) -> dict[str, State]:
    """The state of each; reads: those that are there; done: newest row of each stage in `runs`."""
    flags = {stage.name: stage.to_enable for stage in run.stages}
    states = {}
    for table in OPTIONAL:
        writer = writer_of(table)
        command = f"./spark-submit.sh {writer} --warehouse … {flags.get(writer, '')}".strip()
        if table not in reads:
            states[table] = State("absent", command)
        else:
            fresh = writer not in done or _is_fresh(run, done[writer]["versions_read"])
            states[table] = State("there" if fresh else "stale", command)
    return states


def _is_fresh(run: RunContext, read: Any) -> bool:
    """Whether the tables a job read still have the content that it read."""
    for table, version in dict(read or {}).items():
        commits = [
            commit for commit in run.warehouse.commits(table) if commit.stage == writer_of(table)
        ]
        then = next((commit for commit in commits if commit.version <= version), None)
        if then and then.output_id != commits[0].output_id:
            return False
    return True
