"""Parquet files written by Spark's Python workers with Arrow; the driver commits them.

Use `ArrowTransform` for a table that a function over Arrow batches computes. Spark's own writer
takes the rows out of Arrow one number after the other, which for latents is a third of the work of
encoding them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import DataFrame, Row
from pyspark.sql import types as T

from jobs.errors import JobError
from jobs.warehouse import arrow_frames, shared_folder, unfinished
from jobs.warehouse.unfinished import NotedFile
from udfs import arrow

# A row group before compression: what a worker holds, and the least that a task reads
# (parquet_scan): 1,024 latents.
GROUP_BYTES = 4 << 20
LONGEST = 256  # characters; a longer string is no bound in the log
ADDED = arrow_frames.struct("path string, size bigint, modified bigint, stats string")


def passthrough(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows unchanged, with the columns of `schema` in its order."""
    for batch in batches:
        yield arrow.record_batch({name: batch.column(name) for name in schema.names}, schema)


@dataclass(frozen=True)
class ArrowTransform:
    """A lazy table: the rows of `frame` passed through `rows(batches, schema)`.

    `rows` yields batches of `schema`. Nothing runs until the table is written or mapped.
    resumable: what decides the rows, if a stage that was killed while it wrote them is to adopt
    those that were complete (see unfinished.py); "" if it is not. goes_on: tells rows that a next
    run finds as a whole or not at all, so that they are adopted together.
    """

    frame: DataFrame
    rows: Callable[..., Iterator[pa.RecordBatch]]
    schema: T.StructType
    resumable: str = ""
    goes_on: unfinished.GoesOn | None = None

    def mapped(self) -> DataFrame:
        """Return the rows as a Spark frame."""
        return arrow_frames.mapped(self.frame, self.rows, self.schema)

    def write_files(
        self, folder: Path, scalars: int, notes: unfinished.Notes | None = None
    ) -> list[Row]:
        """Have each task write its rows as files of the folder; return rows of ADDED.

        folder: one that all executors see. scalars: the number of leading columns that statistics
        are kept of. notes: where tasks note each file; without them each writes one file. Raises
        JobError if a file is not there afterwards: the executors write to another disk. Spark takes
        one attempt's answer for each task, so a table never has the rows of two attempts.
        """
        folder.mkdir(parents=True, exist_ok=True)
        schema = arrow_frames.arrow_schema(self.schema)
        names = tuple(schema.names[:scalars])
        files = Files(folder, self.rows, schema, names, notes, self.goes_on)
        added = arrow_frames.mapped(self.frame, files.write, ADDED).collect()
        written = [shared_folder.WrittenFile(row.path, row.size) for row in added]
        try:
            shared_folder.check_written(folder, written)
        except JobError:  # no commit will name the files
            for file in written:
                (folder / file.name).unlink(missing_ok=True)
            raise
        return added


@dataclass(frozen=True)
class Files:
    """Writes the files; `scalars` are the columns by whose bounds readers may skip a file.

    notes: where each complete file is noted; without them a task writes one file. goes_on: as in
    ArrowTransform.
    """

    folder: Path
    rows: Callable[..., Iterator[pa.RecordBatch]]
    schema: pa.Schema
    scalars: tuple[str, ...]
    notes: unfinished.Notes | None = None
    goes_on: unfinished.GoesOn | None = None

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Write a task's rows; yield a row of ADDED for each file, none if there are no rows.

        Each attempt of a task has file names of its own: the files of an attempt that was killed
        are no part of the table, and VACUUM deletes them. Raises JobError if this machine lacks the
        folder, which the driver made, or may not write there.
        """
        groups = row_groups(self.rows(batches, schema=self.schema), GROUP_BYTES)
        context = TaskContext.get()
        task, attempt = context.partitionId() if context else 0, uuid4().hex
        seconds, share = (self.notes.seconds, self.notes.share) if self.notes else (math.inf, 0)
        for part in unfinished.parts(groups, seconds, share, goes_on=self.goes_on):
            path = self.folder / f"part-{task:05d}-{uuid4()}.zstd.parquet"
            stats = self._written(path, part)
            state = path.stat()
            modified = state.st_mtime_ns // 1_000_000
            file = NotedFile(path.name, state.st_size, modified, stats, task, attempt)
            if self.notes:
                self.notes.add(file)
            yield arrow.record_batch({name: [getattr(file, name)] for name in schema.names}, schema)

    def _written(self, path: Path, groups: Iterator[pa.Table]) -> str:
        """Write a file of at least one row; return its statistics. A part of one is deleted."""
        first = next(groups)
        shared_folder.check_folder(self.folder)
        try:
            return self._write(path, first, groups)
        except PermissionError as refused:
            raise JobError(
                f"{self.folder}: the executors may not write there ({refused.strerror}); run them "
                "as the driver's user, or give theirs the right to write"
            ) from refused
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _write(self, path: Path, first: pa.Table, others: Iterator[pa.Table]) -> str:
        stats = Statistics(self.scalars)
        with pq.ParquetWriter(
            path,
            self.schema,
            compression="zstd",
            compression_level=3,  # pixels take a quarter less than at 1, for 9 µs more an image
            use_dictionary=list(self.scalars),  # no number or picture occurs twice
            write_statistics=[name for name in self.scalars if _is_ordered(self.schema, name)],
            store_schema=False,
        ) as writer:
            for group in itertools.chain((first,), others):
                stats.add(group)
                writer.write_table(group)
        return stats.json()


def row_groups(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.Table]:
    """Yield the rows of batches as tables of about `most` bytes."""
    held: list[pa.RecordBatch] = []
    taken = 0
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
            taken += batch.nbytes
        if taken >= most:
            yield pa.Table.from_batches(held)
            held, taken = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _is_ordered(schema: pa.Schema, name: str) -> bool:
    """Return whether readers may rely on the bounds of a column in a file's footer.

    They may not for floating point: to Spark NaN is above all numbers, Parquet leaves it out.
    """
    return not pa.types.is_floating(schema.field(name).type)


@dataclass
class Statistics:
    """Statistics of a file as in Delta's log (Delta protocol: Per-file Statistics)."""

    columns: tuple[str, ...]
    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    lowest: dict[str, Any] = field(default_factory=dict)
    highest: dict[str, Any] = field(default_factory=dict)
    unbounded: set[str] = field(default_factory=set)

    def add(self, rows: pa.Table) -> None:
        """Include further rows."""
        self.rows += rows.num_rows
        for name in self.columns:
            column = rows.column(name)
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            low, high = _bounds(column)
            if low is None or high is None:
                if column.null_count < len(column):
                    self.unbounded.add(name)
                continue
            self.lowest[name] = min(low, self.lowest.get(name, low))
            self.highest[name] = max(high, self.highest.get(name, high))

    def json(self) -> str:
        """Return the text of an add action's `stats`."""
        bounds = [
            {name: value for name, value in ends.items() if name not in self.unbounded}
            for ends in (self.lowest, self.highest)
        ]
        stats = {"numRecords": self.rows, "minValues": bounds[0], "maxValues": bounds[1]}
        return json.dumps(stats | {"nullCount": self.nulls}, allow_nan=False)


def _bounds(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """Return the lowest and the highest value of a column; None if the log must not have them.

    The log cuts timestamps to milliseconds, JSON has no NaN or infinity, and long strings would
    make the log large.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return None, None
    if pa.types.is_floating(kind) and not pc.all(pc.is_finite(column)).as_py():
        return None, None
    low, high = pc.min_max(column).as_py().values()
    if pa.types.is_floating(kind) and low is not None:
        # -0.0 equals 0.0, but some readers take it for less.
        low, high = (low or -0.0), (high or 0.0)
    if isinstance(low, str) and max(len(low), len(high)) > LONGEST:
        return None, None
    return low, high
