"""conflicts: images that resemble each other under unlike labels (listed, never removed)."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column
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
    latents = spaces.vectors(stage_run, [space])[space]
    images, begun = latents.count(), time.monotonic()
    found = [arrow_frames.arrow_schema(window_search.PAIRS).empty_table()]

    def of_window(later: Column, held: Broadcast[ReferenceWindow]) -> pa.Table:
        return ConflictScan(settings.threshold, settings.most, held).table(latents.where(later))

    window = stage_run.settings.prune.window
    for table in window_search.each_window(latents, images, window, of_window):
        found.append(table)
        pairs = sum(part.num_rows for part in found)
        done = min(1.0, (len(found) - 1) * window / max(1, images))
        note = f"{len(found) - 1:,} windows, {pairs:,} pairs"
        stage_run.set_progress(Progress(time.monotonic() - begun, done, note=note))
        if pairs > settings.most:
            raise JobError(
                f"more than conflicts.most = {settings.most:,} pairs are above "
                f"{settings.threshold}: raise conflicts.threshold, or conflicts.most"
            )
    frame = stage_run.spark.createDataFrame(pa.concat_tables(found), window_search.PAIRS)
    columns = {
        "space": F.lit(space),
        "threshold": F.lit(settings.threshold),
    }
    ordered = frame.withColumns(columns).select(tables.TABLES["conflicts"].schema.names)
    stage_run.write(ordered.sort(F.desc("similarity"), "image_id", "other_id"), "conflicts")
    stage_run.rows["conflicts"] = frame.count()
    count = stage_run.rows["conflicts"]
    stage_run.summary = f"{count:,} pairs of unlike labels above {settings.threshold}"


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
    to_enable="--set conflicts.threshold=0.85",
    refusal="set conflicts.threshold, such as 0.85: pairs above it under unlike labels are listed",
)
