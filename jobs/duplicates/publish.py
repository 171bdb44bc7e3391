"""publish: the kept images of one rule become `curated`, what a training team reads.

With `publish.split` every image gets a split as well, those of a group the same. With
`anomalies.remove` anomalous images are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates import exclusions
from jobs.errors import JobError
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.checks import check_published
from jobs.settings.duplicates import RAW, Publish
from jobs.settings.model import published_space
from jobs.warehouse import arrow_frames, tables

VERSION = 3
NAMED = 3  # classes that a message names


def main(stage_run: StageRun) -> None:
    """Tables images and selection → curated, splits."""
    settings = stage_run.settings.publish
    space = published_space(stage_run.settings)
    distinct = "SELECT DISTINCT rule, space FROM rows ORDER BY rule DESC"
    rows = stage_run.query("selection", distinct)
    rules, spaces = ([row[name] for row in rows] for name in ("rule", "space"))
    check_published(stage_run.settings, dict.fromkeys(rules), dict.fromkeys(spaces))
    selection = stage_run.read("selection")
    selection = selection.where((F.col("rule") == settings.rule) & (F.col("space") == space))
    check_fits(stage_run.read("images"), selection)
    left = None
    if stage_run.settings.anomalies.remove:
        left = exclusions.left_out(stage_run, selection, stage_run.settings)
        selection = left.selection
    check_removal(removals(selection), settings, left.images if left else 0)
    stage_run.write(curate(stage_run.read("images"), selection), "curated")
    stage_run.rows["curated"] = stage_run.count("curated")
    stage_run.summary = f"{stage_run.rows['curated']:,} images at {settings.rule}"
    if space != RAW:
        stage_run.summary += f" ({space})"
    if left:
        stage_run.rows |= left.counts
        stage_run.summary += f"; {left.summary}"
    if "splits" in stage_run.outputs:
        stage_run.write(splits(selection, settings), "splits")
        count_splits(stage_run, settings)


def reads(run: RunContext) -> dict[str, str]:
    """The images and the decisions on them; audit, so that a selection without one is not used."""
    anomalies = ("anomalies",) if run.settings.anomalies.remove else ()
    return written_by("images", "selection", "audit", *anomalies)


def writes(run: RunContext) -> tuple[str, ...]:
    """`splits` too where it is there: emptied, so that nobody reads those of another rule."""
    split = bool(run.settings.publish.split) or run.warehouse.exists("splits")
    return ("curated", "splits") if split else ("curated",)


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of what is published; the seed only where images are dealt to splits."""
    settings = run.settings.publish
    return {
        "rule": settings.rule,
        "minimum_kept": settings.minimum_kept,
        "most_removed": settings.most_removed,
        "most_removed_of_class": settings.most_removed_of_class,
        "split": [*settings.split, settings.seed] if settings.split else [],
        "space": published_space(run.settings),
        **exclusions.depends(run),
    }


def check_fits(images: DataFrame, selection: DataFrame) -> None:
    """Raise JobError where kept images are gone: those they stand for would be lost with them."""
    gone = selection.where("kept").join(images.select("image_id"), on="image_id", how="left_anti")
    count = gone.count()
    if count:
        raise JobError(
            f"{count:,} kept images are no longer in the table images, which changed after prune: "
            "run encode, project and prune first (or pipeline, which does all)"
        )


@dataclass(frozen=True)
class Removal:
    """What a rule does to a class."""

    label: str
    images: int
    kept: int

    @property
    def share(self) -> float:
        """Of the class's images, what is removed."""
        return (self.images - self.kept) / self.images

    def __str__(self) -> str:
        return f"{self.label} (keeps {self.kept:,} of {self.images:,})"


def removals(selection: DataFrame) -> list[Removal]:
    """Each class of one rule's selection."""
    counted = selection.groupBy("label").agg(
        F.count("*").alias("images"), F.count_if("kept").alias("kept")
    )
    return [Removal(row.label, row.images, row.kept) for row in counted.collect()]


def check_removal(classes: Sequence[Removal], settings: Publish, anomalies: int = 0) -> None:
    """Raise JobError, with all that is wrong, where more is removed than was allowed.

    anomalies: of what is removed, the images that are left out as such.
    """
    few = [found for found in classes if found.kept < min(settings.minimum_kept, found.images)]
    much = [found for found in classes if found.share > settings.most_removed_of_class]
    images = sum(found.images for found in classes)
    every = Removal("all images", images, sum(found.kept for found in classes))
    wrong = []
    if few:
        wrong.append(
            f"fewer stay than publish.minimum_kept = {settings.minimum_kept}: {_some(few)}"
        )
    if much:
        allowed = f"publish.most_removed_of_class = {settings.most_removed_of_class:g}"
        wrong.append(f"more is removed than {allowed}: {_some(much)}")
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


def _some(classes: Sequence[Removal]) -> str:
    """The classes that lose most, by name, and how many more there are."""
    worst = sorted(classes, key=lambda found: (-found.share, found.label))
    more = f" and {len(worst) - NAMED:,} more classes" if len(worst) > NAMED else ""
    return ", ".join(str(found) for found in worst[:NAMED]) + more


def curate(images: DataFrame, selection: DataFrame) -> DataFrame:
    """Kept images with how many images each stands for.

    group_size counts the image itself and those removed for it; weight is 1/group_size.
    """
    removed = selection.where("NOT kept").groupBy(F.col("kept_id").alias("image_id"))
    groups = removed.agg((F.count("*") + 1).alias("group_size"))
    size = F.coalesce(F.col("group_size"), F.lit(1))
    kept = selection.where("kept").select("image_id", "rule", "space")
    ours = tables.TABLES["curated"].schema.names
    more = [name for name in images.columns if name not in ours and name != "pixels"]
    return (
        images.drop("pixels")
        .join(kept, on="image_id", how="inner")
        .join(groups, on="image_id", how="left")
        .withColumns({"group_size": size, "weight": 1 / size})
        .select(*ours, *more)
        .sort("label", "image_id")
    )


def splits(selection: DataFrame, settings: Publish) -> DataFrame:
    """Every image of the selection with the split of its group; no rows where none is asked for.

    The group of an image is the kept one that stands for it, itself where it is kept.
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

    The number is made of the first 8 bytes of sha256("<seed>|<group>"), so neither order nor other
    groups matter. The last split takes what rounding leaves.
    """
    digest = F.sha2(F.concat_ws("|", F.lit(seed), group), 256)
    whole = F.conv(F.substring(digest, 1, 16), 16, 10).cast("decimal(20,0)")
    number = whole.cast("double") / F.lit(2.0**64)
    *names, last = shares
    split = F.lit(last)
    for name, end in reversed(list(zip(names, accumulate(shares.values()), strict=False))):
        split = F.when(number < end, F.lit(name)).otherwise(split)
    return split


def count_splits(stage_run: StageRun, settings: Publish) -> None:
    """Images of each split, for `runs` and the console."""
    counted = stage_run.query("splits", "SELECT split, count(*) AS images FROM rows GROUP BY split")
    found = {row["split"]: int(row["images"]) for row in counted}
    images = {name: found.get(name, 0) for name in settings.shares}
    stage_run.rows |= {f"split_{name}": count for name, count in images.items()}
    if images:
        dealt = ", ".join(f"{name} {count:,}" for name, count in images.items())
        stage_run.summary += f"; {dealt}"


STAGE = Stage(
    "publish",
    main,
    reads=reads,
    writes=writes,
    depends=depends,
    version=VERSION,
)
