"""The order in which the page names its selections."""

from __future__ import annotations

from jobs.report.selections import Selection, selections

RULES = ("keep_share:0.2", "fixed:0.9", "pair_rate:0.01", "fixed:0.97", "keep_share:0.5")


def test_given_thresholds_come_first_and_the_highest_before() -> None:
    shown = selections({"rule": rule, "space": "raw"} for rule in RULES)
    assert [selection.rule for selection in shown] == [
        "fixed:0.97",
        "fixed:0.9",
        "keep_share:0.5",
        "keep_share:0.2",
        "pair_rate:0.01",
    ]
    assert [selection.title for selection in shown[:3]] == ["T = 0.97", "T = 0.9", "keep_share 0.5"]
    assert [selection.is_searched for selection in shown] == [False, False, True, True, True]


def test_proofs_come_before_thresholds_and_the_largest_overlap_first() -> None:
    names = ("fixed:0.9", "overlap:0.5", "pair_rate:0.01", "overlap:0.9", "overlap:0.7")
    shown = selections({"rule": rule, "space": "raw"} for rule in names)
    assert [selection.title for selection in shown] == [
        "overlap ≥ 0.9",
        "overlap ≥ 0.7",
        "overlap ≥ 0.5",
        "T = 0.9",
        "pair_rate 0.01",
    ]
    assert [selection.is_searched for selection in shown] == [False, False, False, False, True]


def test_of_several_spaces_each_is_named_in_the_title() -> None:
    rows = [{"rule": "fixed:0.5", "space": space} for space in ("whitened", "raw", "raw")]
    shown = selections(rows)
    assert [(selection.key, selection.title) for selection in shown] == [
        (("fixed:0.5", "raw"), "T = 0.5 raw"),
        (("fixed:0.5", "whitened"), "T = 0.5 whitened"),
    ]


def test_a_row_belongs_to_the_selection_of_its_rule_and_space() -> None:
    selection = Selection("fixed:0.5", "raw", "T = 0.5", False)
    assert selection.is_of({"rule": "fixed:0.5", "space": "raw", "kept": True})
    assert not selection.is_of({"rule": "fixed:0.5", "space": "whitened"})
    assert not selection.is_of({"rule": "fixed:0.6", "space": "raw"})
