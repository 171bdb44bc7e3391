"""Parquet files of a table, read by Spark's Python workers directly with Arrow.

Use it where a function over Arrow batches goes through a large table. Spark would read Parquet
into its own rows, turn these into Arrow and send them to the worker, which for latents is as much
work as fitting axes to them. Here the driver reads the footers, and tells each task its row groups.
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

from jobs.warehouse import arrow_frames, shared_folder
from jobs.warehouse.parquet_write import ArrowTransform

MAGIC = b"PAR1"  # the last bytes of a Parquet file
MOST_FILES = 256  # the driver reads their footers, some milliseconds each
TASKS_A_SLOT = 8  # enough that the last tasks end together; each costs Spark 0.07 s
MOST_ROWS = 65_536  # of a task: what is computed again if it fails, and the size of its file
OVER = 2.0  # a shuffle is cheaper than reading rows more often than this
# Rows that are decoded at a time. pyarrow.dataset is as fast, but decodes a row group as a whole:
# twice the memory for a row group of 128 MB, which is what Spark writes.
BATCH = 1024

Rows = Callable[..., Iterator[pa.RecordBatch]]
Bounds = tuple[str, str]  # the lowest and the highest value of a column


class RowGroup(NamedTuple):
    """A row group of a file, with the bounds of its labels and ids; None if not in the footer."""

    path: str
    group: int
    rows: int
    labels: Bounds | None = None
    ids: Bounds | None = None


class TaskInput(NamedTuple):
    """Row groups that a task reads in this order: all their rows, or those of one class.

    The rows of a class come sorted by image_id, as their row groups do not overlap.
    """

    row_groups: tuple[RowGroup, ...]
    label: str | None = None


@dataclass(frozen=True)
class ParquetSnapshot:
    """A version of a table as Parquet row groups, in a folder that all executors see."""

    spark: SparkSession
    folder: Path
    row_groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(row_group.rows for row_group in self.row_groups)

    def tasks(self, slots: int) -> int:
        """Return how many tasks to make of all rows; slots: tasks that run at a time."""
        return max(TASKS_A_SLOT * slots, math.ceil(self.rows / MOST_ROWS))

    def whole(
        self, columns: T.StructType, tasks: int, constants: Mapping[str, str] | None = None
    ) -> Scan:
        """Return a scan of all rows in the order of the files, in tasks of about equal size.

        tasks: at most so many. constants: further columns of one value each.
        """
        most = max(1, self.rows) / max(1, tasks)
        assigned: dict[int, list[RowGroup]] = {}
        before = 0
        for row_group in self.row_groups:
            # It goes to the task that its middle row falls into.
            assigned.setdefault(int((before + row_group.rows / 2) // most), []).append(row_group)
            before += row_group.rows
        return self._scan(
            [(TaskInput(tuple(part)),) for part in assigned.values()], columns, constants or {}
        )

    def by_class(self, columns: T.StructType, tasks: Mapping[str, int]) -> Scan | None:
        """Return a scan in which a task reads whole classes, each sorted by image_id.

        columns: `label` and `image_id` among them. tasks: the task of each class. Returns None if
        the classes cannot be read a row group at a time: row groups of a class overlap in their
        ids, or classes are so scattered that rows would be read more than OVER times on average.
        """
        labels = sorted(tasks)
        of_class: dict[str, list[RowGroup]] = {label: [] for label in labels}
        read = 0
        for row_group in self.row_groups:
            if row_group.labels is None or row_group.ids is None:
                return None
            low, high = row_group.labels
            for label in labels[bisect_left(labels, low) : bisect_right(labels, high)]:
                of_class[label].append(row_group)
                read += row_group.rows
            if read > OVER * self.rows:
                return None
        inputs: dict[int, list[TaskInput]] = {}
        for label, row_groups in of_class.items():
            row_groups.sort(key=_first_id)
            if any(_last_id(a) >= _first_id(b) for a, b in itertools.pairwise(row_groups)):
                return None
            inputs.setdefault(tasks[label], []).append(TaskInput(tuple(row_groups), label))
        return self._scan([tuple(own) for _, own in sorted(inputs.items())], columns, {})

    def _scan(
        self,
        tasks: Sequence[tuple[TaskInput, ...]],
        columns: T.StructType,
        constants: Mapping[str, str],
    ) -> Scan:
        return Scan(self.spark, TaskReader(self.folder, tuple(tasks), columns, dict(constants)))


@dataclass(frozen=True)
class Scan:
    """Rows of a table, to be passed to a function in the task that reads them."""

    spark: SparkSession
    reader: TaskReader

    def through(self, rows: Rows, schema: T.StructType) -> ArrowTransform:
        """Return a lazy table: the rows passed through `rows(batches, schema)`."""
        count = len(self.reader.tasks)
        numbers = self.spark.range(0, count, 1, max(1, count))
        return ArrowTransform(numbers, ScanTransform(self.reader, rows).apply, schema)


@dataclass(frozen=True)
class TaskReader:
    """Reads what each task is to read; it is sent to the executors."""

    folder: Path
    tasks: tuple[tuple[TaskInput, ...], ...]
    columns: T.StructType
    constants: dict[str, str] = field(default_factory=dict)

    def batches(self, task: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a task."""
        schema = arrow_frames.arrow_schema(self.columns)
        for part in self.tasks[task]:
            for row_group in part.row_groups:
                batches = self._row_group(row_group, schema)
                if part.label is None:
                    yield from batches
                else:
                    yield from _of_class(batches, part.label)

    def _row_group(self, row_group: RowGroup, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        path = self.folder / row_group.path
        try:
            opened = pq.ParquetFile(path)
        except (FileNotFoundError, PermissionError) as refused:  # the driver read its footer
            raise shared_folder.unseen(path) from refused
        with opened as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(
                BATCH, row_groups=[row_group.group], columns=present, use_threads=False
            ):
                yield self._completed(batch, schema)

    def _completed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """Return the columns in order and with their types; one that the file lacks holds nulls."""
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
    """Apply `rows` to the rows of each task's row groups, read on the executor."""

    reader: TaskReader
    rows: Rows

    def apply(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Yield the function's batches for the tasks whose numbers are the column `id`."""
        numbers = [number for batch in batches for number in batch.column("id").to_pylist()]
        read = (batch for number in numbers for batch in self.reader.batches(number))
        return self.rows(read, schema=schema)


def _of_class(batches: Iterable[pa.RecordBatch], label: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a class in a row group, sorted by image_id."""
    value = pa.scalar(label, pa.string())
    rows = [batch.filter(pc.equal(batch.column("label"), value)) for batch in batches]
    if not rows:
        return
    # Arrow compares strings by their bytes, as Spark does.
    ids = pa.chunked_array([batch.column("image_id") for batch in rows]).combine_chunks()
    if pc.all(pc.less(ids[:-1], ids[1:])).as_py() in (True, None):
        yield from rows
    else:
        yield from pa.Table.from_batches(rows).sort_by("image_id").to_batches()


def row_groups_of(folder: Path, names: Sequence[str]) -> tuple[RowGroup, ...]:
    """Return the row groups of a table's files, in the order of the files' names."""
    return tuple(row_group for name in sorted(names) for row_group in _of_file(folder, name))


def _of_file(folder: Path, name: str) -> Iterator[RowGroup]:
    footer = pq.read_metadata(folder / name)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        labels, ids = _bounds(group, "label"), _bounds(group, "image_id")
        yield RowGroup(name, number, group.num_rows, labels, ids)


def _bounds(group: Any, name: str) -> Bounds | None:
    """Return the bounds of a string column; None if they are not in the footer, or some are null.

    (pyarrow.dataset's statistics of a row group do not say whether some are null.)
    """
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == name:
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max or statistics.null_count:
                return None
            try:
                bounds = statistics.min, statistics.max
            except UnicodeDecodeError:  # another writer's
                return None
            return bounds if all(isinstance(bound, str) for bound in bounds) else None
    return None


def _first_id(row_group: RowGroup) -> str:
    assert row_group.ids is not None
    return row_group.ids[0]


def _last_id(row_group: RowGroup) -> str:
    assert row_group.ids is not None
    return row_group.ids[1]
