"""Writes a table that takes minutes in several commits, where only what is committed survives.

In a mounted folder the tasks themselves note every file that is complete, and the next run adopts
the files of a run that was killed (see jobs/warehouse/unfinished.py). Everywhere else Spark writes,
and a killed run loses what it had not committed. There a long write is cut into parts by ranges of
the rows' key. The next run of the stage finds the rows of the parts that are committed, as it finds
those of any earlier run, and computes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial, reduce
from operator import and_
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.warehouse.parquet_write import ArrowTransform

# A part takes so many seconds, or this share of the time so far if that is longer: a commit to an
# object store takes a second or two, and a killed run shall lose a tenth of its work at most.
SECONDS = 30.0
SHARE = 0.1
# Rows of the first part, whose time is not known; fewer than twice that are one part.
LEAST = 10_000
RANGES = 1_000  # of the key, roughly: a part consists of whole ranges

Make = Callable[[DataFrame, float], ArrowTransform]


def write(
    stage_run: StageRun,
    table: str,
    frame: DataFrame,
    make: Make,
    *,
    key: str,
    count: int,
    append: bool = False,
    metadata: dict[str, Any],
) -> None:
    """Write the rows that `make` makes of a frame to an output.

    Args:
        stage_run: the stage, whose output the table is.
        table: the output.
        frame: what the rows are made of.
        make: called with a part of the frame, and the share of all rows that it has, in (0, 1]. It
            returns the rows of this part.
        key: the column of the frame that tells its rows apart.
        count: the number of rows in the frame, roughly; 0 if they are to be written at once.
        append: add the rows to the table instead of replacing it.
        metadata: what each commit records.
    """
    if stage_run.warehouse.adopts or count < 2 * LEAST:
        stage_run.write(make(frame, 1.0), table, append=append, metadata=metadata)
        return
    borders = _borders(frame, key, count)
    ranges = len(borders) + 1
    started = time.monotonic()
    for begin, end in parts(ranges, max(1, LEAST * ranges // count)):
        within = [F.col(key) >= borders[begin - 1]] if begin else []
        within += [F.col(key) < borders[end - 1]] if end < ranges else []
        part = frame.where(reduce(and_, within)) if within else frame
        rows = make(part, (end - begin) / ranges)
        share = partial(_progress, stage_run, begin / ranges, end / ranges, started)
        with stage_run.progress_from(share):
            stage_run.write(rows, table, append=append, metadata=metadata, finished=end == ranges)
        append = True


def _progress(stage_run: StageRun, begin: float, end: float, started: float) -> Progress:
    """How far the whole write is, while Spark writes the part from one share of it to another."""
    part = stage_run.run.spark_progress.current()
    share = begin + (end - begin) * ((part.share or 0.0) if part else 0.0)
    total = stage_run.progress_total
    images = None if total is None else total * share
    return Progress(time.monotonic() - started, share, images)


def _borders(frame: DataFrame, key: str, count: int) -> list[str]:
    """Return keys in their order that cut the frame into some RANGES of about equally many rows.

    They are drawn by a hash, and not by chance, so that a read that Spark repeats gives the same.
    """
    every = max(1, count // RANGES)
    drawn = frame.select(key).where(F.pmod(F.xxhash64(key), F.lit(every)) == 0).distinct()
    return [row[0] for row in drawn.sort(key).collect()]


def parts(
    ranges: int, first: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[int, int]]:
    """Yield consecutive parts [begin, end) of so many ranges, which they cover.

    first: how many ranges the first part has. Each later one gets as many as take SECONDS, or SHARE
    of the time so far, at the pace of the part before it. A rest that would take less than half of
    that joins the part before it.
    """
    begin, size = 0, first
    started = opened = clock()
    while begin < ranges:
        end = begin + size
        if ranges - end < size / 2:
            end = ranges
        yield begin, end
        now = clock()
        pace = (end - begin) / max(now - opened, 1e-3)  # ranges a second
        size = max(1, round(pace * max(SECONDS, SHARE * (now - started))))
        begin, opened = end, now
