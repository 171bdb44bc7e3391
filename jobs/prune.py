"""prune: which images of each class are duplicates of which, at every threshold (spec §3)."""

from __future__ import annotations

import functools
import json
import operator
from collections import Counter
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from jobs.common import auditing, candidates, classes, command, comparing, schemas, session
from jobs.common.pruning import Progress, Pruning, Rules
from jobs.common.rounds import PLACED, ROUNDS, Rounds, place
from jobs.common.run import Run, Work
from jobs.common.settings import Settings
from jobs.common.storage import JobError, Warehouse

VERSION = 3
SELECTION = schemas.TABLES["selection"].schema


def main(run: Run) -> None:
    """Tables latents and images → selection, thresholds, audit."""
    settings = run.settings.prune
    reads = {"latents": "encode"}
    if candidates.needs_images(settings):
        reads |= {"images": "ingest"}
    if candidates.DENSITY in candidates.names(settings.order):
        reads |= {"projections": "project"}
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
        marked = candidates.decisions(members, list(settings.rules), earlier=before, leaks=leaks)
        counts, images, mark = count(marked)
        progress = Progress.begun(run.spark)
        selection = select(work, marked, counts, run.settings, progress)
        if leaks is not None:
            new = marked.where("NOT known").select("image_id")
            selection = selection.unionByName(leaks.join(new, on="image_id", how="left_semi"))
        with run.console.watching(work.stage, lambda: progress.text(len(counts))):
            work.write(
                selection,
                "selection",
                append=before is not None,
                notes={"decided": decided_by(run.settings), "images": mark},
            )
        for table in (PLACED, ROUNDS):
            work.discard(table)
        chosen = run.warehouse.read("selection")
        counted = counts_of(chosen)
        work.write(thresholds(run.spark, counted), "thresholds")
        reference = reference_of(work, members, run.settings)
        chosen = audited(chosen, marked, run.settings)
        auditing.check(work, chosen, members, images, settings, reference)
        summarise(work, counted, images, len(counts))


def decided_by(settings: Settings) -> dict[str, Any]:
    """The settings that decide which image stays."""
    prune, leaks = settings.prune, settings.leaks
    found = {
        "thresholds": list(prune.rules.items()),
        "space": prune.space,
        "order": prune.order,
        "group_by": prune.group_by,
        "never_across": prune.never_across,
        "protect": prune.protect,
    }
    if leaks.remove:
        found["leaks"] = [leaks.split, leaks.warehouse, leaks.scope]
    return found


def grouped(work: Work, settings: Settings) -> DataFrame:
    """Latents with their group, their order and whether they are protected."""
    images = work.read("images") if "images" in work.reads else None
    if images is not None:
        candidates.check(images, settings.prune)
    projections = work.read("projections") if "projections" in work.reads else None
    columns = ("image_id", "label", "split", "sha256", "model_id", "latent")
    latents = work.read("latents").select(*columns)
    reference = settings.leaks.split if settings.leaks.remove else ()
    return candidates.grouped(latents, images, projections, settings.prune, reference)


def leaked(work: Work, settings: Settings) -> DataFrame | None:
    """Rows of `selection` of the images that are removed as leaks.

    Raises JobError where the leaks were looked for with other settings.
    """
    if not settings.leaks.remove:
        return None
    stamp = work.run.warehouse.newest("leaks", "leaks")
    if stamp is None or stamp.notes.get("asked") != comparing.asked(settings):
        raise JobError(
            "leaks.remove: the table leaks was made with other thresholds or other settings of "
            "[leaks]: run ./spark-submit.sh leaks with these first (or pipeline, which does all)"
        )
    where = F.col("reference_warehouse")
    keeper = F.when(where.isNull(), F.col("reference_id")).otherwise(
        F.concat(where, F.lit("#"), "reference_id")
    )
    rows = work.read("leaks").withColumns({"kept": F.lit(False), "kept_id": keeper})
    return rows.select(*SELECTION.names)


def reference_of(work: Work, members: DataFrame, settings: Settings) -> DataFrame | None:
    """The images that leaks were looked for in, named as `selection` names them."""
    if not settings.leaks.remove:
        return None
    if not settings.leaks.warehouse:
        return members.where(F.col("split").isin(list(settings.leaks.split)))
    other = Warehouse(work.run.spark, settings.leaks.warehouse)
    name = F.concat(F.lit(f"{other.root}#"), "image_id")
    return other.read("latents").withColumn("image_id", name)


def earlier(work: Work, members: DataFrame, settings: Settings) -> DataFrame | None:
    """In mode append the decisions that hold.

    Raises JobError where they were made otherwise, or of images that changed or vanished since.
    """
    stamp = work.run.warehouse.newest("selection", work.stage)
    if settings.prune.mode != "append" or stamp is None:
        return None
    # As the notes have it, which are JSON: lists for tuples.
    if stamp.notes.get("decided") != json.loads(json.dumps(decided_by(settings))):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            f"other settings ({json.dumps(stamp.notes.get('decided'))}): set these again, or "
            "decide all anew with prune.mode = all"
        )
    selection = work.run.warehouse.read("selection")
    known = members.join(selection.select("image_id"), on="image_id", how="left_semi")
    there = known.select("image_id", mark_of().alias("mark")).agg(
        F.count("*").alias("images"), F.bit_xor("mark").alias("mark")
    )
    if list(there.collect()[0]) != stamp.notes.get("images"):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but images that were "
            "decided have vanished or changed since, or have latents of another model: decide all "
            "anew with prune.mode = all"
        )
    return selection


def mark_of() -> Column:
    """A number that changes with an image's id, content or model."""
    return F.xxhash64("image_id", "sha256", "model_id")


def count(marked: DataFrame) -> tuple[dict[str, int], int, list[int]]:
    """Images to be compared in each group that has something to decide.

    And all images, and what tells later whether they are the same: their number and mark.
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


def select(
    work: Work, marked: DataFrame, counts: dict[str, int], settings: Settings, progress: Progress
) -> DataFrame:
    """Rows of `selection`: small groups whole in tasks, large ones in rounds, and what is fixed."""
    prune = settings.prune
    rules = Rules.of(prune)
    compared = marked.where("standing != 0 OR undecided != 0")
    order = candidates.in_order(prune)
    small = {name: n for name, n in counts.items() if n <= prune.largest_class}
    large = {name: n for name, n in counts.items() if n > prune.largest_class}
    selection = whole(work, compared, small, Pruning(rules, progress), order)
    if prune.protect or settings.leaks.remove:
        selection = selection.unionByName(fixed(marked, rules))
    if large:
        place(work, compared, large, order)
        rounds = Rounds(work, rules, prune.window)
        rounds.settle(list(large))
        selection = selection.unionByName(rounds.selection())
    return selection


def whole(
    work: Work, compared: DataFrame, counts: dict[str, int], pruning: Pruning, order: list[Column]
) -> DataFrame:
    """The greedy cover of every small group, as tasks on the executors."""
    slots = session.slots(work.run.spark)
    tasks = classes.placed(compared, counts, slots, lambda n: float(n) * n, order, key="group")
    columns = ("image_id", "label", "group", "standing", "undecided", "latent")
    return schemas.mapped(tasks.select(*columns), pruning.selection_rows, SELECTION)


def fixed(marked: DataFrame, rules: Rules) -> DataFrame:
    """Protected images stay at every rule."""
    named = marked.sparkSession.createDataFrame(
        list(rules.thresholds.items()), schemas.struct("rule string, threshold double")
    )
    new = marked.where("protected AND NOT known").select("image_id", "label")
    return new.crossJoin(F.broadcast(named)).select(
        "image_id",
        "label",
        "rule",
        F.lit(rules.space).alias("space"),
        "threshold",
        F.lit(True).alias("kept"),
        F.lit(None).cast("string").alias("kept_id"),
        F.lit(None).cast("double").alias("similarity"),
    )


def audited(selection: DataFrame, marked: DataFrame, settings: Settings) -> DataFrame:
    """A selection with each image's group, and whether it was `fixed`: it stays whatever it is."""
    prune = settings.prune
    fixes = prune.protect or prune.mode == "append" or settings.leaks.remove
    if candidates.by_label(prune) and not fixes:
        return selection.withColumns({"group": F.col("label"), "fixed": F.lit(False)})
    fixed = (F.col("protected") | F.col("known")).alias("fixed")
    return selection.join(marked.select("image_id", "group", fixed), on="image_id")


def counts_of(selection: DataFrame) -> list[Row]:
    """Images and kept ones of each class and rule, the highest threshold first."""
    counted = selection.groupBy("label", "rule", "space", "threshold").agg(
        F.count("*").alias("images"), F.count_if("kept").alias("kept")
    )
    return sorted(counted.collect(), key=lambda row: (row.label, -row.threshold))


def thresholds(spark: SparkSession, counted: list[Row]) -> DataFrame:
    """Per class and rule: the threshold, what was asked (itself) and the share kept."""
    rows = [
        (row.label, row.rule, row.space, row.threshold, row.threshold, row.kept / row.images)
        for row in counted
    ]
    return spark.createDataFrame(rows, schemas.TABLES["thresholds"].schema).coalesce(1)


def summarise(work: Work, counted: list[Row], total: int, groups: int) -> None:
    """Kept counts for `runs` and the console."""
    kept: Counter[float] = Counter()
    for row in counted:
        kept[row.threshold] += row.kept
    rising = sorted(kept.items(), reverse=True)
    work.rows |= {f"kept_{threshold:g}": count for threshold, count in rising}
    shares = ", ".join(f"{count / total:.0%} at {threshold:g}" for threshold, count in rising)
    word = "classes" if candidates.by_label(work.run.settings.prune) else "groups"
    work.summary = f"{groups:,} {word}; kept {shares}"


if __name__ == "__main__":
    command.run("prune", main)
