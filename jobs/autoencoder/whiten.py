"""The stage `whiten`: projects latents on the principal axes of all images and scales each axis.

Each coordinate is divided by the standard deviation along its axis, so that all axes count alike
(docs/method.md, "Whitening").
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.autoencoder.latents import model_of, stored_width
from jobs.errors import JobError
from jobs.runtime import session
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import WHITENED
from jobs.warehouse import arrow_frames, partitioning, tables
from udfs import arrow
from udfs.vectors.whitening import Moments, Whitening

VERSION = 3
TASKS_A_SLOT, MOST_TASKS = 2, 32  # tasks that sum moments; each sends 4 MB to the driver
COLLECTED = 1 << 28  # bytes of moments that the driver takes at once
LATENT = arrow_frames.struct("latent array<float>")
SUMS = arrow_frames.struct("sums binary")


def main(stage_run: StageRun) -> None:
    """Table latents → spaces (the fitted whitening), vectors.

    In mode append a fit of the same model and orientations is used again, so that new images are
    whitened like those before.
    """
    prune = stage_run.settings.prune
    metadata = {"orientations": stage_run.inputs["latents"].orientations}
    reusable = reusable_fit(stage_run, prune.axes) if prune.mode == "append" else None
    whitening = reusable or fitted(stage_run, prune.axes)
    stage_run.write(fit_rows(stage_run, whitening), "spaces", metadata=metadata)
    task = spaces.WhiteningTask(whitening, spaces.fit_id(whitening))
    vectors = stage_run.scan("latents", spaces.LATENTS, task.rows, spaces.VECTORS)
    stage_run.write(vectors, "vectors")
    stage_run.rows["vectors"] = stage_run.count("vectors")
    stage_run.summary = f"{stage_run.rows['vectors']:,} vectors on {len(whitening.axes)} axes"


def depends(run: RunContext) -> dict[str, Any]:
    """Whether an earlier fit may be used again, and the largest number of axes."""
    prune = run.settings.prune
    return {
        "append": NamedValues({"prune.mode": prune.mode}, hashed=prune.mode == "append"),
        "axes": NamedValues({"prune.axes": prune.axes}, hashed=prune.axes),
    }


def moments(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Sum the moments of a task's latents into one row of SUMS; no row if there are no latents.

    The task holds one batch of latents at a time.
    """
    parts = (Moments.of(arrow.matrix(batch.column("latent"))) for batch in batches if len(batch))
    first = next(parts, None)
    if first is not None:
        total = functools.reduce(operator.add, parts, first)
        yield arrow.record_batch({"sums": [total.flat().tobytes()]}, schema)


def fitted(stage_run: StageRun, most: int) -> Whitening:
    """Fit a whitening with at most `most` axes to all latents.

    The moments are whole numbers, so the result does not depend on the order in which they are
    added. Raises JobError if there are no latents, or no axis.
    """
    tasks = min(MOST_TASKS, TASKS_A_SLOT * session.slots(stage_run.spark))
    sums = stage_run.scan("latents", LATENT, moments, SUMS, tasks=tasks).mapped()
    # There is one row a task. The rows of wide vectors are too large to be collected at once; they
    # are streamed, which takes a Spark job for each.
    wide = tasks * stored_width(stage_run) ** 2 * 4 > COLLECTED
    rows = iter(partitioning.streamed(sums) if wide else sums.collect())
    parts = (Moments.from_flat(np.frombuffer(row.sums, np.int64)) for row in rows)
    try:
        first = next(parts, None)
        if first is None:
            raise ValueError("there are no latents")
        return Whitening.fitted(functools.reduce(operator.add, parts, first), most)
    except ValueError as refused:
        raise JobError(f"whiten: {refused}; --set prune.space=raw does without") from refused


def reusable_fit(stage_run: StageRun, most: int) -> Whitening | None:
    """Return the stored whitening if it was fitted to latents of this model and orientations.

    None if there is no such fit. Raises JobError if it has less than half of the axes that a fit to
    all latents would have now: along so few of them most images look alike, and would be removed.
    """
    warehouse = stage_run.warehouse
    fit, latents = warehouse.newest("spaces", "whiten"), warehouse.newest("latents", "encode")
    if fit is None or latents is None or fit.orientations != latents.orientations:
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
    same_model = row and row.model_id == model_of(stage_run)
    whitening = spaces.stored_fit(warehouse) if same_model else None
    if whitening and 2 * len(whitening.axes) < min(most, len(whitening.mean)):
        now = len(fitted(stage_run, most).axes)
        if 2 * len(whitening.axes) < now:
            raise JobError(
                f"prune.mode = 'append': the axes were fitted on few images, {len(whitening.axes)} "
                f"where all images now have {now}; --set prune.mode=all decides all anew"
            )
    return whitening


def fit_rows(stage_run: StageRun, whitening: Whitening) -> pa.Table:
    """The row of the table `spaces`."""
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
