"""Samples the groups that the gallery shows: a kept image, and images that were removed for it.

The classes take turns: first come the most doubtful and the largest group of each class, then the
second ones, until the budget is reached. A group is the more doubtful, the nearer the similarity of
one of its removed images is to T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.report.selections import KEY

FEWEST_MEMBERS, MOST_MEMBERS = 2, 8  # removed images shown of a group, the most doubtful ones


@dataclass(frozen=True)
class Member:
    """A removed image; margin: its similarity to the kept image, minus T."""

    image_id: str
    label: str
    similarity: float
    margin: float


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
    removed = selection.where("NOT kept").withColumn("margin", F.expr("similarity - threshold"))
    member = F.struct("image_id", "label", "similarity", "margin")
    order = F.struct("margin", "image_id")
    groups = removed.groupBy(*KEY, "kept_id").agg(
        F.count("*").alias("removed"),
        F.min("margin").alias("margin"),
        F.min("label").alias("label"),
        F.min_by(member, order, most_members).alias("members"),
    )
    sampled: dict[tuple[str, str], Groups] = {}
    for row in _within_budget(groups, budgets, classes).sort(*KEY, "rank").collect():
        members = [Member(**member.asDict()) for member in row.members]
        members.sort(key=lambda member: (member.margin, member.image_id))
        group = Group(row.kept_id, row.label, row.removed, tuple(members))
        earlier = sampled.get((row.rule, row.space), Groups(row.total, ()))
        sampled[row.rule, row.space] = Groups(row.total, (*earlier.shown, group))
    return sampled


def _within_budget(
    groups: DataFrame, budgets: Mapping[tuple[str, str], int], classes: int
) -> DataFrame:
    """Return as many groups as each budget allows, with their `rank` by turns and the `total`."""
    of_class = Window.partitionBy(*KEY, "label")
    ranked = groups.withColumns(
        {
            "doubt": F.row_number().over(of_class.orderBy("margin", "kept_id")),
            "size": F.row_number().over(of_class.orderBy(F.desc("removed"), "kept_id")),
            "of_class": F.count("*").over(of_class),
        }
    ).withColumn("turn", F.least("doubt", "size"))
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
