"""Which rows of the optional tables the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.report import (
    findings,
)
from tests.support.queries import query_rows


def conflict(number: int, labels: tuple[str, str], similarity: float) -> dict[str, Any]:
    return {"image_id": f"a{number:04}", "label": labels[0], "other_label": labels[1]} | {
        "other_id": f"b{number:04}",
        "similarity": similarity,
    }


def test_every_pair_of_labels_is_shown_when_there_are_many_conflicts(tmp_path: Path) -> None:
    """Ten planted conflicts are shown beside a thousand of two overlapping labels."""
    overlap = [conflict(n, ("grass", "meadow"), 0.99 + n / 1e6) for n in range(1000)]
    planted = [conflict(2000 + n, ("car", f"boat{n}"), 0.971) for n in range(10)]
    found = query_rows(tmp_path, findings.CONFLICTS, overlap + planted)
    assert len(found) == findings.MOST
    assert {row["total"] for row in found} == {1010}
    assert {row["other_label"] for row in found} >= {f"boat{n}" for n in range(10)}
    grass = [row["similarity"] for row in found if row["label"] == "grass"]
    assert grass == sorted((row["similarity"] for row in overlap), reverse=True)[: len(grass)]


def test_a_leak_is_shown_once_at_its_highest_threshold(tmp_path: Path) -> None:
    rows = [
        {"image_id": image, "label": "a", "reference_label": "b", "threshold": threshold}
        | {"space": "raw", "similarity": 0.98, "reference_id": f"r{threshold}"}
        for image in ("x", "y")
        for threshold in (0.93, 0.95, 0.97)
    ]
    found = query_rows(tmp_path, findings.LEAKS, rows)
    assert [(row["image_id"], row["reference_id"], row["total"]) for row in found] == [
        ("x", "r0.97", 2),
        ("y", "r0.97", 2),
    ]


@pytest.mark.parametrize(
    ("low", "precision", "high", "said"),
    [
        (0.95, 0.97, 0.99, "97 ± 2 %, 200 pairs"),
        (0.9, 0.99, 1.0, "99 % (90 … 100 %), 200 pairs"),
        (None, None, None, ""),
    ],
)
def test_the_audited_precision_is_put_into_words(
    low: Any, precision: Any, high: Any, said: str
) -> None:
    key = {"rule": "fixed:0.95", "space": "raw"}
    row = {"precision": precision, "precision_low": low, "precision_high": high, "pairs": 200}
    assert findings.audited([key | row], key) == said
    assert findings.audited([], key) == ""
