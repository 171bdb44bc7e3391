"""prune: which images of each class are duplicates of which, by every rule (spec §3, §7)."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

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
from jobs.runtime.console import some
from jobs.runtime.run import Run, Work
from jobs.settings.duplicates import RAW, Rule
from jobs.settings.model import Settings
from jobs.warehouse import tables

VERSION = 4


def main(run: Run) -> None:
    """Tables latents, vectors, images and sublabels → selection, thresholds, audit."""
    settings = run.settings.prune
    reads = spaces.reads((RAW, *settings.space))
    if image_groups.needs_images(settings):
        reads |= {"images": "ingest"}
    if image_groups.DENSITY in image_groups.names(settings.order):
        reads |= {"projections": "project"}
    if settings.by_sublabel:
        reads |= {"sublabels": "modes"}
    if run.settings.leaks.remove:
        reads |= {"leaks": "leaks"}
    with run.stage(
        "prune",
        reads=reads,
        writes=("selection", "thresholds", "audit"),
        depends=decided_by(run.settings) | {"mode": settings.mode},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        members = grouped(work, run.settings)
        before = earlier(work, members, run.settings)
        leaks = leaked(work, run.settings)
        marked = image_groups.decisions(members, list(settings.rules), earlier=before, leaks=leaks)
        counts, images, mark = count(marked)
        rules = rules_of(marked, counts, run.settings, before)
        progress = Progress.begun(run.spark)
        selection = select(work, marked, counts, rules, run.settings, progress)
        if leaks is not None:
            new = marked.where("NOT known AND NOT protected").select("image_id")
            selection = selection.unionByName(leaks.join(new, on="image_id", how="left_semi"))
        with work.telling(lambda: progress.now(counts)):
            work.write(
                selection,
                "selection",
                append=before is not None,
                metadata={"decided": decided_by(run.settings), "images": mark, "fit": fit(work)},
            )
        for table in (PLACED, ROUNDS):
            work.discard(table)
        chosen = run.warehouse.read("selection")
        counted = counts_of(work)
        work.write(thresholds(counted, run.settings), "thresholds")
        reference = reference_of(work, members, run.settings)
        chosen = audited(chosen, marked, run.settings)
        audit.check(work, chosen, members, images // len(settings.space), settings, reference)
        summarise(work, counted, len(counts) // len(settings.space))


def grouped(work: Work, settings: Settings) -> DataFrame:
    """What is compared, with its group, its order and whether it is protected."""
    images = work.read("images") if "images" in work.reads else None
    if images is not None:
        image_groups.check(images, settings.prune)
    projections = work.read("projections") if "projections" in work.reads else None
    reference = settings.leaks.split if settings.leaks.remove else ()
    vectors = spaces.vectors(work, settings.prune.space)
    return image_groups.grouped(
        vectors, images, projections, settings.prune, reference, sublabels_of(work)
    )


def sublabels_of(work: Work) -> DataFrame | None:
    """The sub-label of every image, where they are asked for.

    Raises JobError where an image has none under its label.
    """
    if "sublabels" not in work.reads:
        return None
    sublabels = work.read("sublabels")
    keys = ["image_id", "label"]
    if not work.read("latents").join(sublabels, on=keys, how="left_anti").isEmpty():
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


def counts_of(work: Work) -> list[Counted]:
    """Images and kept ones of each class, rule, space and threshold."""
    keys = "label, rule, space, threshold"
    counted = work.query(
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


def summarise(work: Work, counted: list[Counted], groups: int) -> None:
    """Kept counts for `runs` and the console."""
    prune = work.run.settings.prune
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
            work.rows[f"kept_{short}{of.replace(' ', '_')}"] = kept[key]
            shares.append(f"{kept[key] / total[key]:.0%} at {short}{of}")
    word = "classes" if image_groups.by_label(prune) else "groups"
    work.summary = f"{groups:,} {word}; kept {some(shares)}"


def in_turn(rules: Iterable[Rule]) -> list[Rule]:
    """Given thresholds first, the highest before the others; then those that are found."""
    return sorted(rules, key=lambda rule: (rule.threshold is None, -(rule.threshold or 0)))
