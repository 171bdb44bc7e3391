"""What is decided already when pruning begins: earlier runs' decisions and leaks."""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import window_search
from jobs.duplicates.selection import SELECTION
from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.model import Settings
from jobs.warehouse.store import open_store


def decided_by(settings: Settings) -> dict[str, Any]:
    """The settings that decide which image stays."""
    prune, leaks = settings.prune, settings.leaks
    found: dict[str, Any] = {
        "thresholds": list(prune.rules),
        "space": prune.space,
        "order": prune.order,
        "group_by": prune.group_by,
        "never_across": prune.never_across,
        "protect": prune.protect,
    }
    if any(rule.threshold is None for rule in prune.rules.values()):
        found["seed"] = prune.seed
    if leaks.remove:
        found["leaks"] = [leaks.split, leaks.warehouse, leaks.scope]
    return found


def fit(stage_run: StageRun) -> str | None:
    """Which fit the whitened vectors are of."""
    if "vectors" not in stage_run.reads:
        return None
    found = stage_run.query("vectors", "SELECT fit_id FROM rows LIMIT 1")
    return str(found[0]["fit_id"]) if found else None


def leaked(stage_run: StageRun, settings: Settings) -> DataFrame | None:
    """Rows of `selection` of the images that are removed as leaks.

    Raises JobError where the leaks were looked for with other settings.
    """
    if not settings.leaks.remove:
        return None
    commit = stage_run.warehouse.newest("leaks", "leaks")
    newest = stage_run.warehouse.newest(*spaces.table_of(settings.prune.space[0]))
    if (
        commit is None
        or newest is None
        or commit.metadata.get("asked") != window_search.asked(settings)
        or commit.metadata.get("latents") != newest.output_id
    ):
        raise JobError(
            "leaks.remove: the table leaks was made with other thresholds, other settings of "
            "[leaks] or other latents: run ./spark-submit.sh leaks with these first (or pipeline, "
            "which does all)"
        )
    where = F.col("reference_warehouse")
    keeper = F.when(where.isNull(), F.col("reference_id")).otherwise(
        F.concat(where, F.lit("#"), "reference_id")
    )
    rows = stage_run.read("leaks").withColumns({"kept": F.lit(False), "kept_id": keeper})
    return rows.select(*SELECTION.names)


def reference_of(stage_run: StageRun, members: DataFrame, settings: Settings) -> DataFrame | None:
    """The images that leaks were looked for in, named as `selection` names them."""
    if not settings.leaks.remove:
        return None
    if not settings.leaks.warehouse:
        return members.where(F.col("split").isin(list(settings.leaks.split)))
    other = open_store(stage_run.spark, settings.leaks.warehouse)
    name = F.concat(F.lit(f"{other.root}#"), "image_id")
    seen = spaces.vectors_of_other(stage_run.warehouse, other, settings.prune.space[0])
    return seen.withColumn("image_id", name)


def earlier(stage_run: StageRun, members: DataFrame, settings: Settings) -> DataFrame | None:
    """In mode append the decisions that hold.

    Raises JobError where they were made otherwise, or of images that changed or vanished since.
    """
    commit = stage_run.previous_commit("selection")
    if settings.prune.mode != "append" or commit is None:
        return None
    # As the metadata have it, which are JSON: lists for tuples.
    if commit.metadata.get("decided") != json.loads(json.dumps(decided_by(settings))):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            f"other settings ({json.dumps(commit.metadata.get('decided'))}): set these again, or "
            "decide all anew with prune.mode = all"
        )
    # Pinned: what this run appends is none of them.
    selection = stage_run.warehouse.read("selection", commit.version)
    if commit.metadata.get("fit") != fit(stage_run):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            "vectors whitened otherwise: decide all anew with prune.mode = all"
        )
    ids = selection.select("image_id", "space")
    known = members.join(ids, on=["image_id", "space"], how="left_semi")
    there = known.select("image_id", mark_of().alias("mark")).agg(
        F.count("*").alias("images"), F.bit_xor("mark").alias("mark")
    )
    if list(there.collect()[0]) != commit.metadata.get("images"):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but images that were "
            "decided have vanished since, or have other content, another label or group, or "
            "latents of another model or machine: decide all anew with prune.mode = all"
        )
    return selection


def mark_of() -> Column:
    """A number that changes with all that a decision on an image was made of."""
    made_of = ("image_id", "sha256", "model_id", "encoded_on", "label", "group", "protected")
    return F.xxhash64(*made_of)
