"""What columns the Parquet files of a table have, where some have others than the first.

Spark takes the columns of one file for those of all: others are passed over, and types that differ
end the job at the file where they are met. Use `agreed` on the files of a mounted folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.paths import mounted

THREADS = 16  # that read footers at once: on a shared disk each takes milliseconds of waiting


class Agreed(NamedTuple):
    """The columns of files that differ.

    schema: all of them, each of a type that holds what its files have. clashes: by column, why
    there is no such type, and in which files. stored: of one file, as Parquet has it.
    """

    schema: pa.Schema
    clashes: dict[str, str]
    stored: pq.ParquetSchema


def agreed(root: str, files: Sequence[Path]) -> Agreed | None:
    """Return what the files have together; None if all are alike, or one cannot be read."""
    if len(files) < 2:
        return None
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            schemas = list(pool.map(pq.read_schema, files))
        except (OSError, pa.ArrowException):
            return None  # Spark tells what is the matter with it
    first = schemas[0].remove_metadata()
    if all(schema.remove_metadata().equals(first) for schema in schemas):
        return None
    above = mounted(root)
    columns: dict[str, tuple[pa.DataType, Path]] = {}
    clashes: dict[str, str] = {}
    for schema, path in zip(schemas, files, strict=True):
        for field in schema:
            kind, where = columns.setdefault(field.name, (field.type, path))
            wide = wider(kind, field.type)
            if wide is None:
                here, there = (file.relative_to(above) for file in (path, where))
                clash = f"column {field.name!r} is {kind} in {there} and {field.type} in {here}"
                clashes.setdefault(field.name, clash)
            elif wide != kind:
                columns[field.name] = (wide, path)
    merged = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    return Agreed(merged, clashes, pq.ParquetFile(files[0]).schema)


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type as which Spark reads what has either; None if there is none.

    >>> wider(pa.int32(), pa.int64()), wider(pa.int64(), pa.string())
    (DataType(int64), None)
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_dictionary(one) or pa.types.is_dictionary(other):
        values = (
            kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)
        )
        return wider(*values)
    for kinds in _ALIKE:  # written alike, whatever Arrow calls them
        if one in kinds and other in kinds:
            return kinds[0]
    for order in _WIDER:
        if one in order and other in order:
            return max(one, other, key=order.index)
    return None


_ALIKE = (
    (pa.string(), pa.large_string(), pa.string_view()),
    (pa.binary(), pa.large_binary(), pa.binary_view()),
)
_WIDER = ((pa.int8(), pa.int16(), pa.int32(), pa.int64()), (pa.float32(), pa.float64()))
