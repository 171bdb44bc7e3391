"""Optional tables: absent, incomplete or stale ones, and the rows of them that the page shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.report import optional_tables
from jobs.runtime.run import Run
from jobs.warehouse.commits import CommitInfo
from tests.support.queries import query_rows


def commit(fingerprint: str, version: int, stage: str) -> CommitInfo:
    return CommitInfo("run", stage, fingerprint, {}, version)


def test_an_optional_table_that_is_not_read_is_absent() -> None:
    run: Any = SimpleNamespace(stages=(), warehouse=SimpleNamespace())
    states = optional_tables.states(cast(Run, run), {})
    assert states.keys() == set(optional_tables.OPTIONAL)
    assert not any(state.has_rows for state in states.values())
    assert "Run ./spark-submit.sh leaks --warehouse" in states["leaks"].note


def test_tables_of_a_job_that_died_before_its_last_one_are_not_read() -> None:
    fingerprints = {"similarities": "new", "pairs": "old", "modes": "m"}

    def newest(table: str, stage: str) -> CommitInfo | None:
        return commit(fingerprints[table], 0, stage) if table in fingerprints else None

    run = SimpleNamespace(warehouse=SimpleNamespace(newest=newest))
    assert optional_tables.complete(cast(Run, run)) == {"modes": "modes"}


def conflict(number: int, labels: tuple[str, str], similarity: float) -> dict[str, Any]:
    return {"image_id": f"a{number:04}", "label": labels[0], "other_label": labels[1]} | {
        "other_id": f"b{number:04}",
        "similarity": similarity,
    }


def test_every_pair_of_labels_is_shown_when_there_are_many_conflicts(tmp_path: Path) -> None:
    """Ten planted conflicts are shown beside a thousand of two overlapping labels."""
    overlap = [conflict(n, ("grass", "meadow"), 0.99 + n / 1e6) for n in range(1000)]
    planted = [conflict(2000 + n, ("car", f"boat{n}"), 0.971) for n in range(10)]
    shown = query_rows(tmp_path, optional_tables.CONFLICTS, overlap + planted)
    assert len(shown) == optional_tables.MOST_ROWS
    assert {row["total"] for row in shown} == {1010}
    assert {row["other_label"] for row in shown} >= {f"boat{n}" for n in range(10)}
    grass = [row["similarity"] for row in shown if row["label"] == "grass"]
    assert grass == sorted((row["similarity"] for row in overlap), reverse=True)[: len(grass)]


def test_a_leak_is_shown_once_at_its_strictest_rule(tmp_path: Path) -> None:
    """An overlap comes before any threshold, and of each kind the largest number."""
    rules: list[tuple[str, str, float | None]]
    rules = [("x", f"fixed:{threshold}", threshold) for threshold in (0.93, 0.95, 0.97)]
    rules += [("y", "fixed:0.99", 0.99), ("y", "overlap:0.7", None), ("y", "overlap:0.9", None)]
    rows = [
        {"image_id": image, "label": "a", "reference_label": "b", "threshold": threshold}
        | {"rule": rule, "space": "raw", "similarity": 0.98, "reference_id": f"by {rule}"}
        for image, rule, threshold in rules
    ]
    shown = query_rows(tmp_path, optional_tables.LEAKS, rows)
    assert [(row["image_id"], row["reference_id"], row["total"]) for row in shown] == [
        ("x", "by fixed:0.97", 2),
        ("y", "by overlap:0.9", 2),
    ]


@pytest.mark.parametrize(
    ("low", "precision", "high", "text"),
    [
        (0.95, 0.97, 0.99, "97 ± 2 %, 200 pairs"),
        (0.9, 0.99, 1.0, "99 % (90 … 100 %), 200 pairs"),
        (None, None, None, ""),
    ],
)
def test_the_audited_precision_is_put_into_words(
    low: Any, precision: Any, high: Any, text: str
) -> None:
    key = {"rule": "fixed:0.95", "space": "raw"}
    row = {"precision": precision, "precision_low": low, "precision_high": high, "pairs": 200}
    assert optional_tables.precision_text([key | row], key) == text
    assert optional_tables.precision_text([], key) == ""
