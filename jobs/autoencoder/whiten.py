"""whiten: latents seen along the axes of the whole set, which count alike (spec §7)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from jobs.autoencoder import latents, spaces
from jobs.autoencoder.latents import model_of
from jobs.errors import JobError
from jobs.runtime import session
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import WHITENED
from jobs.warehouse import arrow_frames, partitioning, tables
from udfs import arrow
from udfs.vectors.whitening import Moments, Whitening

VERSION = 3
TASKS_A_SLOT, MOST_TASKS = 2, 32  # that sum moments: each sends 4 MB to the driver
COLLECTED = 1 << 28  # bytes of moments that the driver takes at once
LATENT = arrow_frames.struct("latent array<float>")
SUMS = arrow_frames.struct("sums binary")


def main(stage_run: StageRun) -> None:
    """Table latents → spaces (the fit), vectors.

    In mode append a fit of the same model and orientations is used again, so that new images are
    seen as the others.
    """
    prune = stage_run.settings.prune
    metadata = {"orientations": stage_run.inputs["latents"].orientations}
    earlier = known(stage_run, prune.axes) if prune.mode == "append" else None
    whitening = earlier or fitted(stage_run, prune.axes)
    stage_run.write(fit_rows(stage_run, whitening), "spaces", metadata=metadata)
    whitened = spaces.Whitened(whitening, spaces.fit_id(whitening))
    vectors = stage_run.scan("latents", spaces.LATENTS, whitened.rows, spaces.VECTORS)
    stage_run.write(vectors, "vectors")
    stage_run.rows["vectors"] = stage_run.count("vectors")
    stage_run.summary = f"{stage_run.rows['vectors']:,} vectors on {len(whitening.axes)} axes"


def depends(run: RunContext) -> dict[str, Any]:
    """Whether an earlier fit may be used again, and how many axes there are at most."""
    prune = run.settings.prune
    return {"append": prune.mode == "append", "axes": prune.axes}


def moments(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A task's latents to one row of SUMS: their moments in a line; none where there is no latent.

    The task holds a batch of latents at a time.
    """
    parts = (Moments.of(arrow.matrix(batch.column("latent"))) for batch in batches if len(batch))
    first = next(parts, None)
    if first is not None:
        total = functools.reduce(operator.add, parts, first)
        yield arrow.record_batch({"sums": [total.flat().tobytes()]}, schema)


def fitted(stage_run: StageRun, most: int) -> Whitening:
    """At most so many axes of all latents; their moments are whole numbers, added in any order.

    Raises JobError where there is none.
    """
    tasks = min(MOST_TASKS, TASKS_A_SLOT * session.slots(stage_run.spark))
    sums = stage_run.scan("latents", LATENT, moments, SUMS, tasks=tasks).mapped()
    # One row a task, a job each if they are streamed: of wide vectors they are too large for all.
    wide = tasks * latents.stored_width(stage_run) ** 2 * 4 > COLLECTED
    rows = iter(partitioning.streamed(sums) if wide else sums.collect())
    parts = (Moments.from_flat(np.frombuffer(row.sums, np.int64)) for row in rows)
    try:
        first = next(parts, None)
        if first is None:
            raise ValueError("there are no latents")
        return Whitening.fitted(functools.reduce(operator.add, parts, first), most)
    except ValueError as refused:
        raise JobError(f"whiten: {refused}; --set prune.space=raw does without") from refused


def known(stage_run: StageRun, most: int) -> Whitening | None:
    """The fit that the table `spaces` has of latents of this model, seen from as many sides.

    Raises JobError where it has less than half of the axes that all latents have now: along so few
    of them most images look alike, and would be removed.
    """
    warehouse = stage_run.warehouse
    made, encoded = warehouse.newest("spaces", "whiten"), warehouse.newest("latents", "encode")
    if made is None or encoded is None or made.orientations != encoded.orientations:
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
    whitening = spaces.fit(warehouse) if row and row.model_id == model_of(stage_run) else None
    if whitening and 2 * len(whitening.axes) < min(most, len(whitening.mean)):
        now = len(fitted(stage_run, most).axes)
        if 2 * len(whitening.axes) < now:
            raise JobError(
                f"prune.mode = 'append': the axes were fitted on few images, {len(whitening.axes)} "
                f"where all images now have {now}; --set prune.mode=all decides all anew"
            )
    return whitening


def fit_rows(stage_run: StageRun, whitening: Whitening) -> pa.Table:
    """The row of `spaces`."""
    row = (
        WHITENED,
        model_of(stage_run),
        spaces.fit_id(whitening),
        stage_run.query("latents", "SELECT count(*) AS images FROM rows")[0]["images"],
        whitening.mean.tolist(),
        whitening.deviations.tolist(),
        whitening.axes.ravel().tolist(),
    )
    return tables.rows("spaces", [row])


STAGE = Stage(
    "whiten",
    main,
    reads=lambda run: written_by("latents"),
    writes=("spaces", "vectors"),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: WHITENED in settings.prune.space,
)
