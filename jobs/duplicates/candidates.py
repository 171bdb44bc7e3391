"""The candidates of pruning: for each rule, which images are references and which are pending.

For each rule an image is a *reference* (it is kept already; others are compared with it, it is
never removed), *pending* (it is to be decided now) or neither (it is removed already). The columns
`reference_mask` and `pending_mask` hold one bit for each rule, in the order of the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.duplicates.groups import by_order
from jobs.settings.duplicates import Prune

COMPARED = "reference_mask != 0 OR pending_mask != 0"  # SQL: the image takes part in comparisons


def with_masks(
    members: DataFrame,
    rules: Sequence[str],
    *,
    earlier: DataFrame | None = None,
    dropped: DataFrame | None = None,
    leaks: DataFrame | None = None,
) -> DataFrame:
    """The candidates: `groups.grouped` with both masks, and the truth values below.

    `decided_earlier`: of an image that an earlier run decided; also if some rules decide it anew,
    since it is no new one. `fixed`: of one that is kept whatever it resembles: it is protected, or
    it shows next to nothing.

    Args:
        members: the images with their groups.
        rules: the names of the rules, one for each bit.
        earlier: an earlier selection whose decisions hold (mode append): images that it kept are
            references.
        dropped: rows of an earlier selection that hold no more: these rules decide the image anew.
        leaks: rows of image and rule; the image is removed by this rule as a leak.
    """
    every = F.lit((1 << len(rules)) - 1).cast("bigint")
    none = F.lit(0).cast("bigint")
    protected = F.col("protected") | F.col("alone")
    reference_mask = F.when(protected, every).otherwise(none)
    pending_mask = F.when(protected, none).otherwise(every)
    decided = F.lit(False)
    if leaks is not None:
        leaked = _mask(leaks, rules, F.lit(True), "leaked")
        members = members.join(leaked, on=["image_id", "space"], how="left")
        pending_mask = pending_mask.bitwiseAND(F.bitwise_not(F.coalesce("leaked", none)))
    if earlier is not None:
        kept = _mask(earlier, rules, F.col("kept"), "kept_earlier")
        members = members.join(kept, on=["image_id", "space"], how="left")
        decided = F.col("kept_earlier").isNotNull()
        open_mask = none
        if dropped is not None:
            anew = _mask(dropped, rules, F.lit(True), "dropped_earlier")
            members = members.join(anew, on=["image_id", "space"], how="left")
            decided |= F.col("dropped_earlier").isNotNull()
            open_mask = F.coalesce("dropped_earlier", none).bitwiseAND(pending_mask)
        kept_mask = F.coalesce("kept_earlier", none)
        reference_mask = F.when(decided, kept_mask).otherwise(reference_mask)
        pending_mask = F.when(decided, open_mask).otherwise(pending_mask)
    masks = {"reference_mask": reference_mask, "pending_mask": pending_mask}
    candidates = members.withColumns(masks | {"decided_earlier": decided, "fixed": protected})
    return candidates.drop("leaked", "kept_earlier", "dropped_earlier")


def by_rules(candidates: DataFrame, rules: Sequence[str], names: Collection[str]) -> DataFrame:
    """The candidates as some of the rules see them; rules: all, in the order of the bits."""
    bits = F.lit(sum(1 << level for level, rule in enumerate(rules) if rule in names))
    masks = ("reference_mask", "pending_mask")
    return candidates.withColumns({name: F.col(name).bitwiseAND(bits) for name in masks})


def _mask(rows: DataFrame, rules: Sequence[str], condition: Column, name: str) -> DataFrame:
    """For each image and space a mask `name` of the rules for which a row fulfils a condition."""
    bits = F.lit(0).cast("bigint")
    for level, rule in enumerate(rules):
        bits = F.when(F.col("rule") == rule, F.lit(1 << level).cast("bigint")).otherwise(bits)
    chosen = F.when(condition, bits).otherwise(F.lit(0).cast("bigint"))
    return rows.groupBy("image_id", "space").agg(F.bit_or(chosen).alias(name))


def with_places(candidates: DataFrame, settings: Prune, *, with_removed: bool) -> DataFrame:
    """Candidates with the column `place`: the rank in the whole group, from 0.

    with_removed: whether groups have images that are not compared, because they are removed
    already. Else the places are null: they are the images' positions. Decided and protected images
    come first. So an image has the same place whatever other rules there are, and in one run on all
    images as in mode append. Images that are decided anew, because the one that stood for them was
    withdrawn, come after the other decided ones, as in `in_order`.
    """
    if not with_removed:
        return candidates.withColumn("place", F.lit(None).cast("bigint"))
    fixed = F.col("decided_earlier") | F.col("fixed")
    standing = F.when(fixed & (F.col("pending_mask") == 0), 0).when(fixed, 1).otherwise(2)
    window = Window.partitionBy("group").orderBy("standing", *by_order(settings), "image_id")
    keys = [name for name in candidates.columns if name.startswith("order_")]
    narrow = candidates.select("image_id", "group", standing.alias("standing"), *keys)
    place = (F.row_number().over(window) - 1).cast("bigint").alias("place")
    return candidates.join(narrow.select("image_id", "group", place), on=["image_id", "group"])


def in_order(settings: Prune) -> list[Column]:
    """The sort keys of a group's candidates: references first, then `prune.order`, nulls last.

    Of the others, those that an earlier run decided come before new ones. Images that are equal by
    all of it follow by `image_id`, in the order of its UTF-8 bytes, as Spark compares strings.
    """
    standing = F.when(F.col("reference_mask") != 0, 0).when(F.col("decided_earlier"), 1)
    return [standing.otherwise(2), *by_order(settings)]
