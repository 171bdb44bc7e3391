"""Tells of each table that a report shows whether it is of the decisions shown, or older.

The commit of a table records what its stage had read. If one of these tables has another content
now, or is itself out of date, so is the table, and the stages between have to run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.report import provenance
from jobs.runtime.stage import RunContext
from jobs.warehouse import tables
from jobs.warehouse.commits import UNFINISHED, CommitInfo, Input

WAREHOUSE = "…"  # in commands: a page may be read elsewhere than where the warehouse lies


@dataclass(frozen=True)
class State:
    """Whether a table can be shown: `present`, `absent`, or `stale` (its inputs changed since).

    commands: those that fill a table that is absent, or bring a stale one up to date, in this
    order. version: of the table, that the report reads. stage: which wrote it.
    """

    name: str
    commands: tuple[str, ...] = ()
    version: int | None = None
    stage: str = ""

    @property
    def has_rows(self) -> bool:
        """Whether the table was computed, be it from inputs that changed since."""
        return self.name != "absent"

    @property
    def is_stale(self) -> bool:
        """Whether the tables that it was computed from have another content now."""
        return self.name == "stale"

    @property
    def note(self) -> str:
        """What the page says of a table that is absent or stale; empty for a present one."""
        run = ", then ".join(self.commands)
        if self.name == "absent":
            return f"Not computed. Run {run} and then report to fill this."
        if self.is_stale:
            return f"Computed before its inputs changed: run {run} and then report again."
        return ""


def command(run: RunContext, stage: str, warehouse: str = WAREHOUSE) -> str:
    """Return the command of a stage, with the flags that enable it."""
    flags = {each.name: each.example_flags for each in run.stages}.get(stage, "")
    return f"./spark-submit.sh {stage} --warehouse {warehouse} {flags}".strip()


def states(run: RunContext, reads: Mapping[str, str]) -> dict[str, State]:
    """Return the state of each table that a report reads; reads: with the stage that wrote it."""
    found = {}
    for table, writer in reads.items():
        stages = outdated(run, table, writer)
        found[table] = State(
            "stale" if stages else "present",
            tuple(command(run, stage) for stage in stages),
            run.warehouse.version(table) if run.warehouse.exists(table) else None,
            writer,
        )
    return found


def outdated(run: RunContext, table: str, writer: str) -> tuple[str, ...]:
    """Return the stages that have to run, in this order, before a table is up to date; or none.

    writer: the stage that finished the table last. It is the last of them.
    """
    commit = _finished(run, table, writer)
    if commit is None:
        return ()  # whoever reads it raises an error
    before: dict[str, None] = {}  # in the order of their first mention
    is_old = False
    for name, read in _inputs(run, commit).items():
        now = _finished(run, name, read.stage)
        is_old |= now is None or now.output_id != read.output_id
        before |= dict.fromkeys(outdated(run, name, read.stage))
    return (*before, writer) if before or is_old else ()


def lines(states: Mapping[str, State], warehouse: str) -> Iterator[str]:
    """Yield a line for the console for all tables that the same commands bring up to date.

    warehouse: its path, for the commands.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for table, state in states.items():
        if state.is_stale:
            groups.setdefault(state.commands, []).append(table)
    for commands, names in groups.items():
        shown = ", ".join(names)
        again = ", then ".join(each.replace(WAREHOUSE, warehouse, 1) for each in commands)
        yield (
            f"the report shows tables that were computed before their inputs changed ({shown}): "
            f"run {again}, and then report again"
        )


def _finished(run: RunContext, table: str, writer: str) -> CommitInfo | None:
    """Return the commit by which a stage finished a table; None if there is none."""
    commit = run.warehouse.newest(table, writer)
    return None if commit is None or commit.fingerprint == UNFINISHED else commit


def _inputs(run: RunContext, commit: CommitInfo) -> Mapping[str, Input]:
    """Return what the stage of a commit had read, by table."""
    if commit.inputs is not None:
        return commit.inputs
    return dict(_inputs_by_runs(run, commit.stage))


def _inputs_by_runs(run: RunContext, stage: str) -> Iterator[tuple[str, Input]]:
    """Yield what a stage had read by the table `runs`: earlier versions recorded versions alone.

    A commit that is no longer in a table's log is taken for the one that is there.
    """
    row: Mapping[str, Any] = run.once(_last_done).get(stage, {})
    for table, version in dict(row.get("versions_read") or {}).items():
        writer = tables.TABLES[table].stages[0]
        read = next(
            (
                commit
                for commit in run.warehouse.commits(table)
                if commit.stage == writer and commit.version <= version
            ),
            None,
        )
        if read:
            yield table, Input(writer, read.as_of(version).output_id)


def _last_done(run: RunContext) -> Mapping[str, Mapping[str, Any]]:
    return provenance.last_done(provenance.last_runs(run))
