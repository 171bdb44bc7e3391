"""The selections that a report shows: one for each rule in each space, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.settings.duplicates import Rule

KEY = ("rule", "space")  # the columns that identify a selection


@dataclass(frozen=True)
class Selection:
    """What a rule keeps in a space.

    is_searched: T is computed, perhaps another in each class.
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

    In each space the rules that ask for an overlap come first, then the given thresholds, then the
    rules that compute one; of each kind that of the largest number first.
    """
    rules = {(row["space"], row["rule"]): Rule.of(row["rule"]) for row in counts}
    several = len({space for space, _ in rules}) > 1
    ordered = sorted(rules.items(), key=lambda item: (item[0][0], item[1].sort_key))
    return [
        Selection(name, space, rule.title + (f" {space}" if several else ""), rule.is_searched)
        for (space, name), rule in ordered
    ]
