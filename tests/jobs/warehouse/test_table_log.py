"""What is known of a table by its log, by commits that carry others, and by the table `runs`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobs.errors import JobError
from jobs.warehouse import commits, table_log
from jobs.warehouse.commits import LOST, Change, CommitInfo
from jobs.warehouse.table_log import LogEntry, TableLog

OURS = CommitInfo("run", "encode", "mark", {"content": "cpu"})
DELETE = LogEntry(1, None, "DELETE", "delta-rs", adds_rows=True, removes_rows=True)
OPTIMIZE = LogEntry(2, None, "OPTIMIZE", "Spark")
WRITTEN = LogEntry(0, OURS.json(), "WRITE")


def test_changes_by_others_are_part_of_what_readers_depend_on() -> None:
    log = TableLog.of([WRITTEN, DELETE, OPTIMIZE])
    assert log.version == 2
    (commit,) = log.commits
    assert commit.changes == log.changes == (Change(1, "DELETE", "delta-rs"),)
    assert commit.output_id == "mark|cpu|changed at 1"
    assert commit.as_of(0).output_id == OURS.output_id == "mark|cpu"
    assert str(log.changes[0]) == "DELETE by delta-rs at version 1"


def test_a_later_commit_of_ours_has_only_later_changes() -> None:
    log = TableLog.of([WRITTEN, DELETE, replace(WRITTEN, version=2)])
    assert [commit.output_id for commit in log.commits] == ["mark|cpu", "mark|cpu|changed at 1"]


@pytest.mark.parametrize("seen", [1, 5])
def test_a_log_that_was_cleaned_up_is_completed_by_runs(seen: int) -> None:
    """Of commits that neither tells of, readers must take it that they changed rows."""
    before = TableLog.of([WRITTEN, DELETE] if seen == 1 else [WRITTEN, replace(DELETE, version=5)])
    row = json.dumps({"latents": table_log.recorded_text(before)})
    recorded = table_log.recorded_by([row])["latents"]
    left = [LogEntry(6, None, "OPTIMIZE")]
    (commit,) = TableLog.of(left, recorded).commits
    assert (commit.fingerprint, commit.metadata, commit.version) == ("mark", OURS.metadata, 0)
    lost = (Change(5, LOST, ""),) if seen == 1 else ()
    assert commit.changes == (*lost, *before.changes)
    assert ("?" in commit.output_id) == (seen == 1)
    assert TableLog.of(left).commits == []
    assert TableLog.of(left).first == 6


def test_what_the_log_has_lost_hides_no_change_that_it_still_has() -> None:
    log = TableLog.of([replace(DELETE, version=6), replace(WRITTEN, version=7)])
    assert log.changes == (Change(6, "DELETE", "delta-rs"), Change(5, LOST, ""))


def test_the_newest_row_of_runs_counts() -> None:
    newer = replace(OURS, fingerprint="newer")
    logs = (TableLog.of([WRITTEN]), TableLog.of([replace(WRITTEN, metadata=newer.json())]))
    rows = [json.dumps({"latents": table_log.recorded_text(log)}) for log in logs]
    assert table_log.recorded_by(rows)["latents"].commits == (replace(newer, version=0),)


def test_commits_that_carry_ours_carry_what_others_changed() -> None:
    log = TableLog.of([WRITTEN, DELETE])
    upkeep = LogEntry(7, commits.carrying(log.commits), "OPTIMIZE")
    (commit,) = TableLog.of([upkeep]).commits
    assert commit.changes == log.changes
    assert commit.output_id == log.commits[0].output_id


@pytest.mark.parametrize("text", ["", "\n", '{"commitInfo": {"oper', "[]", '{"add": 3}'])
def test_a_damaged_commit_is_named(text: str) -> None:
    with pytest.raises(JobError, match=r"w/_delta_log/3.json: this commit .* .mv w/_delta_log"):
        table_log.entry_of(3, text, "w/_delta_log/3.json")


def test_what_a_commit_did_is_read_from_its_actions() -> None:
    info = {"commitInfo": {"operation": "MERGE", "engineInfo": "x", "userMetadata": "m"}}
    files = [{"add": {"path": "a", "dataChange": True}}, {"remove": {"dataChange": False}}]
    text = "\n".join(map(json.dumps, [info, *files]))
    assert table_log.entry_of(3, text, "") == LogEntry(3, "m", "MERGE", "x", True, False)
    assert table_log.entry_of(4, json.dumps(files[1]), "") == LogEntry(4)
