"""The selections that a report is about: every rule in every space, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.settings.duplicates import Rule

KEY = ("rule", "space")  # of one selection


@dataclass(frozen=True)
class Choice:
    """A rule in a space: what one selection is of."""

    rule: str
    space: str
    title: str
    finds: bool  # its own T, perhaps another in each class

    @property
    def key(self) -> tuple[str, str]:
        """Rule and space."""
        return self.rule, self.space

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a table is of this selection."""
        return (row["rule"], row["space"]) == self.key


def choices(counts: Iterable[Mapping[str, Any]]) -> list[Choice]:
    """Every selection, space by space: given thresholds, the highest first, then those found."""
    found = {(row["space"], row["rule"]): Rule.of(row["rule"]) for row in counts}
    several = len({space for space, _ in found}) > 1
    ordered = sorted(
        found.items(),
        key=lambda item: (
            item[0][0],
            item[1].threshold is None,
            -(item[1].threshold or 0),
            item[1].kind,
            -item[1].target,
        ),
    )
    return [
        Choice(name, space, rule.title + (f" {space}" if several else ""), rule.threshold is None)
        for (space, name), rule in ordered
    ]
