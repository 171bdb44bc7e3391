"""The stage `conflicts`: lists pairs of images that resemble each other under unlike labels.

Nothing is removed. The pairs are for people who check labels.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import window_search
from jobs.duplicates.pictures import pictured, pictures
from jobs.duplicates.window_search import ConflictScan, PairProof, ReferenceWindow
from jobs.errors import JobError
from jobs.runtime.progress import Progress
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import Conflicts
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables

VERSION = 3


def main(stage_run: StageRun) -> None:
    """Table latents, or vectors → conflicts: in the first space of `prune.space`."""
    settings, space = stage_run.settings.conflicts, stage_run.settings.prune.space[0]
    images = spaces.vectors(stage_run, [space])[space]
    with ExitStack() as stack:
        if settings.overlap is not None:
            images = pictured(images, pictures(stage_run), stack)
        pairs = conflicting_pairs(stage_run, images)
    threshold = F.lit(settings.rule.threshold).cast("double")
    columns = {"space": F.lit(space), "threshold": threshold}
    frame = stage_run.spark.createDataFrame(pairs, window_search.PAIRS).withColumns(columns)
    rows = frame.select(tables.TABLES["conflicts"].schema.names)
    stage_run.write(rows.sort(F.desc("similarity"), "image_id", "other_id"), "conflicts")
    stage_run.rows["conflicts"] = pairs.num_rows
    stage_run.summary = f"{pairs.num_rows:,} pairs of unlike labels with {_asked(settings)}"


def conflicting_pairs(stage_run: StageRun, images: DataFrame) -> pa.Table:
    """Rows of PAIRS: all pairs under unlike labels that are above the threshold, or proved.

    Raises JobError where they are more than `conflicts.most`.
    """
    settings, window = stage_run.settings.conflicts, stage_run.settings.prune.window
    proof, lowest = pair_proof(stage_run.settings), lowest_similarity(stage_run.settings)
    count, start = images.count(), time.monotonic()

    def compare(this_or_later: Column, window: Broadcast[ReferenceWindow]) -> pa.Table:
        scan = ConflictScan(lowest, settings.most, window, proof)
        return scan.table(images.where(this_or_later))

    parts = [arrow_frames.arrow_schema(window_search.PAIRS).empty_table()]
    pairs = 0
    windows = window_search.each_window(images, count, window, compare)
    for number, part in enumerate(windows, 1):
        parts.append(part)
        pairs += part.num_rows
        share = min(1.0, number * window / max(1, count))
        note = f"{number:,} windows, {pairs:,} pairs"
        stage_run.set_progress(Progress(time.monotonic() - start, share, note=note))
        if pairs > settings.most:
            raise JobError(
                f"more than conflicts.most = {settings.most:,} pairs have {_asked(settings)}: "
                "raise conflicts.threshold, or conflicts.most"
            )
    return pa.concat_tables(parts)


def pair_proof(settings: Settings) -> PairProof | None:
    """What proves that two images show the same; None where the cosine alone decides."""
    prune, overlap = settings.prune, settings.conflicts.overlap
    if overlap is None:
        return None
    return PairProof(overlap, prune.proof, prune.agreement, prune.orientations, "cpu")


def lowest_similarity(settings: Settings) -> float:
    """The cosine above which pairs are listed, or registered where an overlap is asked for."""
    threshold = settings.conflicts.rule.threshold
    if threshold is None:
        return settings.prune.candidate_thresholds[settings.prune.space[0]]
    return threshold


def _asked(settings: Conflicts) -> str:
    return settings.rule.short if settings.overlap is not None else f"Sim > {settings.rule.short}"


def reads(run: RunContext) -> dict[str, str]:
    """The table with the vectors of the first space, and images where pictures are registered."""
    images = written_by("images") if run.settings.conflicts.overlap is not None else {}
    return spaces.reads(run.settings.prune.space[:1]) | images


def depends(run: RunContext) -> dict[str, Any]:
    """The threshold, how many pairs there may be, and what counts as a proof."""
    settings, proof = run.settings.conflicts, pair_proof(run.settings)
    decided: dict[str, Any] = {"threshold": settings.threshold, "most": settings.most}
    if proof:
        named = {
            "prune.candidates": lowest_similarity(run.settings),
            "prune.proof": proof.proof,
            "prune.agreement": proof.agreement,
            "prune.orientations": proof.orientations,
        }
        decided["proof"] = NamedValues(named, hashed=list(named.values()))
    return decided


STAGE = Stage(
    "conflicts",
    main,
    reads=reads,
    writes=("conflicts",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.conflicts.threshold),
    example_flags="--set conflicts.threshold=0.85",
    message_if_disabled=(
        "set conflicts.threshold, such as 0.85 or overlap:0.7: pairs above it, or proved, under "
        "unlike labels are listed"
    ),
)
