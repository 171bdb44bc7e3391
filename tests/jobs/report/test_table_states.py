"""Which tables are older than what they were computed from, and the commands that mend it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.report import provenance, table_states
from jobs.runtime.run import Run
from jobs.warehouse.commits import UNFINISHED, Change, CommitInfo, Input

READS = {
    "images": "ingest",
    "latents": "encode",
    "selection": "prune",
    "curated": "publish",
    "effect": "estimate",
}
# What each stage read of the others when it ran last.
INPUTS = {
    "images": {},
    "latents": {"images": Input("ingest", "i")},
    "selection": {"images": Input("ingest", "i"), "latents": Input("encode", "l|cpu")},
    "curated": {"images": Input("ingest", "i"), "selection": Input("prune", "s")},
    "effect": {"selection": Input("prune", "s")},
}


def run_of(
    changed: Mapping[str, CommitInfo] = {}, inputs: Mapping[str, Any] = INPUTS, rows: Any = ()
) -> Run:
    """A run on a warehouse of these tables, all up to date but for what changed."""
    newest = {
        table: CommitInfo("run", stage, table[0], {}, 3, inputs=inputs.get(table))
        for table, stage in READS.items()
    }
    platform = {"content": "cpu"}
    newest["latents"] = CommitInfo("r", "encode", "l", platform, 3, inputs=inputs.get("latents"))
    newest |= changed
    warehouse = SimpleNamespace(
        newest=lambda table, stage: newest[table] if newest[table].stage == stage else None,
        commits=lambda table: [newest[table]],
        exists=lambda table: True,
        version=lambda table: newest[table].version,
        query=lambda table, sql: rows,
    )
    run: Any = SimpleNamespace(stages=(), warehouse=warehouse)
    run.once = lambda make: make(run)
    return cast(Run, run)


def stale(run: Run) -> dict[str, list[str]]:
    """The stages that a run has to do again, by table."""
    return {
        table: [command.split()[1] for command in state.commands]
        for table, state in table_states.states(run, READS).items()
        if state.is_stale
    }


def again(table: str, fingerprint: str = "new", *changes: Change) -> dict[str, CommitInfo]:
    """A table that its stage wrote once more, from the same inputs."""
    inputs = cast(Any, INPUTS[table])
    return {
        table: CommitInfo("run", READS[table], fingerprint, {}, 4, changes, inputs=inputs),
    }


def test_tables_are_up_to_date_while_what_they_were_made_of_is_the_same() -> None:
    assert stale(run_of()) == {}
    assert stale(run_of(again("selection", "s"))) == {}  # done again, with the same result
    state = table_states.states(run_of(), READS)["latents"]
    assert (state.name, state.version, state.stage, state.note) == ("present", 3, "encode", "")


def test_new_decisions_make_old_what_was_made_of_earlier_ones() -> None:
    run = run_of(again("selection"))
    assert stale(run) == {"curated": ["publish"], "effect": ["estimate"]}
    note = table_states.states(run, READS)["curated"].note
    assert "run ./spark-submit.sh publish --warehouse … and then report again" in note


def test_what_lies_between_has_to_be_done_first() -> None:
    """The decisions are older than the images, and so is all that was made of them."""
    assert stale(run_of(again("images"))) == {
        "latents": ["encode"],
        "selection": ["encode", "prune"],
        "curated": ["encode", "prune", "publish"],
        "effect": ["encode", "prune", "estimate"],
    }


@pytest.mark.parametrize("others", [{}, again("latents", UNFINISHED)])
def test_changes_by_others_and_an_unfinished_stage_count(others: dict[str, CommitInfo]) -> None:
    changed = others or again("selection", "s", Change(4, "DELETE", "delta-rs"))
    first = "encode" if others else ""
    found = stale(run_of(changed))
    assert list(found) == (["selection", "curated", "effect"] if first else ["curated", "effect"])
    assert found["effect"] == (["prune", "estimate"] if first else ["estimate"])


@pytest.mark.parametrize(("version", "expected"), [(3, {}), (4, {"curated": ["publish"]})])
def test_commits_that_recorded_no_inputs_are_judged_by_the_table_runs(
    version: int, expected: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions before recorded only which versions of its tables a stage had read."""
    rows = {"publish": {"versions_read": [("selection", 3)]}}
    monkeypatch.setattr(provenance, "last_done", lambda found: rows)
    run = run_of(inputs={table: {} for table in READS if table != "curated"})
    before = run.warehouse.newest("selection", "prune")
    assert before is not None
    now = CommitInfo("run", "prune", "s" if version == 3 else "new", {}, version, inputs={})
    run.warehouse.commits = lambda table: [now, before]  # type: ignore[method-assign]
    newest = run.warehouse.newest
    run.warehouse.newest = (  # type: ignore[method-assign]
        lambda table, stage=None: now if table == "selection" else newest(table, stage)
    )
    assert stale(run) == expected


def test_the_console_names_tables_that_one_command_mends_together() -> None:
    states = table_states.states(run_of(again("images")), READS)
    lines = list(table_states.lines(states, "/w"))
    assert len(lines) == 4
    assert "(selection): run ./spark-submit.sh encode --warehouse /w, then ./spark" in lines[1]
    assert list(table_states.lines(table_states.states(run_of(), READS), "/w")) == []
