"""The page's tables of effects: lines, entropies, and how the first axes depend on each other."""

from __future__ import annotations

from typing import Any

from jobs.report import effect_tables
from jobs.report.selections import Selection

HIGH = Selection("fixed:0.9", "raw", "T = 0.9", False)
LOW = Selection("fixed:0.8", "raw", "T = 0.8", False)


def effect(label: str, entropy: tuple[float, float], **others: Any) -> dict[str, Any]:
    """A row of `effect`: entropy before and after removal; the scale-free one is 1 below."""
    before, after = entropy
    return {
        "label": label,
        "rule": "fixed:0.9",
        "space": "raw",
        "component": 1,
        "entropy_before": before,
        "entropy_after": after,
        "scale_free_before": before - 1,
        "scale_free_after": after - 1,
        "entropy_low": None,
        "entropy_high": None,
        "scale_free_low": None,
        "scale_free_high": None,
        **others,
    }


def test_lines_have_their_rules_titles_rule_by_rule() -> None:
    rows = [
        {"rule": rule, "space": "raw", "component": component}
        for component in (10, 2)
        for rule in ("fixed:0.8", "fixed:0.9", "fixed:0.7")
    ]
    lines = effect_tables.lines(rows, [HIGH, LOW])
    assert [(row["title"], row["component"]) for row in lines] == [
        ("T = 0.9", 2),
        ("T = 0.9", 10),
        ("T = 0.8", 2),
        ("T = 0.8", 10),
    ]


def test_entropies_are_means_over_classes_beside_what_random_removals_do() -> None:
    bands = {"entropy_low": 1.0, "entropy_high": 2.0}
    rows = [
        effect("above", (1.0, 3.0), **bands),
        effect("below", (2.0, 0.5), **bands),
        effect("inside", (1.5, 2.0), **bands),
        effect("not drawn", (1.5, 9.5)),
        effect("other component", (7.0, 7.0), component=2),
        effect("other rule", (7.0, 7.0), rule="fixed:0.5"),
    ]
    first, second = effect_tables.entropies(rows, [HIGH, LOW])
    assert (first["title"], first["component"]) == ("T = 0.9", 1)
    assert (first["before"], first["after"], first["rose"]) == (1.5, 3.75, 0.75)
    assert (first["free_before"], first["free_after"], first["free_rose"]) == (0.5, 2.75, 0.75)
    assert (first["beyond"], first["free_beyond"]) == ("1 ↑ 1 ↓", "–")
    assert (second["component"], second["before"], second["rose"]) == (2, 7.0, 0.0)


def test_dependence_is_the_median_class_and_the_largest() -> None:
    rows = [
        {"label": label, "divergence": d} for label, d in zip("abc", (0.3, 0.1, 0.2), strict=True)
    ]
    assert effect_tables.dependence(rows) == {
        "classes": 3,
        "median": 0.2,
        "largest": 0.3,
        "label": "a",
    }
    assert effect_tables.dependence([]) == {}
