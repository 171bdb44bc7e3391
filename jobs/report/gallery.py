"""Groups for the gallery: a kept image and some of those removed for it, some groups of each class.

Every class has its turn: first each one's most doubtful and its largest group, then the second of
each, until the budget is reached. Most doubtful: the similarity nearest to T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.report.selections import KEY

FEWEST, MOST = 2, 8  # removed images shown of a group, the most doubtful ones


@dataclass(frozen=True)
class Member:
    """A removed image; margin: its similarity with the kept one above T."""

    image_id: str
    label: str
    similarity: float
    margin: float


@dataclass(frozen=True)
class Group:
    """A kept image and its most doubtful removed ones, the nearest to T first."""

    kept_id: str
    label: str
    removed: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Groups:
    """Some groups of one selection, most wanted first; total: how many there are."""

    total: int
    shown: tuple[Group, ...]


def gather(
    selection: DataFrame, budgets: Mapping[tuple[str, str], int], classes: int, most: int = MOST
) -> dict[tuple[str, str], Groups]:
    """The groups of each selection that its budget has room for, by rule and space.

    most: removed images of each.
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
        F.min_by(member, order, most).alias("members"),
    )
    found: dict[tuple[str, str], Groups] = {}
    for row in _wanted(groups, budgets, classes).sort(*KEY, "place").collect():
        members = [Member(**member.asDict()) for member in row.members]
        members.sort(key=lambda member: (member.margin, member.image_id))
        group = Group(row.kept_id, row.label, row.removed, tuple(members))
        before = found.get((row.rule, row.space), Groups(row.total, ()))
        found[row.rule, row.space] = Groups(row.total, (*before.shown, group))
    return found


def _wanted(groups: DataFrame, budgets: Mapping[tuple[str, str], int], classes: int) -> DataFrame:
    """Groups in the turns of their classes, as many as each budget says, with `place`, `total`."""
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
    placed = ranked.where(F.col("turn") <= turns).withColumns(
        {
            "total": F.sum(F.when(F.col("doubt") == 1, F.col("of_class"))).over(of_rule),
            "place": F.row_number().over(of_rule.orderBy("turn", "margin", "kept_id")),
        }
    )
    return placed.where(F.col("place") <= budget)


def _when(key: tuple[str, str], most: int) -> Column:
    rule, space = key
    return F.when((F.col("rule") == rule) & (F.col("space") == space), F.lit(most))


def budgets(
    chosen: Sequence[tuple[str, str]], published: int, pictures: int
) -> dict[tuple[str, str], int]:
    """Groups asked for of each selection: most of the published one, some of every other.

    pictures: how many images the page may show; a group takes two or more.
    """
    others = math.ceil(pictures / 12 / max(len(chosen) - 1, 1))
    return {
        key: pictures // 3 if place == published else others for place, key in enumerate(chosen)
    }


def members(pictures: int, classes: int) -> int:
    """Removed images to show of each group, so that every class has a group in the page."""
    return min(max(pictures // (2 * max(classes, 1)) - 1, FEWEST), MOST)
