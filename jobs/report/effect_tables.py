"""What removal did to the distribution, as the page tells it: lines, entropies, dependence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.report.selections import Choice

Rows = Sequence[Mapping[str, Any]]
MEASURES = ("entropy_before", "entropy_after", "scale_free_before", "scale_free_after")


def lines(regression: Rows, chosen: Sequence[Choice]) -> list[dict[str, Any]]:
    """The rows of `regression` with their rule's title: rule by rule, then by component."""
    ordered = sorted(regression, key=lambda row: int(row["component"]))
    return [
        {**row, "title": choice.title} for choice in chosen for row in ordered if choice.is_of(row)
    ]


def entropies(effect: Rows, chosen: Sequence[Choice]) -> list[dict[str, Any]]:
    """Means over the classes, and the share of classes where the entropy rose."""
    result = []
    components = sorted({row["component"] for row in effect})
    for choice, component in ((choice, k) for choice in chosen for k in components):
        rows = [row for row in effect if choice.is_of(row) and row["component"] == component]
        if not rows:
            continue
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in MEASURES}
        result.append(
            {
                "title": choice.title,
                "component": component,
                "before": mean["entropy_before"],
                "after": mean["entropy_after"],
                "rose": _share(rows, "entropy_before", "entropy_after"),
                "free_before": mean["scale_free_before"],
                "free_after": mean["scale_free_after"],
                "free_rose": _share(rows, "scale_free_before", "scale_free_after"),
                "beyond": _beyond(rows, "entropy"),
                "free_beyond": _beyond(rows, "scale_free"),
            }
        )
    return result


def _share(rows: Rows, before: str, after: str) -> float:
    return sum(bool(row[after] > row[before]) for row in rows) / len(rows)


def _beyond(rows: Rows, name: str) -> str:
    """In how many classes a measure ended above and below what random removals do."""
    known = [row for row in rows if row[f"{name}_low"] is not None]
    if not known:
        return "–"
    above = sum(row[f"{name}_after"] > row[f"{name}_high"] for row in known)
    below = sum(row[f"{name}_after"] < row[f"{name}_low"] for row in known)
    return f"{above} ↑ {below} ↓"


def dependence(table: Rows) -> dict[str, Any]:
    """Classes, the median of their divergences, and the class of the largest; empty: none."""
    rows = sorted(table, key=lambda row: (row["divergence"], row["label"]))
    if not rows:
        return {}
    middle, largest = rows[len(rows) // 2], rows[-1]
    return {
        "classes": len(rows),
        "median": middle["divergence"],
        "largest": largest["divergence"],
        "label": largest["label"],
    }
