"""Columns as arrays and back, beside what Arrow itself says of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from udfs import arrow


def test_binary_rows_are_read_without_a_copy() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (5, 8)).astype(np.uint8)
    for kind in (pa.binary(), pa.large_binary()):
        column = pa.array([row.tobytes() for row in rows], kind)
        found = arrow.binary_matrix(column.slice(1, 3), 8)
        assert np.array_equal(found, rows[1:4])
        content = column.buffers()[2]
        assert content.address <= found.ctypes.data < content.address + content.size
        assert np.array_equal(arrow.float_matrix(column).view(np.uint8), rows)
    assert arrow.binary_matrix(column.slice(0, 0), 8).shape == (0, 8)


@pytest.mark.parametrize("rows", [[b"ab", None], [b"ab", b"abc"], [b"abc", b"abc"]])
def test_binary_rows_of_another_length_are_refused(rows: list[bytes | None]) -> None:
    with pytest.raises(ValueError, match="must hold 2 bytes"):
        arrow.binary_matrix(pa.array(rows, pa.binary()), 2)


def test_masks_are_little_endian() -> None:
    column = pa.array([b"\x01\x00\x80", b"\x05\x01\x00"], pa.binary())
    assert arrow.masks(column).tolist() == [0x800001, 0x105]
    assert arrow.masks(column.slice(0, 0)).tolist() == []


def test_lists_become_a_matrix_and_the_matrix_lists() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    valid = np.array([True, False, True, True])
    column = arrow.list_column(rows, valid)
    assert column.to_pylist() == [[0, 1, 2], None, [6, 7, 8], [9, 10, 11]]
    whole = arrow.list_column(rows, np.ones(4, np.bool_))
    assert np.array_equal(arrow.matrix(whole), rows)
    assert np.array_equal(
        arrow.matrix(pa.chunked_array([whole, whole[1:]])), rows[[0, 1, 2, 3, 1, 2, 3]]
    )
    assert arrow.bytes_column(whole).to_pylist() == [row.tobytes() for row in rows]
    assert pa.array(arrow.list_series(rows, valid)).to_pylist() == column.to_pylist()
    for wrong in (column, pa.array([[1.0], [2.0, 3.0]]), pa.array([[1.0, None]])):
        with pytest.raises(ValueError, match="equally many numbers"):
            arrow.matrix(wrong)
    assert np.isnan(arrow.matrix(pa.array([[1.0, None]]), nulls=True)[0, 1])


def test_lists_of_any_length() -> None:
    lengths, numbers, null = arrow.ragged(pa.array([[1.0, None], None, [], [3.0]]))
    assert lengths.tolist() == [2, -1, 0, 1]
    assert numbers[[0, 2]].tolist() == [1, 3]
    assert null.tolist() == [False, True, False]


def test_bytes_of_pandas() -> None:
    series = pd.Series([b"abc", b"def"])
    assert arrow.series_matrix(series, 3).tolist() == [[97, 98, 99], [100, 101, 102]]
    with pytest.raises(ValueError, match="must hold 2 bytes"):
        arrow.series_matrix(series, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_groups_are_whole_whatever_the_batches(size: int) -> None:
    keys = [None, None, "a", "b", "b", "b", "ü", "ü"]
    table = pa.table({"key": keys, "row": range(len(keys))})
    batches = [*table.to_batches(max_chunksize=size), table.to_batches()[0].slice(0, 0)]
    found = [(key, part.column("row").to_pylist()) for key, part in arrow.groups(batches, "key")]
    runs = itertools.groupby(range(len(keys)), key=lambda row: keys[row])
    assert found == [(key, list(rows)) for key, rows in runs]


def test_a_group_stays_no_longer_than_its_caller_holds_it() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for key in "aaaaabbbbbb":
            columns = {"key": pa.repeat(key, 100_000), "x": pa.repeat(1.0, 100_000)}
            yield pa.RecordBatch.from_pydict(columns)

    before = pa.total_allocated_bytes()
    for _, table in arrow.groups(batches(), "key"):
        numbers = table.column("x").combine_chunks()
        del table
        # Beside the copy at most the first batch of the next group, and the last of this one.
        assert pa.total_allocated_bytes() - before < numbers.nbytes + 2 * 1_500_000


def test_a_batch_has_the_types_of_its_schema() -> None:
    schema = pa.schema([("name", pa.string()), ("n", pa.int64())])
    columns = {"n": pa.chunked_array([pa.array([1], pa.int32())]), "name": ["x"], "other": [2]}
    batch = arrow.record_batch(columns, schema)
    assert batch.schema == schema
    assert batch.to_pylist() == [{"name": "x", "n": 1}]


def test_columns_that_are_missing_are_null() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.binary())])
    batch = arrow.padded_batch({"b": ["x", "y"]}, 2, schema)
    assert batch.schema == schema
    assert batch.to_pylist() == [{"a": None, "b": name, "c": None} for name in ("x", "y")]


def test_rows_of_bytes_are_packed_without_a_copy() -> None:
    rows = np.arange(6, dtype=np.uint8).reshape(3, 2)
    column = arrow.packed_column(rows)
    assert column.to_pylist() == [bytes([0, 1]), bytes([2, 3]), bytes([4, 5])]
    assert column.buffers()[2].address == rows.ctypes.data


def test_more_bytes_than_a_binary_column_holds_are_refused() -> None:
    rows = np.broadcast_to(np.zeros(1 << 21, np.uint8), (1 << 10, 1 << 21))  # none is stored twice
    with pytest.raises(ValueError, match="1,024 rows of 2,097,152 bytes are too many"):
        arrow.packed_column(rows)
