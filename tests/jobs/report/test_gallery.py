"""How many groups the gallery asks for, and how many images of each."""

from __future__ import annotations

from jobs.report import gallery


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
