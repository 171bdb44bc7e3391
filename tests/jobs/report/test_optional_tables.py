"""Optional tables that are absent, incomplete or made of other data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from jobs.report import (
    optional_tables,
)
from jobs.runtime.run import Run
from jobs.warehouse.commits import CommitInfo


def commit(content_of: str, version: int, stage: str = "encode") -> CommitInfo:
    return CommitInfo("run", stage, content_of, {}, version)


@pytest.mark.parametrize(
    ("commits", "state"),
    [
        ([commit("one", 3)], "there"),
        ([commit("two", 5), commit("one", 3)], "stale"),
        ([commit("one", 5), commit("one", 3)], "there"),  # encoded anew, to the same
        ([commit("two", 5, "whiten"), commit("one", 3)], "there"),  # not by the job it is of
        ([commit("two", 9)], "there"),  # the log no longer tells
    ],
)
def test_a_table_is_stale_when_what_it_was_made_of_changed(
    commits: list[CommitInfo], state: str
) -> None:
    run = SimpleNamespace(warehouse=SimpleNamespace(commits=lambda table: commits), stages=())
    done = {"conflicts": {"versions_read": [("latents", 4)]}}
    found = optional_tables.states(cast(Run, run), {"conflicts": 1}, done)
    assert found["conflicts"].name == state
    assert ("./spark-submit.sh conflicts" in found["conflicts"].note) == (state == "stale")
    assert found["leaks"].name == "absent"
    assert "./spark-submit.sh leaks" in found["leaks"].note


def test_tables_of_a_job_that_died_before_its_last_one_are_not_read() -> None:
    marks = {"similarities": "new", "pairs": "old", "modes": "m"}

    def newest(table: str, stage: str) -> CommitInfo | None:
        return commit(marks[table], 0, stage) if table in marks else None

    run = SimpleNamespace(warehouse=SimpleNamespace(newest=newest))
    assert optional_tables.present(cast(Run, run)) == {"modes": "modes"}
