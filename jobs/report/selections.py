"""The selections that a report shows: one for each rule in each space, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.settings.duplicates import FIXED, OVERLAP, Rule

ORDER = {OVERLAP: 0, FIXED: 1}  # of the kinds of rules; those that search for T come last
KEY = ("rule", "space")  # the columns that identify a selection


@dataclass(frozen=True)
class Selection:
    """What a rule keeps in a space.

    is_searched: T is searched for, perhaps another in each class, instead of given.
    """

    rule: str
    space: str
    title: str
    is_searched: bool

    @property
    def key(self) -> tuple[str, str]:
        """The rule and the space."""
        return self.rule, self.space

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row of a table belongs to this selection."""
        return (row["rule"], row["space"]) == self.key


def selections(counts: Iterable[Mapping[str, Any]]) -> list[Selection]:
    """Return the selections of rows with a rule and a space, space by space.

    In each space the overlap rules come first, then the given thresholds, the highest before the
    others, then the rules that search for one.
    """
    rules = {(row["space"], row["rule"]): Rule.of(row["rule"]) for row in counts}
    several = len({space for space, _ in rules}) > 1
    ordered = sorted(
        rules.items(),
        key=lambda item: (
            item[0][0],
            ORDER.get(item[1].kind, len(ORDER)),
            item[1].kind,
            -item[1].target,
        ),
    )
    return [
        Selection(name, space, rule.title + (f" {space}" if several else ""), rule.is_searched)
        for (space, name), rule in ordered
    ]
