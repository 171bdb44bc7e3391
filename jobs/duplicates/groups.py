"""The groups within which images are compared, their order, and the columns that decide both.

Use `grouped` to give every image its group. Only images of one group can be duplicates of each
other: they have the space of their similarity in common and, by default, the label
(`prune.group_by`, `prune.never_across`). A group's name is "<space>/<rest>"; the rest is the label,
or the JSON of the columns that the settings name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.errors import SettingsError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import SUBLABEL, Prune
from jobs.warehouse import arrow_frames
from udfs.acquisition.levels import FLAT

DENSITY = "log_density"  # a name in prune.order for a column of `projections`, not of `images`
FLAT_IMAGE = f"levels < {FLAT}"  # SQL on `images`
BEFORE_REMOVAL = "none"  # the rule by which `projections` names the density before removal


def space_of(group: str) -> str:
    """The space in a group's name."""
    return group.partition("/")[0]


def rest_of(group: str) -> str:
    """What follows the space in a group's name: the label, where the groups are the classes."""
    return group.partition("/")[2]


def space_column() -> Column:
    """The space in the column `group`."""
    return F.substring_index("group", "/", 1)


def needs_images(settings: Prune) -> bool:
    """Whether groups, order or protection depend on columns of the table `images`."""
    columns = set(order_columns(settings.order)) - {DENSITY}
    one_group = not settings.group_by and not settings.never_across
    return bool(columns or settings.protect or not (by_label(settings) or one_group))


def by_label(settings: Prune) -> bool:
    """Whether the groups are the classes."""
    return settings.group_by == ("label",) and not settings.never_across


def order_columns(order: Iterable[str]) -> list[str]:
    """The columns that `prune.order` names, without the sign of a falling order."""
    return [column.removeprefix("-") for column in order]


def check_columns(images: DataFrame, settings: Prune) -> None:
    """Raise SettingsError with a line for every column that is missing or of an unfit type."""
    mistakes = wrong_columns(images.schema, settings) + wrong_predicate(images, settings.protect)
    if mistakes:
        raise SettingsError("\n".join(mistakes))


def wrong_columns(images: T.StructType, settings: Prune) -> list[str]:
    """Return a line for every column that settings name and that is missing or unfit.

    images: the schema of the table.
    """
    types = {column.name: column.dataType for column in images}
    named = {
        "order": [name for name in order_columns(settings.order) if name != DENSITY],
        "group_by": [name for name in settings.group_by if name != SUBLABEL],
        "never_across": [name for name in settings.never_across if name != SUBLABEL],
    }
    mistakes = [
        mistake for key, columns in named.items() for mistake in _unusable(key, columns, types)
    ]
    if DENSITY in order_columns(settings.order) and DENSITY in types:
        mistakes.append(
            f"prune.order: {DENSITY} is a column of images and of projections: rename yours"
        )
    if settings.by_sublabel and SUBLABEL in types:
        mistakes.append(
            f"prune.group_by: {SUBLABEL} is a column of images and of sublabels: rename yours"
        )
    return mistakes


def _unusable(key: str, columns: Sequence[str], types: Mapping[str, T.DataType]) -> list[str]:
    """What is wrong with the columns that one key of [prune] names."""
    mistakes = []
    missing = [column for column in columns if column not in types]
    if missing:
        available = ", ".join(column for column in types if column != "pixels")
        mistakes.append(
            f"prune.{key}: the table images has no column {', '.join(missing)}; it has {available}"
        )
    unfit = [
        f"{column} ({types[column].simpleString()})"
        for column in columns
        if isinstance(types.get(column), arrow_frames.UNORDERED)
    ]
    if unfit:
        mistakes.append(
            f"prune.{key}: {', '.join(unfit)}: has no order and no plain equality; name "
            "columns of numbers, text, times or truth values"
        )
    return mistakes


def wrong_predicate(images: DataFrame, predicate: str) -> list[str]:
    """Return a line if `prune.protect` is no condition on the table `images`."""
    if not predicate:
        return []
    try:
        data_type = images.select(F.expr(predicate)).schema[0].dataType
    except (AnalysisException, ParseException) as wrong:
        reason = str(wrong).strip().splitlines()[0]
        return [f"prune.protect = {predicate!r}: no SQL predicate on images: {reason}"]
    if not isinstance(data_type, T.BooleanType):
        return [
            f"prune.protect = {predicate!r}: gives {data_type.simpleString()}; write a condition, "
            "such as split = 'test'"
        ]
    return []


def grouped(
    spaces: Mapping[str, DataFrame],
    images: DataFrame | None,
    projections: DataFrame | None,
    settings: Prune,
    reference: Sequence[str] = (),
    sublabels: DataFrame | None = None,
    flat: DataFrame | None = None,
) -> DataFrame:
    """The images of all spaces with their group, their order and what is special about them.

    These are the columns `group`, `protected`, `flat`, `alone` and `order_<i>`.

    Args:
        spaces: for each space a frame of the images with their vectors in the column `latent`.
        images: the table `images`, where `needs_images`.
        projections: the table `projections`, where the order names the density.
        settings: the section [prune].
        reference: splits whose images are protected.
        sublabels: the table `sublabels`, where groups are made of sub-labels.
        flat: `flat_images`; None where there are none.

    `flat` is true of images that show next to nothing, and `alone` of the first of them, by its id,
    of each content in a group.
    `order_<i>` is the i-th column of `prune.order`. Columns of the group that are null are equal
    to each other.
    """
    with_space = [latents.withColumn("space", F.lit(space)) for space, latents in spaces.items()]
    members = reduce(DataFrame.unionByName, with_space)
    aliases: dict[str, str] = {}  # under which the columns of `images` are joined
    if images is not None:
        aliases = {column: f"image_{i}" for i, column in enumerate(images.columns)}
        columns = _image_columns(images, settings, aliases)
        members = members.join(columns, on="image_id", how="inner")
    else:
        members = members.withColumn("protected", F.lit(False))
    if reference:
        of_split = F.coalesce(F.col("split").isin(list(reference)), F.lit(False))
        members = members.withColumn("protected", F.col("protected") | of_split)
    if projections is not None:
        density = projections.where(F.col("rule") == BEFORE_REMOVAL).select("image_id", DENSITY)
        members = members.join(density, on="image_id", how="left")
    if sublabels is not None:
        # With the label, because a sub-label "a/1" of the class "a" may also be a class's label.
        part = F.struct("label", SUBLABEL).alias(SUBLABEL)
        members = members.join(sublabels.select("image_id", part), on="image_id", how="left")
    orders = {
        f"order_{i}": _sortable(members, aliases.get(name, name))
        for i, name in enumerate(order_columns(settings.order))
    }
    group = F.concat_ws("/", "space", _group(settings, aliases))
    members = members.withColumns({"group": group} | orders)
    members = members.drop(*aliases.values(), DENSITY, SUBLABEL)
    if flat is None:
        return members.withColumns({"flat": F.lit(False), "alone": F.lit(False)})
    contents = members.select("image_id", "group").join(flat, on="image_id")
    first = F.min("image_id").over(Window.partitionBy("group", "content"))
    alone = (F.col("image_id") == first).alias("alone")
    marked = contents.select("image_id", "group", F.lit(True).alias("flat"), alone)
    members = members.join(marked, on=["image_id", "group"], how="left")
    return members.withColumns({name: F.coalesce(name, F.lit(False)) for name in ("flat", "alone")})


def flat_images(stage_run: StageRun) -> DataFrame | None:
    """The images that show next to nothing, and the hash of their content; None without any.

    To an encoder they are all alike, whatever a better decoder may see in them.
    """
    images = stage_run.read("images")
    if "levels" not in images.columns or not stage_run.count("images", FLAT_IMAGE):
        return None
    return images.where(FLAT_IMAGE).select("image_id", F.col("pixels_sha256").alias("content"))


def _image_columns(images: DataFrame, settings: Prune, aliases: Mapping[str, str]) -> DataFrame:
    """Of `images` the id, whether the image is protected, and the columns that settings name."""
    predicate = F.expr(settings.protect) if settings.protect else F.lit(False)
    named = dict.fromkeys(
        [*order_columns(settings.order), *settings.group_by, *settings.never_across]
    )
    columns = [F.col(f"`{name}`").alias(aliases[name]) for name in named if name in aliases]
    protected = F.coalesce(predicate, F.lit(False)).alias("protected")
    return images.select("image_id", protected, *columns)


def _sortable(members: DataFrame, column: str) -> Column:
    """A column to sort by; NaN, which Spark takes for the largest number, becomes null."""
    if not isinstance(members.schema[column].dataType, T.FloatType | T.DoubleType):
        return F.col(column)
    return F.when(~F.isnan(column), F.col(column)).alias(column)


def _group(settings: Prune, aliases: Mapping[str, str]) -> Column:
    """The part of a group's name that follows the space."""
    columns = list(dict.fromkeys([*settings.group_by, *settings.never_across]))
    if by_label(settings):
        return F.col("label")
    if not columns:
        return F.lit("")
    parts = [F.col(aliases.get(column, column)).alias(column) for column in columns]
    exact = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"  # Spark's default ends at milliseconds
    formats = {"timestampFormat": f"{exact}XXX", "timestampNTZFormat": exact}
    return F.to_json(F.struct(*parts), {"ignoreNullFields": "false"} | formats)


def by_order(settings: Prune) -> list[Column]:
    """The sort keys of `prune.order` on the columns of `grouped`, nulls last.

    Images that are equal by them follow by `image_id`, in the order of its UTF-8 bytes, as Spark
    compares strings.
    """
    return [
        F.desc_nulls_last(f"order_{i}")
        if column.startswith("-")
        else F.asc_nulls_last(f"order_{i}")
        for i, column in enumerate(settings.order)
    ]
