"""What prune compares: latents with their group, their order, and what is decided before.

A group is what images must share to be compared: the space that their similarity is of, and by
default the label. Its name is "<space>/<the rest>". An image stands at a
threshold (a reference: never removed, first in order), or is to be decided there, or neither.
Both are masks with a bit for each rule, in the rules' order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.autoencoder.latents import LATENT_WIDTH
from jobs.errors import SettingsError
from jobs.settings.duplicates import SUBLABEL, Prune
from jobs.warehouse import arrow_frames

DENSITY = "log_density"  # a name in prune.order for what `project` found, no column of images
NONE = "none"  # the density before removal


def space_of(group: str) -> str:
    """The space in a group's name."""
    return group.partition("/")[0]


def rest_of(group: str) -> str:
    """What follows the space in a group's name: of groups by label the label."""
    return group.partition("/")[2]


def space_column() -> Column:
    """The space in the column `group`."""
    return F.substring_index("group", "/", 1)


def fitting(images: int, width: int) -> int:
    """So many images of width 1024, or as many fewer as latents of this width are wider."""
    return max(1, images * LATENT_WIDTH // max(LATENT_WIDTH, width))


def needs_images(settings: Prune) -> bool:
    """Whether columns of `images` decide anything."""
    columns = set(names(settings.order)) - {DENSITY}
    whole = not settings.group_by and not settings.never_across
    return bool(columns or settings.protect or not (by_label(settings) or whole))


def by_label(settings: Prune) -> bool:
    """Whether the groups are the classes."""
    return settings.group_by == ("label",) and not settings.never_across


def check(images: DataFrame, settings: Prune) -> None:
    """Raise SettingsError with every column that is not there or cannot serve, a line each."""
    mistakes = []
    kinds = {column.name: column.dataType for column in images.schema}
    asked = {
        "order": [name for name in names(settings.order) if name != DENSITY],
        "group_by": [name for name in settings.group_by if name != SUBLABEL],
        "never_across": [name for name in settings.never_across if name != SUBLABEL],
    }
    for key, columns in asked.items():
        missing = [column for column in columns if column not in kinds]
        if missing:
            known = ", ".join(column for column in kinds if column != "pixels")
            mistakes.append(
                f"prune.{key}: the table images has no column {', '.join(missing)}; it has {known}"
            )
        unfit = [
            f"{column} ({kinds[column].simpleString()})"
            for column in columns
            if isinstance(kinds.get(column), arrow_frames.UNORDERED)
        ]
        if unfit:
            mistakes.append(
                f"prune.{key}: {', '.join(unfit)}: has no order and no plain equality; name "
                "columns of numbers, text, times or truth values"
            )
    if DENSITY in names(settings.order) and DENSITY in kinds:
        mistakes.append(
            f"prune.order: {DENSITY} is a column of images and of projections: rename yours"
        )
    if settings.by_sublabel and SUBLABEL in kinds:
        mistakes.append(
            f"prune.group_by: {SUBLABEL} is a column of images and of sublabels: rename yours"
        )
    mistakes += _wrong_predicate(images, settings.protect)
    if mistakes:
        raise SettingsError("\n".join(mistakes))


def _wrong_predicate(images: DataFrame, predicate: str) -> list[str]:
    if not predicate:
        return []
    try:
        kind = images.select(F.expr(predicate)).schema[0].dataType
    except (AnalysisException, ParseException) as wrong:
        reason = str(wrong).strip().splitlines()[0]
        return [f"prune.protect = {predicate!r}: no SQL predicate on images: {reason}"]
    if not isinstance(kind, T.BooleanType):
        return [
            f"prune.protect = {predicate!r}: gives {kind.simpleString()}; write a condition, such "
            "as split = 'test'"
        ]
    return []


def grouped(
    spaces: Mapping[str, DataFrame],
    images: DataFrame | None,
    projections: DataFrame | None,
    settings: Prune,
    reference: Sequence[str] = (),
    sublabels: DataFrame | None = None,
) -> DataFrame:
    """Latents with the columns `group`, `protected` and `order_<i>`, one for each of the order's.

    spaces: what stands for the images in each space, always in the column `latent`. Columns of the
    group that are null are equal to each other. reference: splits whose images are protected.
    """
    named_spaces = [latents.withColumn("space", F.lit(space)) for space, latents in spaces.items()]
    found = reduce(DataFrame.unionByName, named_spaces)
    if images is not None:
        named = {column: f"image_{i}" for i, column in enumerate(images.columns)}
        predicate = F.expr(settings.protect) if settings.protect else F.lit(False)
        columns = dict.fromkeys(
            [*names(settings.order), *settings.group_by, *settings.never_across]
        )
        more = [F.col(f"`{name}`").alias(named[name]) for name in columns if name in named]
        marks = images.select(
            "image_id", F.coalesce(predicate, F.lit(False)).alias("protected"), *more
        )
        found = found.join(marks, on="image_id", how="inner")
    else:
        named = {}
        found = found.withColumn("protected", F.lit(False))
    if reference:
        of_split = F.coalesce(F.col("split").isin(list(reference)), F.lit(False))
        found = found.withColumn("protected", F.col("protected") | of_split)
    if projections is not None:
        density = projections.where(F.col("rule") == NONE).select("image_id", DENSITY)
        found = found.join(density, on="image_id", how="left")
    if sublabels is not None:
        # With the label, of which another may be named like it: "a/1" beside the parts of "a".
        part = F.struct("label", SUBLABEL).alias(SUBLABEL)
        found = found.join(sublabels.select("image_id", part), on="image_id", how="left")
    orders = {
        f"order_{i}": _ordered(found, named.get(name, name))
        for i, name in enumerate(names(settings.order))
    }
    group = F.concat_ws("/", "space", _group(settings, named))
    return found.withColumns({"group": group} | orders).drop(*named.values(), DENSITY, SUBLABEL)


def _ordered(found: DataFrame, column: str) -> Column:
    """A column to sort by; NaN, which Spark takes for the largest number, as null: last."""
    if not isinstance(found.schema[column].dataType, T.FloatType | T.DoubleType):
        return F.col(column)
    return F.when(~F.isnan(column), F.col(column)).alias(column)


def _group(settings: Prune, named: dict[str, str]) -> Column:
    columns = list(dict.fromkeys([*settings.group_by, *settings.never_across]))
    if by_label(settings):
        return F.col("label")
    if not columns:
        return F.lit("")
    parts = [F.col(named.get(column, column)).alias(column) for column in columns]
    exact = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"  # by itself it ends at milliseconds
    formats = {"timestampFormat": f"{exact}XXX", "timestampNTZFormat": exact}
    return F.to_json(F.struct(*parts), {"ignoreNullFields": "false"} | formats)


def in_order(settings: Prune) -> list[Column]:
    """What a group is sorted by before the id: those that stand first, then the order, nulls last.

    The id then by its UTF-8 bytes, as Spark compares strings.
    """
    return [(F.col("standing") == 0).asc(), *by_order(settings)]


def by_order(settings: Prune) -> list[Column]:
    """The columns of `prune.order` alone, nulls last."""
    return [
        F.desc_nulls_last(f"order_{i}")
        if column.startswith("-")
        else F.asc_nulls_last(f"order_{i}")
        for i, column in enumerate(settings.order)
    ]


def decisions(
    found: DataFrame,
    rules: Sequence[str],
    *,
    earlier: DataFrame | None = None,
    leaks: DataFrame | None = None,
) -> DataFrame:
    """`grouped` with the masks `standing` and `undecided`, and `known`: whether decided earlier.

    earlier: a selection whose decisions hold (mode append): what it kept stands. leaks: images and
    rules that are decided by leakage.
    """
    every = F.lit((1 << len(rules)) - 1).cast("bigint")
    none = F.lit(0).cast("bigint")
    fixed = F.col("protected")
    standing, undecided = F.when(fixed, every).otherwise(none), F.when(fixed, none).otherwise(every)
    known = F.lit(False)
    if leaks is not None:
        leaked = _mask(leaks, rules, F.lit(True), "leaked")
        found = found.join(leaked, on=["image_id", "space"], how="left")
        undecided = undecided.bitwiseAND(F.bitwise_not(F.coalesce("leaked", none)))
    if earlier is not None:
        before = _mask(earlier, rules, F.col("kept"), "earlier")
        found = found.join(before, on=["image_id", "space"], how="left")
        known = F.col("earlier").isNotNull()
        standing = F.when(known, F.col("earlier")).otherwise(standing)
        undecided = F.when(known, none).otherwise(undecided)
    marked = found.withColumns({"standing": standing, "undecided": undecided, "known": known})
    return marked.drop("leaked", "earlier")


def _mask(rows: DataFrame, rules: Sequence[str], counts: Column, name: str) -> DataFrame:
    """Per image and space a bit for each of its rows' rules where `counts` holds."""
    bits = F.lit(0).cast("bigint")
    for level, rule in enumerate(rules):
        bits = F.when(F.col("rule") == rule, F.lit(1 << level).cast("bigint")).otherwise(bits)
    chosen = F.when(counts, bits).otherwise(F.lit(0).cast("bigint"))
    return rows.groupBy("image_id", "space").agg(F.bit_or(chosen).alias(name))


def names(order: Iterable[str]) -> list[str]:
    """The columns of an order."""
    return [column.removeprefix("-") for column in order]
