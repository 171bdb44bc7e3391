"""Tables that the workers read for themselves, by Arrow: no row goes through Spark on its way.

Spark reads Parquet into its own rows, turns these into Arrow and sends them to the worker: for
latents as much work as fitting axes to them. A task here is told which row groups are its own.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.warehouse import arrow_frames
from jobs.warehouse.parquet_write import ArrowTransform

MOST_FILES = 256  # whose footers the driver reads: milliseconds each
TASKS_A_SLOT = 8  # enough that the last ones end together; each costs Spark 0.07 s
MOST_ROWS = 65_536  # of a task, where that makes more: what is lost with one, and a file it writes
OVER = 2.0  # rows may be read so many times before a shuffle is cheaper
BATCH = 1024  # rows that are decoded at a time

Rows = Callable[..., Iterator[pa.RecordBatch]]
Ends = tuple[str, str]  # lowest and highest of a column


class RowGroup(NamedTuple):
    """A row group of a file; between which labels and ids its rows lie, where its footer says."""

    path: str
    group: int
    rows: int
    labels: Ends | None = None
    ids: Ends | None = None


class TaskInput(NamedTuple):
    """What a task reads in one go: row groups in order, of these the rows of one class or all.

    Of one class by id, each row group sorted.
    """

    row_groups: tuple[RowGroup, ...]
    label: str | None = None


@dataclass(frozen=True)
class ParquetSnapshot:
    """The files of a table's version as executors see them, below a folder."""

    spark: SparkSession
    folder: Path
    row_groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """Rows of all row_groups."""
        return sum(row_group.rows for row_group in self.row_groups)

    def tasks(self, slots: int) -> int:
        """How many tasks to make of all rows, of which so many run at a time."""
        return max(TASKS_A_SLOT * slots, math.ceil(self.rows / MOST_ROWS))

    def whole(
        self, columns: T.StructType, tasks: int, constants: Mapping[str, str] | None = None
    ) -> Scan:
        """All rows in the order of the files, in at most so many tasks of about as many rows.

        constants: further columns, of one value.
        """
        most = max(1, self.rows) / max(1, tasks)
        dealt: dict[int, list[RowGroup]] = {}
        before = 0
        for row_group in self.row_groups:
            # To the task that its middle falls in.
            dealt.setdefault(int((before + row_group.rows / 2) // most), []).append(row_group)
            before += row_group.rows
        return self._scan(
            [(TaskInput(tuple(share)),) for share in dealt.values()], columns, constants or {}
        )

    def by_class(self, columns: T.StructType, tasks: Mapping[str, int]) -> Scan | None:
        """Whole classes, each by image_id, in the task that each is dealt to.

        None where they cannot be read so a row group at a time: where row groups of a class
        overlap in their ids, or the classes lie so scattered that much would be read more than
        once. columns: label and image_id among them.
        """
        labels = sorted(tasks)
        found: dict[str, list[RowGroup]] = {label: [] for label in labels}
        read = 0
        for row_group in self.row_groups:
            if row_group.labels is None or row_group.ids is None:
                return None
            low, high = row_group.labels
            for label in labels[bisect_left(labels, low) : bisect_right(labels, high)]:
                found[label].append(row_group)
                read += row_group.rows
            if read > OVER * self.rows:
                return None
        dealt: dict[int, list[TaskInput]] = {}
        for label, own in found.items():
            own.sort(key=_first_id)
            if any(_last_id(a) >= _first_id(b) for a, b in itertools.pairwise(own)):
                return None
            dealt.setdefault(tasks[label], []).append(TaskInput(tuple(own), label))
        return self._scan([tuple(shares) for _, shares in sorted(dealt.items())], columns, {})

    def _scan(
        self,
        tasks: Sequence[tuple[TaskInput, ...]],
        columns: T.StructType,
        constants: Mapping[str, str],
    ) -> Scan:
        return Scan(self.spark, TaskReader(self.folder, tuple(tasks), columns, dict(constants)))


@dataclass(frozen=True)
class Scan:
    """Rows of a table on their way to a function that is run where they are read."""

    spark: SparkSession
    reader: TaskReader

    def through(self, rows: Rows, schema: T.StructType) -> ArrowTransform:
        """The rows through `rows(batches, schema=…)`, which gives batches of a schema."""
        count = len(self.reader.tasks)
        numbers = self.spark.range(0, count, 1, max(1, count))
        return ArrowTransform(numbers, ScanTransform(self.reader, rows).apply, schema)


@dataclass(frozen=True)
class TaskReader:
    """What each task reads, on the way to it."""

    folder: Path
    tasks: tuple[tuple[TaskInput, ...], ...]
    columns: T.StructType
    constants: dict[str, str] = field(default_factory=dict)

    def batches(self, task: int) -> Iterator[pa.RecordBatch]:
        """The rows of a task."""
        schema = arrow_frames.arrow_schema(self.columns)
        for share in self.tasks[task]:
            for row_group in share.row_groups:
                batches = self._row_group(row_group, schema)
                if share.label is None:
                    yield from batches
                else:
                    yield from _of_class(batches, share.label)

    def _row_group(self, row_group: RowGroup, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.folder / row_group.path) as file:
            there = [name for name in schema.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(
                BATCH, row_groups=[row_group.group], columns=there, use_threads=False
            ):
                yield self._completed(batch, schema)

    def _completed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The columns in order and of their types; of those a file has not, nulls."""
        arrays = []
        for column in schema:
            if column.name in self.constants:
                array = pa.repeat(pa.scalar(self.constants[column.name]), batch.num_rows)
            elif column.name in batch.schema.names:
                array = batch.column(column.name)
            else:
                array = pa.nulls(batch.num_rows, column.type)
            arrays.append(array if array.type == column.type else array.cast(column.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class ScanTransform:
    """A function, and what it is given in each task."""

    reader: TaskReader
    rows: Rows

    def apply(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Numbers of tasks to what the function makes of their rows."""
        numbers = [number for batch in batches for number in batch.column("id").to_pylist()]
        read = (batch for number in numbers for batch in self.reader.batches(number))
        return self.rows(read, schema=schema)


def _of_class(batches: Iterable[pa.RecordBatch], label: str) -> Iterator[pa.RecordBatch]:
    """The rows of a class in a row group, by id."""
    wanted = pa.scalar(label, pa.string())
    own = [batch.filter(pc.equal(batch.column("label"), wanted)) for batch in batches]
    if not own:
        return
    # Arrow compares strings by their bytes, as Spark does.
    ids = pa.chunked_array([batch.column("image_id") for batch in own]).combine_chunks()
    if pc.all(pc.less(ids[:-1], ids[1:])).as_py() in (True, None):
        yield from own
    else:
        yield from pa.Table.from_batches(own).sort_by("image_id").to_batches()


def row_groups_of(folder: Path, names: Sequence[str]) -> tuple[RowGroup, ...]:
    """The row groups of a table's files, in the order of the files' names."""
    return tuple(row_group for name in sorted(names) for row_group in _of_file(folder, name))


def _of_file(folder: Path, name: str) -> Iterator[RowGroup]:
    footer = pq.read_metadata(folder / name)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        ends = _ends(group, "label"), _ends(group, "image_id")
        yield RowGroup(name, number, group.num_rows, *ends)


def _ends(group: Any, name: str) -> Ends | None:
    """Between which strings a column lies; None where that is not said, or some are null."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == name:
            bounds = column.statistics
            if bounds is None or not bounds.has_min_max or bounds.null_count:
                return None
            try:
                ends = bounds.min, bounds.max
            except UnicodeDecodeError:  # another writer's
                return None
            return ends if all(isinstance(end, str) for end in ends) else None
    return None


def _first_id(row_group: RowGroup) -> str:
    assert row_group.ids is not None
    return row_group.ids[0]


def _last_id(row_group: RowGroup) -> str:
    assert row_group.ids is not None
    return row_group.ids[1]
