"""The sections [prune], [leaks], [conflicts] and [publish]: which images are near-copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from jobs.settings.validators import (
    Columns,
    Device,
    Number,
    Section,
    Seed,
    Switch,
    Text,
    Texts,
    Whole,
    between,
    check_columns,
    distinct,
    listed,
    one_of,
)

RAW, WHITENED = "raw", "whitened"  # similarity is the cosine of latents, or of whitened latents
SPACES = (RAW, WHITENED)
# Those of the raw space are the paper's; benchmarks/defaults.py shows how the middle one of the
# whitened space was chosen.
THRESHOLDS = {RAW: (0.97, 0.95, 0.93), WHITENED: (0.9, 0.85, 0.8)}
FIXED, SHARE, SHARE_OF_ALL, RATE = "fixed", "keep_share", "keep_share_all", "pair_rate"
MOST_RULES = 60  # a 64-bit mask holds an image's state under each rule
SUBLABEL = "sublabel"  # in prune.group_by: the clusters of `modes`, not a column of images
MODES = ("all", "append")
SCOPES = ("all", "label")


@dataclass(frozen=True)
class Rule:
    """How a threshold T is chosen: given, or searched for each class or for all images together.

    target: T itself (`fixed`), the share of images to keep (`keep_share`, `keep_share_all`), or the
    share of a class's pairs above T (`pair_rate`).
    """

    kind: str
    target: float

    @classmethod
    def of(cls, value: float | str) -> Rule:
        """Return the rule of a number or of `kind:number`; raises ValueError for anything else."""
        if not isinstance(value, str):
            return cls(FIXED, float(value))
        kind, _, number = value.partition(":")
        if kind not in (FIXED, SHARE, SHARE_OF_ALL, RATE):
            raise ValueError(kind)
        return cls(kind, float(number))

    @property
    def name(self) -> str:
        """The name in the tables: `fixed:0.95`, `keep_share:0.5`."""
        return f"{self.kind}:{self.target!r}"

    @property
    def title(self) -> str:
        """The name for people: `T = 0.95`, `keep_share 0.5`."""
        return f"T = {self.target:g}" if self.kind == FIXED else f"{self.kind} {self.target:g}"

    @property
    def threshold(self) -> float | None:
        """T if it is given; None if it is searched for."""
        return self.target if self.kind == FIXED else None


def _rule_mistake(value: float | str) -> str | None:
    """Return what is wrong with one of prune.thresholds, or None."""
    try:
        rule = Rule.of(value)
    except (ValueError, OverflowError):
        return (
            f"{value!r} is no rule: give numbers such as 0.95, or {SHARE}:0.5 (the share of each "
            f"class that stays), {SHARE_OF_ALL}:0.5 (of all images), {RATE}:0.001 (the share of a "
            "class's pairs above T)"
        )
    if rule.kind == FIXED and not -1 <= rule.target <= 1:
        return f"{value!r} is no cosine: give numbers between -1 and 1"
    if rule.kind in (SHARE, SHARE_OF_ALL) and not 0 < rule.target <= 1:
        return f"{value!r}: the share to keep must be above 0 and at most 1"
    if rule.kind == RATE and not 0 < rule.target < 1:
        return f"{value!r}: the share of pairs must lie between 0 and 1"
    return None


def check_thresholds(values: Sequence[float | str]) -> Sequence[float | str]:
    """Allow at most MOST_RULES rules, none of them twice (0.97 and 0.970 are the same)."""
    wrong = [mistake for value in values if (mistake := _rule_mistake(value))]
    if wrong:
        raise ValueError("; ".join(wrong))
    if len({Rule.of(value) for value in values}) < len(values):
        raise ValueError("holds a rule twice")
    if len(values) > MOST_RULES:
        raise ValueError(f"holds {len(values)} rules; at most {MOST_RULES} are allowed")
    return values


def check_spaces(values: Sequence[str]) -> Sequence[str]:
    """Allow one of SPACES, or both."""
    if not values or not set(values) <= set(SPACES):
        raise ValueError(f"must be {', '.join(SPACES)}, or a list of both")
    return distinct("a space")(values)


def check_order(values: Sequence[str]) -> Sequence[str]:
    """Allow names of columns to sort by; a `-` before a name means falling order."""
    check_columns([value.removeprefix("-") for value in values])
    return values


def _share(entry: str) -> tuple[str, float]:
    """Return name and share of an entry `name:share`; NaN if the share is no number."""
    name, _, share = entry.rpartition(":")
    try:
        return name.strip(), float(share)
    except ValueError:
        return name.strip(), math.nan


def check_split(values: Sequence[str]) -> Sequence[str]:
    """Allow entries `name:share` whose shares sum to 1; the message tells every mistake."""
    entries = [_share(value) for value in values]
    names = [name for name, _ in entries]
    wrong = [
        f"{value!r} must be name:share, such as train:0.8, with a share above 0 and at most 1"
        for value, (name, share) in zip(values, entries, strict=True)
        if not name or not 0 < share <= 1
    ]
    wrong += [
        f"names {name} twice" for name in dict.fromkeys(names) if name and names.count(name) > 1
    ]
    total = math.fsum(share for _, share in entries)
    if entries and abs(total - 1) > 1e-9:
        wrong.append(f"the shares sum to {total!r}, they must sum to 1")
    if wrong:
        raise ValueError("; ".join(wrong))
    return values


@dataclass(frozen=True)
class Prune(Section):
    """Which images count as duplicates, and which of them stays."""

    thresholds: Annotated[
        tuple[int | float | str, ...],
        AfterValidator(check_thresholds),
        listed(int, float, str, called="numbers"),
    ] = ()
    space: Annotated[Texts, AfterValidator(check_spaces)] = (WHITENED,)
    axes: Annotated[Whole, between(1, 4096)] = 256
    seed: Seed = 0
    order: Annotated[Texts, AfterValidator(check_order)] = ()
    group_by: Columns = ("label",)
    never_across: Columns = ()
    protect: Text = ""
    mode: Annotated[Text, one_of(*MODES)] = "all"
    largest_class: Annotated[Whole, between(1, 10_000_000)] = 250_000
    window: Annotated[Whole, between(1, 1_000_000)] = 32_768
    block: Annotated[Whole, between(1, 65536)] = 1024
    device: Device = "cpu"
    audit: Annotated[Whole, between(1, 100_000)] = 500

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules by their names in the tables, in the order of the settings."""
        rules = [Rule.of(value) for value in self.thresholds]
        return {rule.name: rule for rule in rules}

    @property
    def fixed(self) -> dict[str, float]:
        """The thresholds that are given instead of searched for, by the names of their rules."""
        return {name: rule.target for name, rule in self.rules.items() if rule.kind == FIXED}

    @property
    def by_sublabel(self) -> bool:
        """Whether images are compared within sub-labels."""
        return SUBLABEL in (*self.group_by, *self.never_across)


@dataclass(frozen=True)
class Leaks(Section):
    """The reference images, which no training image may resemble."""

    split: Columns = ()
    warehouse: Text = ""
    scope: Annotated[Text, one_of(*SCOPES)] = "all"
    remove: Switch = False

    @property
    def enabled(self) -> bool:
        """Whether there is a reference to compare with."""
        return bool(self.split or self.warehouse)


@dataclass(frozen=True)
class Conflicts(Section):
    """Which pairs of unlike labels are listed."""

    threshold: Annotated[Number, between(0, 1)] = 0.0
    most: Annotated[Whole, between(1, 1_000_000_000)] = 1_000_000


@dataclass(frozen=True)
class Publish(Section):
    """Which rule's selection the training teams read, and what must hold before they do."""

    rule: Text = ""
    space: Annotated[Text, one_of(*SPACES, "")] = ""
    minimum_kept: Annotated[Whole, between(0, 10_000_000)] = 0
    most_removed: Annotated[Number, between(0, 1)] = 1.0
    most_removed_of_class: Annotated[Number, between(0, 1)] = 1.0
    split: Annotated[Texts, AfterValidator(check_split)] = ()
    seed: Seed = 0

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split, in the order of the settings; empty: there are no splits."""
        return dict(_share(entry) for entry in self.split)
