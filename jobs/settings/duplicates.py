"""The sections [prune], [leaks], [conflicts] and [publish]: which images are near-copies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

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
    check_orientations,
    check_table,
    distinct,
    listed,
    one_of,
)

# Similarity is the cosine of latents, of whitened latents, or of whitened vectors of gradients.
RAW, WHITENED, GRADIENTS = "raw", "whitened", "gradients"
SPACES = (RAW, WHITENED, GRADIENTS)
OVERLAPS = ("overlap:0.9", "overlap:0.7", "overlap:0.5")  # the default where there are pixels
# The default for vectors that are brought along without pixels. Those of the raw space are the
# paper's; benchmarks/defaults.py shows how the middle one of the whitened space was chosen.
THRESHOLDS = {RAW: (0.97, 0.95, 0.93), WHITENED: (0.9, 0.85, 0.8), GRADIENTS: (0.9, 0.85, 0.8)}
# Pairs above these are registered under an overlap rule. They are far below THRESHOLDS, for here
# the cosine only proposes.
CANDIDATES = {RAW: 0.97, WHITENED: 0.5, GRADIENTS: 0.24}
AXES = {WHITENED: 256, GRADIENTS: 512}  # of the whitening, at most
FIXED, SHARE, SHARE_OF_ALL, RATE = "fixed", "keep_share", "keep_share_all", "pair_rate"
OVERLAP = "overlap"  # not a threshold of the cosine: pictures are laid over each other
SEARCHED = (SHARE, SHARE_OF_ALL, RATE)  # T is computed from the images
KINDS = (OVERLAP, FIXED, *SEARCHED)  # in the order of lists for people
MOST_RULES = 60  # a 64-bit mask holds an image's state under each rule
SUBLABEL = "sublabel"  # in prune.group_by: the clusters of `modes`, not a column of images
MODES = ("all", "append")
SCOPES = ("all", "label")
WEBDATASET, IMAGEFOLDER = "webdataset", "imagefolder"
EXPORTS = (WEBDATASET, IMAGEFOLDER)


@dataclass(frozen=True)
class Rule:
    """When an image counts as a near-copy of another.

    Either their cosine is above a threshold T, which is given, or searched for each class or for
    all images together; or registration proves that the other shows a share of what the image
    shows.

    target: T itself (`fixed`), the share of images to keep (`keep_share`, `keep_share_all`), the
    share of a class's pairs above T (`pair_rate`), or the least share of the image's area that the
    other shows (`overlap`).
    """

    kind: str
    target: float

    @classmethod
    def of(cls, value: float | str) -> Rule:
        """Return the rule of a number or of `kind:number`; raises ValueError for anything else."""
        if not isinstance(value, str):
            return cls(FIXED, float(value))
        kind, _, number = value.partition(":")
        if kind not in KINDS:
            raise ValueError(kind)
        return cls(kind, float(number))

    @property
    def name(self) -> str:
        """The name in the tables: `fixed:0.95`, `keep_share:0.5`."""
        return f"{self.kind}:{self.target!r}"

    @property
    def title(self) -> str:
        """The name for people: `T = 0.95`, `overlap ≥ 0.7`, `keep_share 0.5`."""
        relation = {FIXED: "T = ", OVERLAP: f"{OVERLAP} ≥ "}.get(self.kind, f"{self.kind} ")
        return f"{relation}{self.target:g}"

    @property
    def short(self) -> str:
        """The name where there is little room: `0.95`, `overlap ≥ 0.7`, `keep_share:0.5`."""
        if self.kind == FIXED:
            return f"{self.target:g}"
        return self.title if self.kind == OVERLAP else self.name

    @property
    def sort_key(self) -> tuple[int, float]:
        """The key that sorts rules for people: by kind, and the largest number first."""
        return KINDS.index(self.kind), -self.target

    @property
    def threshold(self) -> float | None:
        """T if it is given; None if it is searched for, or if there is none."""
        return self.target if self.kind == FIXED else None

    @property
    def is_searched(self) -> bool:
        """Whether T is computed from the images."""
        return self.kind in SEARCHED


def asks_for_proof(rule: str) -> bool:
    """Return whether the name of a rule, which may be of no rule at all, asks for an overlap."""
    return rule.startswith(f"{OVERLAP}:")


def _rule_mistake(value: float | str) -> str | None:
    """Return what is wrong with one of prune.thresholds, or None."""
    try:
        rule = Rule.of(value)
    except (ValueError, OverflowError):
        if isinstance(value, str) and re.match(r"\s*\[|.*,", value):
            return f"{value!r} is no list: write it in quotes, as 'prune.thresholds=[0.9, 0.8]'"
        return (
            f"{value!r} is no rule: give numbers such as 0.95, or {OVERLAP}:0.7 (the share of an "
            f"image that the other one shows), {SHARE}:0.5 (the share of each class that stays), "
            f"{SHARE_OF_ALL}:0.5 (of all images), {RATE}:0.001 (the share of a class's pairs above "
            "T)"
        )
    if rule.kind == FIXED and not -1 <= rule.target <= 1:
        return f"{value!r} is no cosine: give numbers between -1 and 1"
    if rule.kind in (SHARE, SHARE_OF_ALL) and not 0 < rule.target <= 1:
        return f"{value!r}: the share to keep must be above 0 and at most 1"
    if rule.kind == OVERLAP and not 0 < rule.target <= 1:
        return f"{value!r}: the share that both images show must be above 0 and at most 1"
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


def check_published(value: Any) -> str:
    """Allow the name of a rule, or a number T, which stands for `fixed:T`; or nothing."""
    if value == "":
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number or isinstance(value, str)) or _rule_mistake(value):
        raise ValueError(
            f"must be one of the rules in prune.thresholds: {OVERLAP}:0.7, {SHARE}:0.5, or "
            f"{FIXED}:0.85 for the number 0.85"
        )
    return Rule.of(value).name


def check_likeness(value: Any) -> float | str:
    """Allow a number between 0 and 1, or an overlap as in prune.thresholds."""
    if isinstance(value, str):
        if not asks_for_proof(value) or _rule_mistake(value):
            raise ValueError(f"must be a number, or {OVERLAP}:0.7 with a share of at most 1")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, or {OVERLAP}:0.7")
    if not 0 <= value <= 1:
        raise ValueError("must lie between 0 and 1")
    return float(value)


def usual_space(rules: Iterable[Rule]) -> str:
    """Return the space that rules are of if none is named: gradients if all ask for a proof.

    Numbers were chosen for whitened latents.
    """
    return GRADIENTS if all(rule.kind == OVERLAP for rule in rules) else WHITENED


def check_spaces(values: Sequence[str]) -> Sequence[str]:
    """Allow some of SPACES; none stands for the default, which depends on the rules."""
    if not set(values) <= set(SPACES):
        raise ValueError(f"must be {', '.join(SPACES)}, or a list of some of them")
    return distinct("a space")(values)


def check_cosines(values: Sequence[float]) -> Sequence[float]:
    """Allow numbers between -1 and 1."""
    if not all(-1 <= value <= 1 for value in values):
        raise ValueError("must be numbers between -1 and 1")
    return values


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


def check_exports(values: Sequence[str]) -> Sequence[str]:
    """Allow some of EXPORTS, or an empty string for none."""
    names = tuple(value for value in values if value)
    if not set(names) <= set(EXPORTS):
        raise ValueError(f'must be {", ".join(EXPORTS)} or "", or a list of some of them')
    return distinct("a format")(names)


@dataclass(frozen=True)
class Prune(Section):
    """Which images count as duplicates, and which of them stays."""

    thresholds: Annotated[
        tuple[int | float | str, ...],
        AfterValidator(check_thresholds),
        listed(int, float, str, called="numbers"),
    ] = ()
    candidates: Annotated[
        tuple[float, ...],
        AfterValidator(check_cosines),
        listed(int, float, called="numbers"),
    ] = ()
    proof: Annotated[Number, between(0.4, 1)] = 0.4
    agreement: Annotated[Number, between(0, 1)] = 0.5
    tries: Annotated[Whole, between(1, 16_384)] = 8
    orientations: Annotated[Whole, AfterValidator(check_orientations)] = 1
    space: Annotated[Texts, AfterValidator(check_spaces)] = ()
    axes: Annotated[Whole, between(0, 4096)] = 0
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
    def overlaps(self) -> dict[str, float]:
        """The least overlap of each rule that asks for a proof, by the names of these rules."""
        return {name: rule.target for name, rule in self.rules.items() if rule.kind == OVERLAP}

    @property
    def searched(self) -> dict[str, Rule]:
        """The rules whose T is computed from the images, by their names."""
        return {name: rule for name, rule in self.rules.items() if rule.is_searched}

    @property
    def candidate_thresholds(self) -> dict[str, float]:
        """For each space the cosine above which a pair is registered under an overlap rule."""
        values = self.candidates or [CANDIDATES[space] for space in self.space]
        return dict(zip(self.space, values, strict=False))  # settings.checks compares the lengths

    def axes_of(self, space: str) -> int:
        """The most axes of a space that is whitened."""
        return self.axes or AXES[space]

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

    threshold: Annotated[float | str, BeforeValidator(check_likeness)] = 0.0
    most: Annotated[Whole, between(1, 1_000_000_000)] = 1_000_000

    @property
    def rule(self) -> Rule:
        """The rule by which two images are alike."""
        return Rule.of(self.threshold)

    @property
    def overlap(self) -> float | None:
        """The least overlap that is to be proved; None where the cosine alone decides."""
        return self.rule.target if self.rule.kind == OVERLAP else None


@dataclass(frozen=True)
class Publish(Section):
    """Which rule's selection the training teams read, and what must hold before they do."""

    rule: Annotated[str, BeforeValidator(check_published)] = ""
    space: Annotated[Text, one_of(*SPACES, "")] = ""
    table: Annotated[Text, AfterValidator(check_table)] = ""
    minimum_kept: Annotated[Whole, between(0, 10_000_000)] = 0
    most_removed: Annotated[Number, between(0, 1)] = 1.0
    most_removed_of_class: Annotated[Number, between(0, 1)] = 1.0
    split: Annotated[Texts, AfterValidator(check_split)] = ()
    seed: Seed = 0
    export: Annotated[Texts, AfterValidator(check_exports)] = ()
    export_folder: Text = ""
    shard_bytes: Annotated[Whole, between(65_536, 2**40)] = 2**29

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split, in the order of the settings; empty: there are no splits."""
        return dict(_share(entry) for entry in self.split)
