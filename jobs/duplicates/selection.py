"""The rows of the table `selection`, made by tasks or in rounds."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.autoencoder import latents, spaces
from jobs.duplicates import groups as image_groups
from jobs.duplicates.cover_tasks import Plain, Progress, Pruning
from jobs.duplicates.group_placement import place
from jobs.duplicates.rounds import Rounds
from jobs.duplicates.rules import Rules
from jobs.runtime import session
from jobs.runtime.stage import StageRun
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, partitioning, tables

SELECTION = tables.TABLES["selection"].schema


def select(
    stage_run: StageRun,
    marked: DataFrame,
    counts: dict[str, int],
    rules: Rules,
    settings: Settings,
    progress: Progress,
) -> DataFrame:
    """Rows of `selection`: small groups whole in tasks, large ones in rounds, and what is fixed."""
    prune = settings.prune
    compared = marked.where("standing != 0 OR undecided != 0")
    order = image_groups.in_order(prune)
    width = latents.stored_width(stage_run)
    fits = image_groups.fitting(prune.largest_class, width)
    small = {name: n for name, n in counts.items() if n <= fits}
    large = {name: n for name, n in counts.items() if n > fits}
    pruning = Pruning(rules, progress)
    selection = scanned(stage_run, small, pruning, settings)
    if selection is None:
        selection = whole(stage_run.spark, compared, small, pruning, order)
    if prune.protect or settings.leaks.remove:
        selection = selection.unionByName(fixed(marked, rules))
    if large:
        place(stage_run, compared, large, order)
        rounds = Rounds(stage_run, rules, image_groups.fitting(prune.window, width))
        rounds.settle(list(large))
        selection = selection.unionByName(rounds.selection(list(large)))
    return selection


def scanned(
    stage_run: StageRun, counts: dict[str, int], pruning: Pruning, settings: Settings
) -> DataFrame | None:
    """As `whole`, of latents that workers read by themselves; None where that does not do.

    It does where groups are the classes of one space, in the order of the ids, and nothing is
    fixed: then all that decides lies in one table.
    """
    prune = settings.prune
    table, _ = spaces.table_of(prune.space[0])
    if (
        len(prune.space) > 1
        or not image_groups.by_label(prune)
        or image_groups.needs_images(prune)
        or prune.order
        or prune.mode == "append"
        or settings.leaks.remove
        or not all("/" in group for group in counts)  # of images without a label
    ):
        return None
    snapshot = stage_run.snapshot(table)
    labels = {image_groups.rest_of(group): n for group, n in counts.items()}
    tasks = partitioning.assign_tasks(labels, session.slots(stage_run.spark), cost)
    plain = Plain(pruning, prune.space[0], spaces.column_of(prune.space[0]))
    scan = snapshot.by_class(plain.columns, tasks) if snapshot else None
    return scan.through(plain.selection_rows, SELECTION).mapped() if scan else None


def cost(n: int) -> float:
    """Of comparing so many images, for dealing them out."""
    return float(n) * n


def whole(
    spark: SparkSession,
    compared: DataFrame,
    counts: dict[str, int],
    pruning: Pruning,
    order: list[Column],
) -> DataFrame:
    """The greedy cover of every small group, as tasks on the executors."""
    slots = session.slots(spark)
    tasks = partitioning.repartitioned_by_group(compared, counts, slots, cost, order, key="group")
    columns = ("image_id", "label", "group", "standing", "undecided", "latent")
    return arrow_frames.mapped(tasks.select(*columns), pruning.selection_rows, SELECTION)


def fixed(marked: DataFrame, rules: Rules) -> DataFrame:
    """Protected images stay by every rule."""
    new = marked.where("protected AND NOT known").select("image_id", "label", "space", "group")
    given = zip(rules.names, rules.common, strict=True)
    spark = marked.sparkSession
    named = arrow_frames.frame(spark, given, arrow_frames.struct("rule string, threshold double"))
    every = new.crossJoin(F.broadcast(named))
    if rules.own:
        found = [
            (group, *pair)
            for group, values in rules.own.items()
            for pair in zip(rules.names, values, strict=True)
        ]
        columns = arrow_frames.struct("group string, rule string, own double")
        own = arrow_frames.frame(spark, found, columns)
        every = every.join(F.broadcast(own), on=["group", "rule"], how="left")
        every = every.withColumn("threshold", F.coalesce("own", "threshold"))
    # A group of protected images alone has no T of a rule that finds its own: null.
    return every.select(
        "image_id",
        "label",
        "rule",
        "space",
        F.nanvl("threshold", F.lit(None).cast("double")).alias("threshold"),
        F.lit(True).alias("kept"),
        F.lit(None).cast("string").alias("kept_id"),
        F.lit(None).cast("double").alias("similarity"),
    )


def audited(selection: DataFrame, marked: DataFrame, settings: Settings) -> DataFrame:
    """A selection with each image's group, and whether it was `fixed`: it stays whatever it is."""
    prune = settings.prune
    fixes = prune.protect or prune.mode == "append" or settings.leaks.remove
    if image_groups.by_label(prune) and not fixes:
        group = F.concat_ws("/", "space", "label")
        return selection.withColumns({"group": group, "fixed": F.lit(False)})
    fixed = F.col("protected").alias("fixed")
    groups = marked.select("image_id", "space", "group", fixed)
    return selection.join(groups, on=["image_id", "space"])
