"""The stage `publish`: writes the kept images of one rule to `curated`, which training teams read.

With `publish.table` the tables get names in a catalog.

The table `changes` says what that changed in `curated`.

With `publish.split` every image also gets a split, and all images of a group the same one. With
`anomalies.remove` anomalous images are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates import exclusions, named_tables
from jobs.duplicates.changes import write_changes
from jobs.errors import JobError
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.checks import check_published
from jobs.settings.duplicates import RAW, Publish
from jobs.settings.model import published_space
from jobs.settings.terminal import visible_name
from jobs.warehouse import arrow_frames, tables

VERSION = 4
NAMED = 3  # classes that a message names


def main(stage_run: StageRun) -> None:
    """Tables images and selection → curated, splits, changes."""
    settings = stage_run.settings.publish
    space = published_space(stage_run.settings)
    decided = selection = published_selection(stage_run)
    excluded = None
    if stage_run.settings.anomalies.remove:
        excluded = exclusions.without_anomalies(stage_run, selection)
        selection = excluded.selection
    check_removal(removals(selection), settings, excluded.images if excluded else 0)
    earlier = stage_run.previous_commit("curated")
    named_tables.forget(stage_run.run, earlier.metadata.get("names", {}) if earlier else {})
    write(stage_run, curate(stage_run.read("images"), selection), "curated")
    stage_run.rows["curated"] = stage_run.count("curated")
    stage_run.summary = f"{stage_run.rows['curated']:,} images at {settings.rule}"
    if space != RAW:
        stage_run.summary += f" ({space})"
    if excluded:
        stage_run.rows |= excluded.counts
        stage_run.summary += f"; {excluded.summary}"
    if "splits" in stage_run.outputs:
        write(stage_run, splits(selection, settings), "splits")
        count_splits(stage_run)
    write_changes(stage_run, decided, selection)


def write(stage_run: StageRun, rows: DataFrame, table: str) -> None:
    """Write a published table; where it gets a name in a catalog, with comments on its columns."""
    names = named_tables.names(stage_run.settings.publish)
    if table in names:
        rows = named_tables.with_comments(rows, table)
    metadata = {"names": dict(names)} if names else None
    stage_run.write(rows, table, metadata=metadata)


def name(stage_run: StageRun) -> None:
    """Give the tables the names of `publish.table`, also where somebody has dropped them since."""
    named_tables.register(stage_run.run)


def reads(run: RunContext) -> dict[str, str]:
    """The images and the decisions on them; audit, so that a selection without one is not used."""
    anomalies = ("anomalies",) if run.settings.anomalies.remove else ()
    return written_by("images", "selection", "audit", *anomalies)


def writes(run: RunContext) -> tuple[str, ...]:
    """`curated` and `changes`, and `splits` where it is wanted or exists.

    Where it exists and is not wanted it is emptied: nobody shall read the splits of another rule.
    """
    if run.settings.publish.split or run.warehouse.exists("splits"):
        return ("curated", "splits", "changes")
    return ("curated", "changes")


def depends(run: RunContext) -> dict[str, Any]:
    """The settings that decide what is published; the seed only where there are splits."""
    settings = run.settings.publish
    return {
        "rule": settings.rule,
        "minimum_kept": settings.minimum_kept,
        "most_removed": settings.most_removed,
        "most_removed_of_class": settings.most_removed_of_class,
        "split": _named_split(settings),
        **({"table": settings.table} if settings.table else {}),
        "space": published_space(run.settings),
        **exclusions.depends(run),
    }


def _named_split(settings: Publish) -> NamedValues:
    """The shares of the splits, and the seed by which they are drawn, where there are splits."""
    if not settings.split:
        return NamedValues({"publish.split": ()}, hashed=[])
    return NamedValues(
        {"publish.split": settings.split, "publish.seed": settings.seed},
        hashed=[*settings.split, settings.seed],
    )


def published_selection(stage_run: StageRun) -> DataFrame:
    """The rows of `selection` of the rule and the space that are published.

    Raises SettingsError where prune did not compute them, JobError where kept images are gone.
    """
    distinct = "SELECT DISTINCT rule, space FROM rows ORDER BY rule DESC"
    rows = stage_run.query("selection", distinct)
    rules, spaces = (dict.fromkeys(row[name] for row in rows) for name in ("rule", "space"))
    check_published(stage_run.settings, rules, spaces)
    rule, space = stage_run.settings.publish.rule, published_space(stage_run.settings)
    selection = stage_run.read("selection")
    selection = selection.where((F.col("rule") == rule) & (F.col("space") == space))
    check_kept_exist(stage_run.read("images"), selection)
    return selection


def check_kept_exist(images: DataFrame, selection: DataFrame) -> None:
    """Raise JobError where kept images are gone: all images of their groups would be lost."""
    gone = selection.where("kept").join(images.select("image_id"), on="image_id", how="left_anti")
    count = gone.count()
    if count:
        raise JobError(
            f"{count:,} kept images are no longer in the table images, which changed after prune: "
            "run encode, project and prune first (or pipeline, which does all)"
        )


@dataclass(frozen=True)
class Removal:
    """How many images of a class a rule keeps."""

    label: str
    images: int
    kept: int

    @property
    def share(self) -> float:
        """The share of the class's images that is removed."""
        return (self.images - self.kept) / self.images

    def __str__(self) -> str:
        return f"{visible_name(self.label)} (keeps {self.kept:,} of {self.images:,})"


def removals(selection: DataFrame) -> list[Removal]:
    """The counts of each class in one rule's selection."""
    counts = selection.groupBy("label").agg(
        F.count("*").alias("images"), F.count_if("kept").alias("kept")
    )
    return [Removal(row.label, row.images, row.kept) for row in counts.collect()]


def check_removal(classes: Sequence[Removal], settings: Publish, anomalies: int = 0) -> None:
    """Raise JobError, with every limit that is passed, where more is removed than is allowed.

    anomalies: how many of the removed images are left out as anomalies.
    """
    few = [each for each in classes if each.kept < min(settings.minimum_kept, each.images)]
    much = [each for each in classes if each.share > settings.most_removed_of_class]
    images = sum(each.images for each in classes)
    every = Removal("all images", images, sum(each.kept for each in classes))
    wrong = []
    if few:
        wrong.append(
            f"fewer stay than publish.minimum_kept = {settings.minimum_kept}: {_worst(few)}"
        )
    if much:
        allowed = f"publish.most_removed_of_class = {settings.most_removed_of_class:g}"
        wrong.append(f"more is removed than {allowed}: {_worst(much)}")
    if every.share > settings.most_removed:
        wrong.append(
            f"more is removed than publish.most_removed = {settings.most_removed:g}: {every}"
        )
    if wrong:
        beside = f" and without {anomalies:,} anomalies (anomalies.remove)" if anomalies else ""
        raise JobError(
            f"nothing was published at {settings.rule}{beside}: {'; '.join(wrong)}. Set "
            "publish.rule to a rule that keeps more, or allow it by the setting named"
        )


def _worst(classes: Sequence[Removal]) -> str:
    """The classes of which most is removed, and how many further classes there are."""
    worst = sorted(classes, key=lambda removal: (-removal.share, removal.label))
    others = f" and {len(worst) - NAMED:,} more classes" if len(worst) > NAMED else ""
    return ", ".join(str(removal) for removal in worst[:NAMED]) + others


def curate(images: DataFrame, selection: DataFrame) -> DataFrame:
    """Rows of `curated`: the kept images, each with the size of its group.

    group_size counts the image itself and the images whose keeper it is; weight is 1/group_size.
    Callers' own columns of `images` are kept.
    """
    removed = selection.where("NOT kept").groupBy(F.col("kept_id").alias("image_id"))
    groups = removed.agg((F.count("*") + 1).alias("group_size"))
    size = F.coalesce(F.col("group_size"), F.lit(1))
    kept = selection.where("kept").select("image_id", "rule", "space")
    declared = tables.TABLES["curated"].schema.names
    callers = [name for name in images.columns if name.lower() not in tables.RESERVED]
    return (
        images.drop("pixels_sha256", "levels", "range_low", "range_high", "pixels")
        .join(kept, on="image_id", how="inner")
        .join(groups, on="image_id", how="left")
        .withColumns({"group_size": size, "weight": 1 / size})
        .select(*declared, *callers)
        .sort("label", "image_id")
    )


def splits(selection: DataFrame, settings: Publish) -> DataFrame:
    """Rows of `splits`: every image with the split of its group; none without `publish.split`.

    The group of an image is named by its keeper, or by the image itself where it is kept.
    """
    if not settings.split:
        return arrow_frames.frame(selection.sparkSession, [], tables.TABLES["splits"].schema)
    group = F.coalesce("kept_id", "image_id")
    return selection.select(
        "image_id",
        "label",
        group.alias("group_id"),
        split_of(group, settings.shares, settings.seed).alias("split"),
        "rule",
        "space",
        "kept",
    ).sort("label", "image_id")


def split_of(group: Column, shares: Mapping[str, float], seed: int) -> Column:
    """The split of a group: the first whose cumulated share exceeds the group's number in [0, 1).

    The number is made of the first 8 bytes of sha256("<seed>|<group>"), so neither the
    order nor other groups change it. The last split takes what rounding leaves.
    """
    digest = F.sha2(F.concat_ws("|", F.lit(seed), group), 256)
    whole = F.conv(F.substring(digest, 1, 16), 16, 10).cast("decimal(20,0)")
    number = whole.cast("double") / F.lit(2.0**64)
    *names, last = shares
    split = F.lit(last)
    for name, end in reversed(list(zip(names, accumulate(shares.values()), strict=False))):
        split = F.when(number < end, F.lit(name)).otherwise(split)
    return split


def count_splits(stage_run: StageRun) -> None:
    """Set the images of each split for the table `runs`, and add them to the summary."""
    rows = stage_run.query("splits", "SELECT split, count(*) AS images FROM rows GROUP BY split")
    counts = {row["split"]: int(row["images"]) for row in rows}
    images = {name: counts.get(name, 0) for name in stage_run.settings.publish.shares}
    stage_run.rows |= {f"split_{name}": count for name, count in images.items()}
    if images:
        listed = ", ".join(f"{name} {count:,}" for name, count in images.items())
        stage_run.summary += f"; {listed}"


STAGE = Stage(
    "publish",
    main,
    reads=reads,
    writes=writes,
    depends=depends,
    version=VERSION,
    before=named_tables.check,
    afterwards=name,
)
