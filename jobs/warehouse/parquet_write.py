"""Rows that executors make: they write the files, the driver commits them.

Arrow takes rows as the workers have them. Spark's own writer takes them out of Arrow one number
after the other, which for latents is a third of the work of encoding them.
"""

from __future__ import annotations

import itertools
import json
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

from jobs.warehouse import arrow_frames
from udfs import arrow

# Of a row group before compression: what a worker holds, and the least that tasks share out among
# them (`scanning`): 1,024 latents.
GROUP_BYTES = 4 << 20
LONGEST = 256  # characters of a string that is a bound in the log
ADDED = arrow_frames.struct("path string, size bigint, modified bigint, stats string")


def passthrough(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of a frame that has a table's columns already."""
    for batch in batches:
        yield arrow.record_batch({name: batch.column(name) for name in schema.names}, schema)


@dataclass(frozen=True)
class ArrowTransform:
    """A table's rows before they are made: a frame's, through `rows(batches, schema=…)`."""

    frame: DataFrame
    rows: Callable[..., Iterator[pa.RecordBatch]]
    schema: T.StructType

    def mapped(self) -> DataFrame:
        """The rows, for Spark."""
        return arrow_frames.mapped(self.frame, self.rows, self.schema)

    def write_files(self, folder: Path, scalars: int) -> list[Row]:
        """The rows as files of a folder that all executors see, one a task: rows of ADDED.

        scalars: leading columns that statistics are kept of.
        """
        schema = arrow_frames.arrow_schema(self.schema)
        files = Files(folder, self.rows, schema, tuple(schema.names[:scalars]))
        return arrow_frames.mapped(self.frame, files.write, ADDED).collect()


@dataclass(frozen=True)
class Files:
    """Where a task's rows go, and which of their columns readers may skip files by."""

    folder: Path
    rows: Callable[..., Iterator[pa.RecordBatch]]
    schema: pa.Schema
    scalars: tuple[str, ...]

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Write a task's rows; one row of ADDED, none where there is nothing to write.

        A name of its own for each try of a task: what one leaves that was killed is no part of the
        table, and VACUUM takes it away.
        """
        groups = row_groups(self.rows(batches, schema=self.schema), GROUP_BYTES)
        first = next(groups, None)
        if first is None:
            return
        context = TaskContext.get()
        task = context.partitionId() if context else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"part-{task:05d}-{uuid4()}.zstd.parquet"
        try:
            stats = self._write(path, first, groups)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        state = path.stat()
        yield arrow.record_batch(
            {
                "path": [path.name],
                "size": [state.st_size],
                "modified": [state.st_mtime_ns // 1_000_000],
                "stats": [stats],
            },
            schema,
        )

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
    """The rows of batches, some `most` bytes at a time."""
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
    """Whether readers may go by the bounds of a column in a file's footer.

    To Spark NaN is above all numbers, to Parquet it is none.
    """
    return not pa.types.is_floating(schema.field(name).type)


@dataclass
class Statistics:
    """A file's, as Delta's log has them (Delta protocol: Per-file Statistics)."""

    columns: tuple[str, ...]
    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    lowest: dict[str, Any] = field(default_factory=dict)
    highest: dict[str, Any] = field(default_factory=dict)
    unbounded: set[str] = field(default_factory=set)

    def add(self, rows: pa.Table) -> None:
        """Take further rows in."""
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
        """The text of an add action's `stats`."""
        bounds = [
            {name: value for name, value in ends.items() if name not in self.unbounded}
            for ends in (self.lowest, self.highest)
        ]
        found = {"numRecords": self.rows, "minValues": bounds[0], "maxValues": bounds[1]}
        return json.dumps(found | {"nullCount": self.nulls}, allow_nan=False)


def _bounds(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """The lowest and highest value of a column; None where the log is to have none.

    So of timestamps, which it cuts to milliseconds, of numbers that JSON has no word for, and of
    long strings.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return None, None
    if pa.types.is_floating(kind) and not pc.all(pc.is_finite(column)).as_py():
        return None, None
    low, high = pc.min_max(column).as_py().values()
    if isinstance(low, str) and max(len(low), len(high)) > LONGEST:
        return None, None
    return low, high
