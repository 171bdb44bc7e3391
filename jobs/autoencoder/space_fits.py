"""Fit a whitening to vectors that the executors compute, and the row of `spaces` that holds it."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql.types import StructType

from jobs.autoencoder import spaces
from jobs.errors import JobError
from jobs.runtime import session
from jobs.runtime.stage import NamedValues, StageRun
from jobs.settings.duplicates import Prune
from jobs.warehouse import arrow_frames, partitioning, tables
from udfs import arrow
from udfs.vectors.whitening import Moments, Whitening

TASKS_A_SLOT, MOST_TASKS = 2, 32  # tasks that sum moments; each sends some MB to the driver
COLLECTED = 1 << 28  # bytes of moments that the driver takes at once
SUMS = arrow_frames.struct("sums binary")


@dataclass(frozen=True)
class MomentsTask:
    """Sums the moments of the vectors that `matrix` makes of a batch, on the executors."""

    matrix: spaces.MatrixOf

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn a task's batches into one row of SUMS; no row if there are no vectors.

        The task holds one batch at a time.
        """
        parts = (Moments.of(self.matrix(batch)) for batch in batches if len(batch))
        first = next(parts, None)
        if first is not None:
            total = functools.reduce(operator.add, parts, first)
            yield arrow.record_batch({"sums": [total.flat().tobytes()]}, schema)


def fitted(
    stage_run: StageRun,
    table: str,
    columns: StructType,
    matrix: spaces.MatrixOf,
    width: int,
    most: int,
) -> Whitening:
    """Fit a whitening with at most `most` axes to the vectors of all rows of a table.

    The moments are whole numbers, so the result does not depend on the order in which they are
    added. Raises JobError if there are no vectors, or no axis.

    Args:
        stage_run: of the stage that fits.
        table: an input table.
        columns: those of its columns that `matrix` needs.
        matrix: makes vectors (n, width) of a batch of rows.
        width: numbers in a vector.
        most: axes at most.
    """
    tasks = min(MOST_TASKS, TASKS_A_SLOT * session.slots(stage_run.spark))
    task = MomentsTask(matrix)
    sums = stage_run.scan(table, columns, task.rows, SUMS, tasks=tasks).mapped()
    # There is one row a task. The rows of wide vectors are too large to be collected at once; they
    # are streamed, which takes a Spark job for each.
    wide = tasks * width**2 * 4 > COLLECTED
    rows = iter(partitioning.streamed(sums) if wide else sums.collect())
    parts = (Moments.from_flat(np.frombuffer(row.sums, np.int64)) for row in rows)
    try:
        first = next(parts, None)
        if first is None:
            raise ValueError("there are no vectors")
        return Whitening.fitted(functools.reduce(operator.add, parts, first), most)
    except ValueError as refused:
        raise JobError(
            f"{stage_run.stage.name}: {refused}; --set prune.space=raw does without"
        ) from refused


def depends(prune: Prune, space: str) -> dict[str, Any]:
    """What a stage that fits depends on: whether an earlier fit is used again, and the axes."""
    return {
        "append": NamedValues({"prune.mode": prune.mode}, hashed=prune.mode == "append"),
        "axes": NamedValues({"prune.axes": prune.axes}, hashed=prune.axes_of(space)),
    }


def check_axes(earlier: Whitening, most: int, refit: Callable[[], Whitening]) -> None:
    """Raise JobError if an earlier fit has less than half of the axes that one has now.

    Along so few axes most images look alike, and would be removed.

    Args:
        earlier: the fit that is to be used again.
        most: axes at most.
        refit: fits to all images of now; called only where the earlier fit has few axes.

    """
    if 2 * len(earlier.axes) < min(most, len(earlier.mean)):
        now = len(refit().axes)
        if 2 * len(earlier.axes) < now:
            raise JobError(
                f"prune.mode = 'append': the axes were fitted on few images, {len(earlier.axes)} "
                f"where all images now have {now}; --set prune.mode=all decides all anew"
            )


def fit_rows(space: str, model_id: str, whitening: Whitening, images: int) -> pa.Table:
    """The row of the table `spaces` for a fit to so many images."""
    row = (
        space,
        model_id,
        spaces.fit_id(whitening),
        images,
        whitening.mean.tolist(),
        whitening.deviations.tolist(),
        whitening.axes.ravel().tolist(),
    )
    return tables.rows("spaces", [row])
