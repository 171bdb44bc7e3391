"""The stage `conflicts`: lists pairs of images that resemble each other under unlike labels.

Nothing is removed. The pairs are for people who check labels.
"""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import window_search
from jobs.duplicates.window_search import ConflictScan, ReferenceWindow
from jobs.errors import JobError
from jobs.runtime.progress import Progress
from jobs.runtime.stage import RunContext, Stage, StageRun
from jobs.warehouse import arrow_frames, tables

VERSION = 1


def main(stage_run: StageRun) -> None:
    """Table latents, or vectors → conflicts: in the first space of `prune.space`."""
    settings, space = stage_run.settings.conflicts, stage_run.settings.prune.space[0]
    pairs = conflicting_pairs(stage_run, spaces.vectors(stage_run, [space])[space])
    columns = {"space": F.lit(space), "threshold": F.lit(settings.threshold)}
    frame = stage_run.spark.createDataFrame(pairs, window_search.PAIRS).withColumns(columns)
    rows = frame.select(tables.TABLES["conflicts"].schema.names)
    stage_run.write(rows.sort(F.desc("similarity"), "image_id", "other_id"), "conflicts")
    stage_run.rows["conflicts"] = pairs.num_rows
    stage_run.summary = f"{pairs.num_rows:,} pairs of unlike labels above {settings.threshold}"


def conflicting_pairs(stage_run: StageRun, images: DataFrame) -> pa.Table:
    """Rows of PAIRS: all pairs above the threshold under unlike labels.

    Raises JobError where they are more than `conflicts.most`.
    """
    settings, window = stage_run.settings.conflicts, stage_run.settings.prune.window
    count, start = images.count(), time.monotonic()

    def compare(this_or_later: Column, window: Broadcast[ReferenceWindow]) -> pa.Table:
        scan = ConflictScan(settings.threshold, settings.most, window)
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
                f"more than conflicts.most = {settings.most:,} pairs are above "
                f"{settings.threshold}: raise conflicts.threshold, or conflicts.most"
            )
    return pa.concat_tables(parts)


def depends(run: RunContext) -> dict[str, Any]:
    """The threshold, and how many pairs there may be."""
    settings = run.settings.conflicts
    return {"threshold": settings.threshold, "most": settings.most}


STAGE = Stage(
    "conflicts",
    main,
    reads=lambda run: spaces.reads(run.settings.prune.space[:1]),
    writes=("conflicts",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.conflicts.threshold),
    example_flags="--set conflicts.threshold=0.85",
    message_if_disabled=(
        "set conflicts.threshold, such as 0.85: pairs above it under unlike labels are listed"
    ),
)
