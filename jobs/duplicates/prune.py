"""prune: which images of each class are duplicates of which, by every rule (spec §3, §7)."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import audit
from jobs.duplicates import groups as image_groups
from jobs.duplicates import thresholds as found_thresholds
from jobs.duplicates.cover_tasks import Progress
from jobs.duplicates.earlier_decisions import (
    decided_by,
    earlier,
    fit,
    leaked,
    mark_of,
    reference_of,
)
from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.duplicates.rules import Rules
from jobs.duplicates.selection import audited, select
from jobs.errors import JobError
from jobs.runtime.console import abbreviated
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import RAW, Rule
from jobs.settings.model import Settings
from jobs.warehouse import tables

VERSION = 4


def main(stage_run: StageRun) -> None:
    """Tables latents, vectors, images and sublabels → selection, thresholds, audit."""
    settings = stage_run.settings
    members = grouped(stage_run, settings)
    before = earlier(stage_run, members, settings)
    leaks = leaked(stage_run, settings)
    rule_names = list(settings.prune.rules)
    marked = image_groups.decisions(members, rule_names, earlier=before, leaks=leaks)
    counts, images, mark = count(marked)
    rules = rules_of(marked, counts, settings, before)
    progress = Progress.begun(stage_run.spark)
    selection = select(stage_run, marked, counts, rules, settings, progress)
    if leaks is not None:
        new = marked.where("NOT known AND NOT protected").select("image_id")
        selection = selection.unionByName(leaks.join(new, on="image_id", how="left_semi"))
    with stage_run.progress_from(lambda: progress.now(counts)):
        stage_run.write(
            selection,
            "selection",
            append=before is not None,
            metadata={"decided": decided_by(settings), "images": mark, "fit": fit(stage_run)},
        )
    for table in (PLACED, ROUNDS):
        stage_run.discard(table)
    counted = counts_of(stage_run)
    stage_run.write(thresholds(counted, settings), "thresholds")
    reference = reference_of(stage_run, members, settings)
    chosen = audited(stage_run.read("selection"), marked, settings)
    spaces_compared = len(settings.prune.space)
    audit.check(stage_run, chosen, members, images // spaces_compared, settings.prune, reference)
    summarise(stage_run, counted, len(counts) // spaces_compared)


def reads(run: RunContext) -> dict[str, str]:
    """The vectors of each space, and the tables that the settings name columns of."""
    prune = run.settings.prune
    inputs = spaces.reads((RAW, *prune.space))
    if image_groups.needs_images(prune):
        inputs |= written_by("images")
    if image_groups.DENSITY in image_groups.names(prune.order):
        inputs |= written_by("projections")
    if prune.by_sublabel:
        inputs |= written_by("sublabels")
    if run.settings.leaks.remove:
        inputs |= written_by("leaks")
    return inputs


def depends(run: RunContext) -> dict[str, Any]:
    """What decides which image stays, and whether earlier decisions hold."""
    return decided_by(run.settings) | {"mode": run.settings.prune.mode}


def grouped(stage_run: StageRun, settings: Settings) -> DataFrame:
    """What is compared, with its group, its order and whether it is protected."""
    images = stage_run.read("images") if "images" in stage_run.reads else None
    if images is not None:
        image_groups.check(images, settings.prune)
    projections = stage_run.read("projections") if "projections" in stage_run.reads else None
    reference = settings.leaks.split if settings.leaks.remove else ()
    vectors = spaces.vectors(stage_run, settings.prune.space)
    return image_groups.grouped(
        vectors, images, projections, settings.prune, reference, sublabels_of(stage_run)
    )


def sublabels_of(stage_run: StageRun) -> DataFrame | None:
    """The sub-label of every image, where they are asked for.

    Raises JobError where an image has none under its label.
    """
    if "sublabels" not in stage_run.reads:
        return None
    sublabels = stage_run.read("sublabels")
    keys = ["image_id", "label"]
    if not stage_run.read("latents").join(sublabels, on=keys, how="left_anti").isEmpty():
        raise JobError(
            "the table sublabels was made of other images or labels: run ./spark-submit.sh project "
            "and modes first (or pipeline, which does all)"
        )
    return sublabels


def rules_of(
    marked: DataFrame, counts: dict[str, int], settings: Settings, before: DataFrame | None
) -> Rules:
    """Every rule's threshold in every group; those of earlier decisions hold."""
    prune = settings.prune
    if before is not None:
        groups = marked.where("known").select("image_id", "space", "group")
        before = before.join(groups, on=["image_id", "space"])
    compared = marked.where("standing != 0 OR undecided != 0")
    return found_thresholds.rules_of(compared, counts, prune, image_groups.in_order(prune), before)


def count(marked: DataFrame) -> tuple[dict[str, int], int, list[int]]:
    """Images to be compared in each group that has something to decide.

    And all images, once a space, and what tells later whether they are the same: number and mark.
    """
    some = (F.col("standing") != 0) | (F.col("undecided") != 0)
    rows = (
        marked.groupBy("group")
        .agg(
            F.count("*").alias("images"),
            F.count_if(some).alias("compared"),
            F.count_if(F.col("undecided") != 0).alias("undecided"),
            F.bit_xor(mark_of()).alias("mark"),
        )
        .collect()
    )
    total = sum(row["images"] for row in rows)
    mark = functools.reduce(operator.xor, (row["mark"] for row in rows), 0)
    counts = {row["group"]: int(row["compared"]) for row in rows if row["undecided"]}
    return counts, total, [total, mark]


@dataclass(frozen=True)
class Counted:
    """What a threshold does to a class."""

    label: str
    rule: str
    space: str
    threshold: float | None
    images: int
    kept: int


def counts_of(stage_run: StageRun) -> list[Counted]:
    """Images and kept ones of each class, rule, space and threshold."""
    keys = "label, rule, space, threshold"
    counted = stage_run.query(
        "selection",
        f"SELECT {keys}, count(*) AS images, count(*) FILTER (WHERE kept) AS kept "
        f"FROM rows GROUP BY {keys}",
    )
    rows = [Counted(**row) for row in counted]
    return sorted(rows, key=lambda row: (row.label, row.space, -(row.threshold or 0)))


def thresholds(counted: list[Counted], settings: Settings) -> pa.Table:
    """Per class, rule and space: the threshold, what was asked and the share kept."""
    asked = {name: rule.target for name, rule in settings.prune.rules.items()}
    rows = [
        (row.label, row.rule, row.space, row.threshold, asked[row.rule], row.kept / row.images)
        for row in counted
    ]
    return tables.rows("thresholds", rows)


def summarise(stage_run: StageRun, counted: list[Counted], groups: int) -> None:
    """Kept counts for `runs` and the console."""
    prune = stage_run.settings.prune
    kept: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for row in counted:
        kept[row.space, row.rule] += row.kept
        total[row.space, row.rule] += row.images
    shares = []
    for space in prune.space:
        of = f" {space}" if len(prune.space) > 1 else ""
        for rule in in_turn(prune.rules.values()):
            short = rule.name if rule.threshold is None else f"{rule.threshold:g}"
            key = (space, rule.name)
            stage_run.rows[f"kept_{short}{of.replace(' ', '_')}"] = kept[key]
            shares.append(f"{kept[key] / total[key]:.0%} at {short}{of}")
    word = "classes" if image_groups.by_label(prune) else "groups"
    stage_run.summary = f"{groups:,} {word}; kept {abbreviated(shares)}"


def in_turn(rules: Iterable[Rule]) -> list[Rule]:
    """Given thresholds first, the highest before the others; then those that are found."""
    return sorted(rules, key=lambda rule: (rule.threshold is None, -(rule.threshold or 0)))


STAGE = Stage(
    "prune",
    main,
    reads=reads,
    writes=("selection", "thresholds", "audit"),
    depends=depends,
    version=VERSION,
)
