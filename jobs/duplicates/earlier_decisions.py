"""The decisions of earlier runs: in `prune.mode = append` they hold, if what they rest on does.

What decided them lies in the metadata of the commit to `selection`: the settings, the fit of the
whitened vectors, and a count and a hash of the images.
"""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted


def decision_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide which image is kept, as JSON."""
    prune, leaks = settings.prune, settings.leaks
    depends: dict[str, Any] = {
        "thresholds": list(prune.rules),
        "space": prune.space,
        "order": prune.order,
        "group_by": prune.group_by,
        "never_across": prune.never_across,
        "protect": prune.protect,
    }
    if prune.searched:
        depends["seed"] = prune.seed
    if prune.overlaps:
        depends |= {
            "candidates": prune.candidate_thresholds,
            "proof": prune.proof,
            "agreement": prune.agreement,
            "tries": prune.tries,
            "orientations": prune.orientations,
        }
    if leaks.remove:
        depends["leaks"] = [leaks.split, leaks.warehouse, leaks.scope]
    return depends


def decision_hash() -> Column:
    """A number that changes with everything that a decision on an image depends on."""
    columns = ("image_id", "sha256", "model_id", "encoded_on", "label", "group", "protected")
    return F.xxhash64(*columns)


def whitening_fit(stage_run: StageRun) -> str | None:
    """The ids of the fits by which the vectors were whitened; None without whitened vectors."""
    found = []
    for table in ("vectors", "gradients"):
        if table in stage_run.reads:
            rows = stage_run.query(table, "SELECT fit_id FROM rows LIMIT 1")
            found += [str(row["fit_id"]) for row in rows]
    return " ".join(found) or None


def earlier_selection(stage_run: StageRun, members: DataFrame) -> DataFrame | None:
    """The earlier selection whose decisions hold; None without mode append, or in its first run.

    members: the images to be compared, with their groups. Raises JobError where the earlier
    decisions were made with other settings or another fit, or where images changed or vanished.
    """
    if stage_run.settings.prune.mode != "append":
        return None
    commit, selection = stage_run.previous_commit("selection"), stage_run.previous("selection")
    if commit is None or selection is None:
        return None
    # The metadata were written as JSON, in which tuples became lists.
    wanted = json.loads(json.dumps(decision_settings(stage_run.settings)))
    if redacted(commit.metadata.get("decided")) != redacted(wanted):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            f"other settings ({json.dumps(commit.metadata.get('decided'))}): set these again, or "
            "decide all anew with prune.mode = all"
        )
    if commit.metadata.get("fit") != whitening_fit(stage_run):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            "vectors whitened otherwise: decide all anew with prune.mode = all"
        )
    if _count_and_hash(selection, members) != commit.metadata.get("images"):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but images that were "
            "decided have vanished since, or have other content, another label or group, or "
            "latents of another model or machine: decide all anew with prune.mode = all"
        )
    return selection


def _count_and_hash(selection: DataFrame, members: DataFrame) -> list[int]:
    """The number and the hash of those images, once a space, that a selection decides."""
    ids = selection.select("image_id", "space")
    decided = members.join(ids, on=["image_id", "space"], how="left_semi")
    hashes = decided.select("image_id", decision_hash().alias("hash"))
    return list(hashes.agg(F.count("*"), F.bit_xor("hash")).collect()[0])
