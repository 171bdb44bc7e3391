"""Leaks as decisions of pruning: with `leaks.remove` their images are removed, the keeper named.

The stage `leaks` fills the table `leaks` before; the stage `prune` takes the decisions from here.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import RAW
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import open_store


def leak_settings(settings: Settings) -> list[Any]:
    """The settings that decide which leaks are found, as JSON.

    The stage `leaks` records them with the table.
    """
    leaks = settings.leaks
    prune, space = settings.prune, settings.prune.space[0]
    rules: list[Any] = [list(rule) for rule in prune.fixed.items()]
    if prune.overlaps:
        rules += prune.overlaps
        rules += [prune.candidate_thresholds[space], prune.proof, prune.agreement]
        rules += [prune.tries, prune.orientations]
    search = [rules, list(leaks.split), leaks.warehouse, leaks.scope]
    # The raw space is not named: tables from before there was a choice of spaces are still valid.
    return search if space == RAW else [*search, space]


def leak_decisions(stage_run: StageRun) -> DataFrame | None:
    """Rows of `selection` that remove images as leaks; None without `leaks.remove`.

    Raises JobError where the table `leaks` was made with other settings or other latents.
    """
    settings = stage_run.settings
    if not settings.leaks.remove:
        return None
    metadata = stage_run.inputs["leaks"].metadata
    table, _ = spaces.table_of(settings.prune.space[0])
    if (
        metadata.get("asked") != leak_settings(settings)
        or metadata.get("latents") != stage_run.inputs[table].output_id
    ):
        raise JobError(
            "leaks.remove: the table leaks was made with other thresholds, other settings of "
            "[leaks] or other latents: run ./spark-submit.sh leaks with these first (or pipeline, "
            "which does all)"
        )
    warehouse = F.col("reference_warehouse")
    keeper = F.when(warehouse.isNull(), F.col("reference_id")).otherwise(
        F.concat(warehouse, F.lit("#"), "reference_id")
    )
    rows = stage_run.read("leaks").withColumns({"kept": F.lit(False), "kept_id": keeper})
    return arrow_frames.completed(rows, tables.TABLES["selection"].schema)


def leak_reference(stage_run: StageRun, members: DataFrame) -> DataFrame | None:
    """The images that leaks resemble, with their ids as `selection` names them.

    Those of another warehouse are named "<warehouse>#<image_id>". None without `leaks.remove`.
    """
    settings = stage_run.settings
    if not settings.leaks.remove:
        return None
    if not settings.leaks.warehouse:
        return members.where(F.col("split").isin(list(settings.leaks.split)))
    other = open_store(stage_run.spark, settings.leaks.warehouse)
    name = F.concat(F.lit(f"{other.root}#"), "image_id")
    images = spaces.vectors_of_other(stage_run.warehouse, other, settings.prune.space[0])
    return images.withColumn("image_id", name)
