"""The decisions of earlier runs: in `prune.mode = append` they hold, if what they rest on does.

What decided them lies in the metadata of the commit to `selection`: the settings, the fit of the
whitened vectors, a count and a hash of the images, and the versions of the tables with these
images. Decisions on images that others took out are dropped, and with them those that rested on
these images.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.warehouse import arrow_frames
from jobs.warehouse.commits import CommitInfo

IMAGE = ["image_id", "space"]  # what is decided, once for each rule
WITHDRAWN = "what they stood for is decided anew, all other decisions hold"


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


@dataclass(frozen=True)
class EarlierDecisions:
    """The rows of an earlier selection, on images that are still there.

    selection: those that hold. dropped: those whose keeper was taken out, so that the image is to
    be decided anew by that rule; None if no image was taken out.
    """

    selection: DataFrame
    dropped: DataFrame | None = None

    @property
    def all(self) -> DataFrame:
        """Both."""
        return self.selection if self.dropped is None else self.selection.union(self.dropped)

    def open_rules(self) -> list[str]:
        """The rules by which images are to be decided anew, sorted."""
        if self.dropped is None:
            return []
        return sorted(row.rule for row in self.dropped.select("rule").distinct().collect())


def earlier_decisions(
    stage_run: StageRun, members: DataFrame, members_of: Callable[[StageRun], DataFrame]
) -> EarlierDecisions | None:
    """The earlier decisions that hold; None without mode append, or in its first run.

    Args:
        stage_run: of prune.
        members: the images to be compared, with their groups.
        members_of: makes them of a run of the stage, which may read older versions of its inputs.

    Raises JobError where nothing tells what the earlier decisions were made with, where it was
    other settings or another fit, or where images changed or vanished.
    """
    if stage_run.settings.prune.mode != "append":
        return None
    commit, selection = stage_run.previous_commit("selection"), stage_run.previous("selection")
    if selection is None:
        return None
    if commit is None:
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but neither its log "
            "nor the table runs tells any more what they were made with: decide all anew with "
            "prune.mode = all"
        )
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
    decided = _count_and_hash(selection, members)
    gone = selection.join(members, on=IMAGE, how="left_anti").select(IMAGE).distinct()
    withdrawn = gone.join(_withdrawn(stage_run), on="image_id", how="left_semi")
    count = withdrawn.count()
    if count:
        old = _old_members(stage_run, commit, members_of)
        decided = [
            a + b if i == 0 else a ^ b
            for i, (a, b) in enumerate(zip(decided, _count_and_hash(withdrawn, old), strict=True))
        ]
    if decided != commit.metadata.get("images"):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but images that were "
            "decided have vanished since, or have other content, another label or group, or "
            "latents of another model or machine: decide all anew with prune.mode = all"
        )
    if not count:
        return EarlierDecisions(selection)
    stage_run.console.line(f"  {count:,} decided images were withdrawn: {WITHDRAWN}")
    there = selection.join(withdrawn, on=IMAGE, how="left_anti").select(selection.columns)
    ids = withdrawn.select("space", F.col("image_id").alias("kept_id"))
    keeper = ["space", "kept_id"]
    return EarlierDecisions(
        there.join(ids, on=keeper, how="left_anti").select(selection.columns),
        there.join(ids, on=keeper, how="left_semi").select(selection.columns),
    )


def _withdrawn(stage_run: StageRun) -> DataFrame:
    """The ids of images that others took out, by `rejects`."""
    rows = stage_run.warehouse.query(
        "rejects", "SELECT image_id FROM rows WHERE error_code = 'withdrawn'"
    )
    return arrow_frames.ids(stage_run.spark, (row["image_id"] for row in rows))


def _old_members(
    stage_run: StageRun, commit: CommitInfo, members_of: Callable[[StageRun], DataFrame]
) -> DataFrame:
    """The images as the earlier decisions saw them. Raises JobError if these versions are gone."""
    versions = commit.metadata.get("versions", {})
    try:
        gone = any(stage_run.warehouse.damaged_files(*pinned) for pinned in versions.items())
    except Exception:  # the log was cleaned up
        gone = True
    if gone or not versions:
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection. Images were taken out "
            "since, and the versions of the tables with them are gone, so that nothing shows "
            "whether the other images are the same: decide all anew with prune.mode = all"
        )
    return members_of(replace(stage_run, reads=versions, writes={}))


def _count_and_hash(rows: DataFrame, members: DataFrame) -> list[int]:
    """The number and the hash of those images, once a space, that rows name."""
    decided = members.join(rows.select(IMAGE), on=IMAGE, how="left_semi")
    hashes = decided.select("image_id", decision_hash().alias("hash"))
    count, combined = hashes.agg(F.count("*"), F.bit_xor("hash")).collect()[0]
    return [count, combined or 0]
