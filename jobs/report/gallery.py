"""Samples the groups that the gallery shows: a kept image, and images that were removed for it.

The classes take turns: first come the most doubtful and the largest group of each class, then the
second ones, until the budget is reached. A group is the more doubtful, the nearer the similarity of
one of its removed images is to T. Under an overlap rule it is the more doubtful, the nearer one of
its overlaps is to the least that the rule asks for; and the groups with the weakest registrations
take turns as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from jobs.report.evidence import COLUMNS, Evidence
from jobs.report.selections import KEY
from jobs.settings.duplicates import OVERLAP, Rule
from jobs.warehouse import arrow_frames
from jobs.warehouse.tables import TABLES

FEWEST_MEMBERS, MOST_MEMBERS = 2, 8  # removed images shown of a group, the most doubtful ones
MOST_MARGIN = 1.0
MEMBER = ("image_id", "label", "similarity", "margin", *COLUMNS)


@dataclass(frozen=True)
class Member:
    """A removed image.

    margin: its similarity to the kept image, minus T; under an overlap rule its overlap, minus the
    least one. evidence: the registration that proves the removal, under an overlap rule.
    """

    image_id: str
    label: str
    similarity: float
    margin: float
    evidence: Evidence | None = None

    @classmethod
    def of(cls, row: Row) -> Member:
        """Return the member of a struct of the columns MEMBER."""
        return cls(row.image_id, row.label, row.similarity, row.margin, Evidence.of(row.asDict()))

    @property
    def fit(self) -> float:
        """The registration; where there is none, the margin."""
        return self.margin if self.evidence is None else self.evidence.registration


@dataclass(frozen=True)
class Group:
    """A kept image and removed ones, those nearest to T first.

    removed: how many images were removed for the kept one; members: the most doubtful of them.
    """

    kept_id: str
    label: str
    removed: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Groups:
    """The groups of a selection that may be shown, in the order of their turns; total: of all."""

    total: int
    shown: tuple[Group, ...]


def sample_groups(
    selection: DataFrame,
    budgets: Mapping[tuple[str, str], int],
    classes: int,
    most_members: int = MOST_MEMBERS,
) -> dict[tuple[str, str], Groups]:
    """Return the groups of each selection that its budget allows, by rule and space.

    Args:
        selection: the table `selection`.
        budgets: the number of groups to show, by rule and space.
        classes: the number of classes, which bounds how many turns are needed.
        most_members: the number of removed images to show of each group.

    """
    if not any(budgets.values()):
        return {}
    complete = arrow_frames.completed(selection, TABLES["selection"].schema)
    removed = complete.where("NOT kept").withColumn("margin", _margin(rule for rule, _ in budgets))
    removed = removed.withColumn("fit", F.coalesce("registration", "margin"))
    member = F.struct(*MEMBER)
    groups = removed.groupBy(*KEY, "kept_id").agg(
        F.count("*").alias("removed"),
        F.min("margin").alias("margin"),
        F.min("fit").alias("fit"),
        F.min("label").alias("label"),
        F.min_by(member, F.struct("margin", "image_id"), most_members).alias("nearest"),
        F.min_by(member, F.struct("fit", "image_id"), most_members).alias("weakest"),
    )
    sampled: dict[tuple[str, str], Groups] = {}
    for row in _within_budget(groups, budgets, classes).sort(*KEY, "rank").collect():
        group = Group(row.kept_id, row.label, row.removed, _members(row, most_members))
        earlier = sampled.get((row.rule, row.space), Groups(row.total, ()))
        sampled[row.rule, row.space] = Groups(row.total, (*earlier.shown, group))
    return sampled


def _margin(rules: Iterable[str]) -> Column:
    """Return similarity − T or, under an overlap rule, overlap − the least overlap.

    It is MOST_MARGIN for what was removed without either, such as a leak under an overlap rule.
    """
    overlaps = {name: rule for name in rules if (rule := Rule.of(name)).kind == OVERLAP}
    margin = F.col("similarity") - F.col("threshold")
    for name, rule in overlaps.items():
        margin = F.when(F.col("rule") == name, F.col("overlap") - rule.target).otherwise(margin)
    return F.coalesce(margin, F.lit(MOST_MARGIN))


def _members(row: Row, most: int) -> tuple[Member, ...]:
    """Return the members nearest to T and those that fit worst, by turns; sorted by margin."""
    nearest = sorted(map(Member.of, row.nearest), key=_by_margin)
    weakest = sorted(map(Member.of, row.weakest), key=lambda member: (member.fit, member.image_id))
    turns = itertools.chain.from_iterable(zip(nearest, weakest, strict=True))
    chosen = list(dict.fromkeys(turns))[:most]
    return tuple(sorted(chosen, key=_by_margin))


def _by_margin(member: Member) -> tuple[float, str]:
    """Return what members are sorted by: the margin, then the id."""
    return member.margin, member.image_id


def _within_budget(
    groups: DataFrame, budgets: Mapping[tuple[str, str], int], classes: int
) -> DataFrame:
    """Return as many groups as each budget allows, with their `rank` by turns and the `total`."""
    of_class = Window.partitionBy(*KEY, "label")
    ranked = groups.withColumns(
        {
            "doubt": F.row_number().over(of_class.orderBy("margin", "kept_id")),
            "weakness": F.row_number().over(of_class.orderBy("fit", "kept_id")),
            "size": F.row_number().over(of_class.orderBy(F.desc("removed"), "kept_id")),
            "of_class": F.count("*").over(of_class),
        }
    ).withColumn("turn", F.least("doubt", "weakness", "size"))
    budget = F.coalesce(*(_when(key, most) for key, most in budgets.items()), F.lit(0))
    turns = 1 + 4 * max(budgets.values()) // max(classes, 1)  # some classes have few groups
    of_rule = Window.partitionBy(*KEY)
    numbered = ranked.where(F.col("turn") <= turns).withColumns(
        {
            "total": F.sum(F.when(F.col("doubt") == 1, F.col("of_class"))).over(of_rule),
            "rank": F.row_number().over(of_rule.orderBy("turn", "margin", "kept_id")),
        }
    )
    return numbered.where(F.col("rank") <= budget)


def _when(key: tuple[str, str], most: int) -> Column:
    """Return a budget for the rows of one selection, null for others."""
    rule, space = key
    return F.when((F.col("rule") == rule) & (F.col("space") == space), F.lit(most))


def budgets(
    keys: Sequence[tuple[str, str]], published: int, pictures: int
) -> dict[tuple[str, str], int]:
    """Return how many groups of each selection are sampled, most of the published one.

    Args:
        keys: rule and space of each selection.
        published: the index of the published one.
        pictures: how many images the page may show; a group takes two or more.

    """
    others = math.ceil(pictures / 12 / max(len(keys) - 1, 1))
    return {key: pictures // 3 if index == published else others for index, key in enumerate(keys)}


def members_per_group(pictures: int, classes: int) -> int:
    """Return how many removed images of a group are shown, so that each class has a group."""
    return min(max(pictures // (2 * max(classes, 1)) - 1, FEWEST_MEMBERS), MOST_MEMBERS)
