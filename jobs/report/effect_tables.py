"""The tables of the section "What removal did": regression lines, entropies, dependence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.report.selections import Selection

Rows = Sequence[Mapping[str, Any]]
MEASURES = ("entropy_before", "entropy_after", "scale_free_before", "scale_free_after")


def lines(regression: Rows, selections: Sequence[Selection]) -> list[dict[str, Any]]:
    """Return the rows of `regression` with the titles of their rules, by rule and component."""
    ordered = sorted(regression, key=lambda row: int(row["component"]))
    return [
        {**row, "title": selection.title}
        for selection in selections
        for row in ordered
        if selection.is_of(row)
    ]


def entropies(effect: Rows, selections: Sequence[Selection]) -> list[dict[str, Any]]:
    """Return the entropies of each rule and component before and after removal, over all classes.

    They are means over the classes in nats, the share of classes whose entropy rose, and the
    numbers of classes that ended above and below the band of random removals.
    """
    result = []
    components = sorted({row["component"] for row in effect})
    for selection, component in itertools.product(selections, components):
        rows = [row for row in effect if selection.is_of(row) and row["component"] == component]
        if not rows:
            continue
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in MEASURES}
        result.append(
            {
                "title": selection.title,
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
    """Return the share of classes in which a measure rose."""
    return sum(bool(row[after] > row[before]) for row in rows) / len(rows)


def _beyond(rows: Rows, name: str) -> str:
    """Return in how many classes a measure ended above and below the band of random removals."""
    drawn = [row for row in rows if row[f"{name}_low"] is not None]
    if not drawn:
        return "–"
    above = sum(row[f"{name}_after"] > row[f"{name}_high"] for row in drawn)
    below = sum(row[f"{name}_after"] < row[f"{name}_low"] for row in drawn)
    return f"{above} ↑ {below} ↓"


def dependence(table: Rows) -> dict[str, Any]:
    """Return the number of classes, the median divergence in nats, and the class of the largest.

    Empty if no class has two components.
    """
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
