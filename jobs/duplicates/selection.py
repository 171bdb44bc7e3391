"""Rows of the table `selection`: every candidate decided by every rule.

Small groups are decided whole, each in one task (`cover_tasks`); large ones in rounds (`rounds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.autoencoder import latents, spaces
from jobs.duplicates.candidates import COMPARED, in_order
from jobs.duplicates.cover_tasks import ClassCovers, CoverProgress, GroupCovers
from jobs.duplicates.group_placement import place_groups
from jobs.duplicates.groups import by_label, flat_images, needs_images, rest_of, space_of
from jobs.duplicates.proof_tasks import OUTCOMES
from jobs.duplicates.proving import CANDIDATE, Proving
from jobs.duplicates.rounds import Rounds
from jobs.duplicates.rules import Rules
from jobs.runtime import session
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames, partitioning, tables

# What a rule without registration decides: the columns of `selection` but those of the evidence.
SELECTION = T.StructType(
    [
        column
        for column in tables.TABLES["selection"].schema
        if column.name not in arrow_frames.struct(tables.EVIDENCE).names
    ]
)
# How long registration takes depends on what pictures show: a group in a task, if possible.
PROOF_TASKS_A_SLOT = 16
COMPARED_COLUMNS = ("image_id", "label", "group", "reference_mask", "pending_mask", "latent")


def select(
    stage_run: StageRun,
    candidates: DataFrame,
    counts: Mapping[str, int],
    rules: Rules,
    progress: CoverProgress,
    proving: Proving | None = None,
) -> DataFrame:
    """Rows of `selection`: what is decided in small and in large groups, and fixed images.

    counts: images that are compared in each group. proving: where rules ask for a proof. Large
    groups are settled at once, round by round; the others when the frame is written, or, with
    proofs, at once.
    """
    prune = stage_run.settings.prune
    compared = (proving.prepared(candidates) if proving else candidates).where(COMPARED)
    order = in_order(prune)
    width = latents.stored_width(stage_run)
    most = scaled_limit(prune.largest_class, width)
    small = {group: count for group, count in counts.items() if count <= most}
    large = {group: count for group, count in counts.items() if count > most}
    covers = GroupCovers(rules, progress)
    parts = small_groups(stage_run, compared, small, covers, order, proving)
    if any_fixed(stage_run):
        parts.append(fixed_rows(candidates, rules))
    if large:
        place_groups(stage_run, compared, large, order)
        rounds = Rounds(stage_run, rules, scaled_limit(prune.window, width), proving)
        rounds.settle(list(large))
        if proving:
            proving.exhausted += rounds.exhausted(list(large))
        parts.append(rounds.selection(list(large)))
    completed = (arrow_frames.completed(part, tables.TABLES["selection"].schema) for part in parts)
    return reduce(DataFrame.unionByName, completed)


def small_groups(
    stage_run: StageRun,
    compared: DataFrame,
    counts: Mapping[str, int],
    covers: GroupCovers,
    order: Sequence[Column],
    proving: Proving | None,
) -> list[DataFrame]:
    """Rows of `selection` of groups that fit into a task each, in one frame or more."""
    if proving is None:
        rows = rows_from_files(stage_run, counts, covers)
        return [rows_by_shuffle(compared, counts, covers, order) if rows is None else rows]
    parts = []
    for space in stage_run.settings.prune.space:
        of_space = {group: count for group, count in counts.items() if space_of(group) == space}
        rows = proving.with_known(compared.where(F.col("space") == space))
        outcomes = rows_by_shuffle(
            rows, of_space, covers, order, CANDIDATE, OUTCOMES, PROOF_TASKS_A_SLOT
        )
        with stage_run.progress_from(lambda: covers.progress.current(counts)):
            parts.append(proving.stored(outcomes))
    return parts


def scaled_limit(images: int, width: int) -> int:
    """A limit in images of width 1024, lowered in proportion for wider latents; at least 1."""
    return max(1, images * latents.LATENT_WIDTH // max(latents.LATENT_WIDTH, width))


def rows_from_files(
    stage_run: StageRun, counts: Mapping[str, int], covers: GroupCovers
) -> DataFrame | None:
    """The rows of small groups, whose latents tasks read directly from the table's files.

    None if that is not possible. It is where the groups are the classes of one space, sorted by id,
    and no decision is made yet: then everything that decides lies in one table. Also, each class
    must lie in few row groups of the files.
    """
    prune = stage_run.settings.prune
    space = prune.space[0]
    if (
        len(prune.space) > 1
        or not by_label(prune)
        or needs_images(prune)
        or prune.order
        or prune.mode == "append"
        or any_fixed(stage_run)
        or not all("/" in group for group in counts)  # images without a label have no "/"
    ):
        return None
    table, _ = spaces.table_of(space)
    snapshot = stage_run.snapshot(table)
    labels = {rest_of(group): count for group, count in counts.items()}
    tasks = partitioning.assign_tasks(labels, session.slots(stage_run.spark), cost)
    class_covers = ClassCovers(covers, space, spaces.column_of(space))
    scan = snapshot.by_class(class_covers.columns, tasks) if snapshot else None
    return scan.through(class_covers.rows, SELECTION).mapped() if scan else None


def rows_by_shuffle(
    compared: DataFrame,
    counts: Mapping[str, int],
    covers: GroupCovers,
    order: Sequence[Column],
    columns: Sequence[str] = COMPARED_COLUMNS,
    schema: T.StructType = SELECTION,
    tasks_a_slot: int = partitioning.TASKS_A_SLOT,
) -> DataFrame:
    """The rows of small groups, which Spark's shuffle brings whole and in order to the tasks.

    columns: of the candidates, that the tasks need. schema: of the rows, as `GroupCovers` has it.
    tasks_a_slot: the most tasks for each slot.
    """
    slots = session.slots(compared.sparkSession)
    tasks = partitioning.repartitioned_by_group(
        compared, dict(counts), slots, cost, order, key="group", tasks_a_slot=tasks_a_slot
    )
    return arrow_frames.mapped(tasks.select(*columns), covers.rows, schema)


def cost(images: int) -> float:
    """The relative time that it takes to compare a group's images with each other."""
    return float(images) * images


def any_fixed(stage_run: StageRun) -> bool:
    """Whether there may be images that are kept whatever they resemble."""
    settings = stage_run.settings
    given = bool(settings.prune.protect) or settings.leaks.remove
    return given or stage_run.once(flat_images) is not None


def fixed_rows(candidates: DataFrame, rules: Rules) -> DataFrame:
    """The rows of images that every rule keeps, whatever they resemble."""
    new = candidates.where("fixed AND NOT decided_earlier")
    new = new.select("image_id", "label", "space", "group")
    common = zip(rules.names, rules.common, strict=True)
    spark = candidates.sparkSession
    columns = arrow_frames.struct("rule string, threshold double")
    rows = new.crossJoin(F.broadcast(arrow_frames.frame(spark, common, columns)))
    if rules.by_group:
        by_group = [
            (group, *pair)
            for group, values in rules.by_group.items()
            for pair in zip(rules.names, values, strict=True)
        ]
        columns = arrow_frames.struct("group string, rule string, of_group double")
        of_group = arrow_frames.frame(spark, by_group, columns)
        rows = rows.join(F.broadcast(of_group), on=["group", "rule"], how="left")
        rows = rows.withColumn("threshold", F.coalesce("of_group", "threshold"))
    # In a group of such images alone, a rule that computes T has none: NaN becomes null.
    return rows.select(
        "image_id",
        "label",
        "rule",
        "space",
        F.nanvl("threshold", F.lit(None).cast("double")).alias("threshold"),
        F.lit(True).alias("kept"),
        F.lit(None).cast("string").alias("kept_id"),
        F.lit(None).cast("double").alias("similarity"),
    )


def with_groups(stage_run: StageRun, selection: DataFrame, candidates: DataFrame) -> DataFrame:
    """A selection with the columns `group`, and `fixed`: the image is kept in any case."""
    prune = stage_run.settings.prune
    if by_label(prune) and prune.mode != "append" and not any_fixed(stage_run):
        group = F.concat_ws("/", "space", "label")
        return selection.withColumns({"group": group, "fixed": F.lit(False)})
    fixed = (F.col("fixed") | F.col("flat")).alias("fixed")
    groups = candidates.select("image_id", "space", "group", fixed)
    return selection.join(groups, on=["image_id", "space"])
