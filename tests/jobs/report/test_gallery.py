"""How many groups the gallery asks for, and how many images of each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.report import gallery
from jobs.report.evidence import COLUMNS, Evidence
from jobs.warehouse import tables


def test_the_published_selection_has_most_groups() -> None:
    keys = [("fixed:0.9", "raw"), ("fixed:0.8", "raw"), ("fixed:0.7", "raw")]
    budgets = gallery.budgets(keys, 1, 3000)
    assert budgets == {keys[0]: 125, keys[1]: 1000, keys[2]: 125}
    assert gallery.budgets(keys[:1], 0, 3000) == {keys[0]: 1000}
    assert not any(gallery.budgets(keys, 1, 0).values())


def test_many_classes_have_smaller_groups() -> None:
    assert gallery.members_per_group(5000, 2) == gallery.MOST_MEMBERS
    assert gallery.members_per_group(5000, 500) == 4
    assert gallery.members_per_group(5000, 100_000) == gallery.FEWEST_MEMBERS
    assert gallery.members_per_group(5000, 0) == gallery.MOST_MEMBERS


def removed(number: int, **more: Any) -> dict[str, Any]:
    """A removed image: the higher the number, the larger the overlap and the weaker the fit."""
    fit, overlap = 0.95 - 0.01 * number, 0.7 + 0.01 * number
    proof = Evidence(fit, 1.0, overlap, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    row = {"image_id": f"{number:02}", "label": "a", "kept": False, "kept_id": "k", "space": "raw"}
    return row | {"rule": "overlap:0.7", "similarity": 0.8} | asdict(proof) | more


def test_of_a_large_group_the_least_overlaps_and_the_weakest_registrations_are_shown(
    spark: SparkSession,
) -> None:
    """What was removed as a leak has no proof and comes last; T decides under a number's rule."""
    rows = [removed(number) for number in range(20)]
    leak = removed(20, kept_id="other", **dict.fromkeys(COLUMNS))
    by_number = [
        removed(number, rule="fixed:0.5", **dict.fromkeys(COLUMNS))
        | {"threshold": 0.5, "similarity": 0.51 + number / 100}
        for number in range(20)
    ]
    selection = spark.createDataFrame(tables.rows("selection", [*rows, leak, *by_number]))
    keys = [("overlap:0.7", "raw"), ("fixed:0.5", "raw")]
    sampled = gallery.sample_groups(selection, dict.fromkeys(keys, 10), 1, 6)
    group, other = sampled[keys[0]].shown
    assert (group.kept_id, group.removed, other.kept_id) == ("k", 20, "other")
    assert [member.image_id for member in group.members] == ["00", "01", "02", "17", "18", "19"]
    assert [member.margin for member in group.members[:2]] == pytest.approx([0.0, 0.01])
    assert (other.members[0].margin, other.members[0].evidence) == (gallery.MOST_MARGIN, None)
    (group,) = sampled[keys[1]].shown
    assert [member.image_id for member in group.members] == [f"{n:02}" for n in range(6)]
    assert [member.margin for member in group.members[:2]] == pytest.approx([0.01, 0.02])


def test_the_groups_with_the_weakest_registrations_are_among_the_shown(
    spark: SparkSession,
) -> None:
    rows = [removed(number, kept_id=f"k{number:02}") for number in range(20)]
    selection = spark.createDataFrame(tables.rows("selection", rows))
    sampled = gallery.sample_groups(selection, {("overlap:0.7", "raw"): 6}, 1)
    groups = sampled["overlap:0.7", "raw"]
    assert groups.total == 20
    assert {group.kept_id for group in groups.shown} >= {"k00", "k01", "k18", "k19"}
