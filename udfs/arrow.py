"""Arrow and pandas columns as NumPy arrays, and arrays as columns.

Use it wherever a task reads or writes columns; no other module of `udfs` knows their layout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def binary_matrix(column: pa.Array, width: int) -> NDArray[np.uint8]:
    """Rows of equal length of a binary column: → (n, width) uint8, without a copy.

    Raises ValueError where a row is null or of another length.
    """
    kind = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    _, offsets, content = column.buffers()
    n = len(column)
    if n == 0:
        return np.empty((0, width), np.uint8)
    bounds = np.frombuffer(offsets, kind, count=n + 1, offset=column.offset * kind().itemsize)
    if column.null_count or not np.array_equal(np.diff(bounds), np.full(n, width)):
        raise ValueError(f"every row of the binary column must hold {width} bytes")
    start = int(bounds[0])
    return np.frombuffer(content, np.uint8, count=n * width, offset=start).reshape(n, width)


def float_matrix(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
    """Rows of a binary column that hold float32 numbers: → (n, width) float32, without a copy.

    Raises ValueError where a row is null or of another length than the first.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return binary_matrix(column, _size(column)).view(np.float32)


def masks(column: pa.Array) -> NDArray[np.int64]:
    """Rows of a binary column as whole numbers, the first byte lowest: → (n,) int64.

    The rows have at most 8 bytes. Raises ValueError where one is null or of another length than the
    first.
    """
    size = _size(column)
    wide = np.zeros((len(column), 8), np.uint8)
    wide[:, :size] = binary_matrix(column, size)
    return wide.view("<i8")[:, 0]


def _size(column: pa.Array) -> int:
    """How many bytes the first row of a binary column has; 0 without rows."""
    return len(column[0].as_py()) if len(column) else 0


def bytes_column(column: pa.Array) -> pa.BinaryArray:
    """A list column of float32 as a binary column, without a copy of the numbers.

    Raises ValueError as `matrix` does.
    """
    return packed_column(np.ascontiguousarray(matrix(column)).view(np.uint8))


def packed_column(rows: NDArray[np.uint8]) -> pa.BinaryArray:
    """Rows of bytes as a binary column, without a copy: (n, size) → n rows.

    Raises ValueError if they are 2 GiB or more, which is more than a binary column can hold.
    """
    n, size = rows.shape
    if n * size > np.iinfo(np.int32).max:
        raise ValueError(
            f"{n:,} rows of {size:,} bytes are too many for one Arrow batch, which holds less than "
            "2 GiB: set spark.sql.execution.arrow.maxRecordsPerBatch to fewer rows"
        )
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(size)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return pa.Array.from_buffers(pa.binary(), n, buffers)


def matrix(column: pa.Array | pa.ChunkedArray, *, nulls: bool = False) -> NDArray[Any]:
    """Rows of equal length of a list column: → (n, width), without a copy of a single chunk.

    Raises ValueError where a row is null or of another length, or a number is null. With `nulls`
    numbers may be null; they become NaN.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    n = len(column)
    flat = column.flatten()
    width = len(flat) // n if n else 0
    lengths = np.asarray(column.value_lengths().fill_null(-1)) if n else np.empty(0)
    if column.null_count or (flat.null_count and not nulls) or not (lengths == width).all():
        raise ValueError("every row of the list column must hold equally many numbers")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(n, width)


def ragged(
    column: pa.Array,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Rows of any length of a list column of doubles: → (n,), (numbers,), (numbers,).

    Returns the length of each row, −1 for a null row; the numbers of all rows, one row after the
    other, NaN where one is null; and which of the numbers are null.
    """
    flat = column.flatten()
    lengths = np.asarray(column.value_lengths().fill_null(-1), np.int64)
    return lengths, np.asarray(flat.to_numpy(zero_copy_only=False)), np.asarray(flat.is_null())


def list_column(rows: NDArray[Any], valid: NDArray[np.bool_]) -> pa.ListArray:
    """A matrix as a list column, null where a row is not valid: (n, width), (n,) → n rows."""
    n, width = rows.shape
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(np.ascontiguousarray(rows).ravel()), mask=pa.array(~valid)
    )


def list_series(rows: NDArray[Any], valid: NDArray[np.bool_]) -> pd.Series[Any]:
    """The result of `list_column` as a pandas column, which Spark converts back without a copy."""
    import pandas as pd  # it takes long to load, and only a pandas UDF asks for it

    column = list_column(rows, valid)
    return pd.Series(column, dtype=pd.ArrowDtype(column.type))


def series_matrix(series: pd.Series[Any], width: int) -> NDArray[np.uint8]:
    """A pandas column of bytes of equal length: → (n, width) uint8.

    Raises ValueError where the rows do not hold `width` bytes each.
    """
    content = np.frombuffer(b"".join(series), np.uint8)
    if content.size != len(series) * width:
        raise ValueError(f"every row must hold {width} bytes")
    return content.reshape(len(series), width)


def groups(batches: Iterable[pa.RecordBatch], key: str) -> Iterator[tuple[Any, pa.Table]]:
    """Yield (key, rows) for each run of equal keys, from batches that are sorted by the key.

    One run at a time is in memory, and only as long as the caller holds it.
    """
    parts: list[pa.RecordBatch] = []
    current: Any = None
    for batch in batches:
        for value, part in _runs(batch, key):
            if parts and value != current:
                yield current, _joined(parts)
            current = value
            parts.append(part)
            del part
        del batch
    if parts:
        yield current, _joined(parts)


def _joined(parts: list[pa.RecordBatch]) -> pa.Table:
    """The rows of some batches, which are taken out of the list."""
    table = pa.Table.from_batches(parts)
    parts.clear()
    return table


def _runs(batch: pa.RecordBatch, key: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    if batch.num_rows == 0:
        return
    column = batch.column(batch.schema.get_field_index(key))
    codes = np.asarray(column.dictionary_encode().indices.fill_null(-1))
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), batch.num_rows]
    for first, last in itertools.pairwise(cuts):
        yield column[first].as_py(), batch.slice(first, last - first)


def record_batch(columns: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    """One batch of a schema: its columns are taken by name and cast to its types."""
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def padded_batch(columns: dict[str, Any], rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """One batch of a schema, as `record_batch` has it; columns that are missing are null."""
    nulls = {
        field.name: pa.nulls(rows, field.type) for field in schema if field.name not in columns
    }
    return record_batch(columns | nulls, schema)


def _array(values: Sequence[Any] | pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
