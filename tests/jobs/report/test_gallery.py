"""How many groups the gallery asks for, and how many images of each."""

from __future__ import annotations

from jobs.report import gallery


def test_the_published_selection_has_most_groups() -> None:
    chosen = [("fixed:0.9", "raw"), ("fixed:0.8", "raw"), ("fixed:0.7", "raw")]
    found = gallery.budgets(chosen, 1, 3000)
    assert found == {chosen[0]: 125, chosen[1]: 1000, chosen[2]: 125}
    assert gallery.budgets(chosen[:1], 0, 3000) == {chosen[0]: 1000}
    assert not any(gallery.budgets(chosen, 1, 0).values())


def test_many_classes_have_smaller_groups() -> None:
    assert gallery.members(5000, 2) == gallery.MOST
    assert gallery.members(5000, 500) == 4
    assert gallery.members(5000, 100_000) == gallery.FEWEST
    assert gallery.members(5000, 0) == gallery.MOST
