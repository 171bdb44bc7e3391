"""Open a Parquet or Delta table that others wrote, whatever types and folders it has.

Spark alone stops at types that pandas writes by default, and takes the folder `label=001` for the
number 1. Use `read`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.acquisition import given_schemas
from jobs.errors import JobError, reason
from jobs.paths import for_spark, is_mounted, mounted
from jobs.settings.acquisition import Ingest

DELTA_LOG = "_delta_log"
NANOSECONDS_AS_NUMBERS = "spark.sql.legacy.parquet.nanosAsLong"
GUESSED_PARTITIONS = "spark.sql.sources.partitionColumnTypeInference.enabled"
NAMED = 10  # classes whose names are told
MOST_DIGITS = 38  # of Spark's decimals


class GivenTable(NamedTuple):
    """A table as it can be used. notices: what was changed or left out, for the console."""

    frame: DataFrame
    notices: tuple[str, ...] = ()


def read(spark: SparkSession, root: str, ingest: Ingest) -> GivenTable:
    """Open the table at `root` as `ingest.source` says. Raises JobError if it cannot be read."""
    table = _read(spark, root, ingest)
    return GivenTable(table.frame, (*table.notices, *_names_of_classes(root, ingest.label_column)))


def _read(spark: SparkSession, root: str, ingest: Ingest) -> GivenTable:
    check_kind(root, ingest.source)
    if ingest.source == "parquet" and (agreed := given_schemas.agreed(root, list(_files(root)))):
        frame, notices = _of_differing(spark, root, agreed, ingest)
        check_codecs(root)
        return GivenTable(_with_partitions(spark, root, frame, ingest), notices)
    try:
        frame = spark.read.format(ingest.source).load(for_spark(root))
    except Exception as refused:
        mended = _without_odd_types(spark, root) if ingest.source == "parquet" else None
        if mended is None:
            raise JobError(
                f"--images {root}: cannot be read as {ingest.source}: {reason(refused)}"
            ) from refused
        return GivenTable(_with_partitions(spark, root, mended.frame, ingest), mended.notices)
    if ingest.source == "parquet":
        check_codecs(root)
        frame = _with_partitions(spark, root, frame, ingest)
    return GivenTable(frame)


def quoted(name: str) -> str:
    """Return the name of a column as Spark's SQL takes it, whatever is in it.

    >>> quoted("a`b")
    '`a``b`'
    """
    return "`" + name.replace("`", "``") + "`"


def check_kind(root: str, source: str) -> None:
    """Raise JobError if a mounted folder holds another kind of table than `source` says."""
    if not is_mounted(root):
        return
    folder = Path(mounted(root))
    if source == "parquet" and (folder / DELTA_LOG).is_dir():
        raise JobError(
            f"--images {root}: is a Delta table, whose files alone may hold rows that were deleted:"
            " set ingest.source = delta"
        )
    if source == "delta" and folder.is_dir() and not (folder / DELTA_LOG).is_dir():
        files = next(_files(root), None)
        advice = "set ingest.source = parquet" if files else "name the folder above its _delta_log"
        raise JobError(f"--images {root}: is no Delta table, it has no {DELTA_LOG}: {advice}")


def table_instead(names: Sequence[str]) -> str | None:
    """Return the `ingest.source` that a listing of files is of; None if it is of images.

    names: paths relative to the folder.
    """
    if any(DELTA_LOG in name.split("/") for name in names):
        return "delta"
    data = [name for name in names if not name.rpartition("/")[2].startswith(("_", "."))]
    return "parquet" if data and all(name.endswith(".parquet") for name in data) else None


def check_codecs(root: str) -> None:
    """Raise JobError if the files are compressed by what Spark cannot undo."""
    for path in _files(root):
        groups = pq.ParquetFile(path).metadata
        if groups.num_row_groups and groups.row_group(0).column(0).compression == "BROTLI":
            raise JobError(
                f"--images {root}: {path.name} is compressed with brotli, which Spark does not "
                "have: write it anew, for example by df.to_parquet(path, compression='zstd')"
            )
        return  # a table's files are written alike


def _files(root: str) -> Iterator[Path]:
    """The Parquet files of a table in a mounted folder; none elsewhere."""
    if not is_mounted(root):
        return
    place = Path(mounted(root))
    paths = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    yield from (path for path in paths if not path.name.startswith(("_", ".")))


def _names_of_classes(root: str, label: str) -> Iterator[str]:
    """Tell what the numbers of a column of classes mean, if Hugging Face's metadata say it."""
    path = next(_files(root), None)
    if path is None:
        return
    try:
        written = (pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
        names = json.loads(written)["info"]["features"][label]["names"]
        told = ", ".join(f"{number} = {name}" for number, name in enumerate(names[:NAMED]))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return  # metadata are what others write; they decide nothing
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    yield f"column {label!r} holds numbers of classes: {told}{more}"


def _of_differing(
    spark: SparkSession, root: str, agreed: given_schemas.Agreed, ingest: Ingest
) -> GivenTable:
    """Read files whose schemas differ: each column as the widest of its types, null where missing.

    Raises JobError if a column that the settings name has types that do not go together.
    """
    named = {ingest.pictures, ingest.vector_column, ingest.label_column}
    named |= {ingest.id_column, ingest.split_column}
    clashes = [clash for name, clash in agreed.clashes.items() if name in named]
    if clashes:
        raise JobError(
            f"--images {root}: its files differ: {'; '.join(clashes)}: write the column alike in "
            "all files, or keep them in folders of their own"
        )
    notices = [f"{clash}, and is left out" for clash in agreed.clashes.values()]
    schema = pa.schema([field for field in agreed.schema if field.name not in agreed.clashes])
    read = _as_far_as_possible(spark, root, schema, agreed.stored)
    if read is None:
        raise JobError(
            f"--images {root}: cannot be read as parquet: its files differ, and some have types "
            "that Spark does not read: write them anew with one schema"
        )
    return GivenTable(read.frame, (*notices, *read.notices))


def _without_odd_types(spark: SparkSession, root: str) -> GivenTable | None:
    """Read a table with types that Spark refuses; None if there are none, or it is not mounted."""
    path = next(_files(root), None)
    if path is None:
        return None
    try:
        schema, stored = pq.read_schema(path), pq.ParquetFile(path).schema
    except (OSError, pa.ArrowException):
        return None
    kinds = {name: _plain(schema.field(name).type) for name in schema.names}
    nanoseconds = any(_has_nanoseconds(schema.field(name).type) for name in schema.names)
    if not nanoseconds and all(kinds.values()) and not _refused(stored):
        return None
    return _as_far_as_possible(spark, root, schema, stored)


def _as_far_as_possible(
    spark: SparkSession, root: str, schema: pa.Schema, stored: pq.ParquetSchema
) -> GivenTable | None:
    """Read columns of a schema as the types that Spark has; None if it refuses another one."""
    nanoseconds = [name for name in schema.names if _has_nanoseconds(schema.field(name).type)]
    kinds = {
        name: pa.int64() if name in nanoseconds else _plain(schema.field(name).type)
        for name in schema.names
    }
    refused = _refused(stored)
    odd = [name for name, kind in kinds.items() if kind is None or name in refused]
    wanted = [pa.field(name, kind) for name, kind in kinds.items() if kind and name not in odd]
    # Spark looks at it again when the rows are read.
    spark.conf.set(NANOSECONDS_AS_NUMBERS, "true")
    try:
        frame = spark.read.schema(from_arrow_schema(pa.schema(wanted))).parquet(for_spark(root))
    except (PySparkException, TypeError):  # a type that is odd in another way
        return None
    for name in nanoseconds:
        zone = schema.field(name).type.tz
        moment = F.timestamp_micros(F.expr(f"{quoted(name)} div 1000"))
        frame = frame.withColumn(name, moment if zone else moment.cast("timestamp_ntz"))
    notices = [
        f"column {name!r} has nanoseconds, and is carried in microseconds" for name in nanoseconds
    ]
    notices += [
        f"column {name!r} is {refused.get(name) or schema.field(name).type}, which Spark does not "
        "read, and is left out"
        for name in odd
    ]
    return GivenTable(frame, tuple(notices))


def _refused(stored: pq.ParquetSchema) -> dict[str, str]:
    """Return what Spark has no type for, by column: Arrow takes it for the bytes that it is."""
    leaves = (stored.column(number) for number in range(len(stored)))
    kinds = {leaf.path.split(".")[0]: leaf.converted_type for leaf in leaves}
    return {name: "an interval" for name, kind in kinds.items() if kind == "INTERVAL"}


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "ns")


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """Return the type as which Spark reads what a file has for a type of Arrow's.

    Of a type with a part that Spark refuses it is None: times of day, half precision, decimals of
    more digits than Spark's, and nanoseconds within another type.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        parts = [(field.name, _plain_part(field.type)) for field in kind]
        return pa.struct(parts) if all(part for _, part in parts) else None
    if pa.types.is_map(kind):
        key, item = _plain_part(kind.key_type), _plain_part(kind.item_type)
        return pa.map_(key, item) if key and item else None
    if pa.types.is_nested(kind):  # lists of all kinds
        value = _plain_part(kind.value_type) if hasattr(kind, "value_type") else None
        return pa.list_(value) if value else None
    if pa.types.is_decimal(kind):
        return kind if kind.precision <= MOST_DIGITS else None
    if pa.types.is_time(kind) or pa.types.is_float16(kind) or pa.types.is_null(kind):
        return None
    if pa.types.is_duration(kind):
        return pa.int64()
    return next((plain for test, plain in _STORED if test(kind)), kind)


def _plain_part(kind: pa.DataType) -> pa.DataType | None:
    return None if _has_nanoseconds(kind) else _plain(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_fixed_size_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
    )


# Types that Spark's conversion does not know, or knows otherwise than its reader of Parquet.
_STORED: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (_is_bytes, pa.binary()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_uint8, pa.int16()),
    (pa.types.is_uint16, pa.int32()),
    (pa.types.is_uint32, pa.int64()),
    (pa.types.is_uint64, pa.decimal128(20, 0)),
    (pa.types.is_date64, pa.date32()),
)


def _with_partitions(spark: SparkSession, root: str, frame: DataFrame, ingest: Ingest) -> DataFrame:
    """The frame with class and split as the names of folders have them: `001` is not 1."""
    named = [name for name in (ingest.label_column, ingest.split_column) if name in frame.columns]
    guessed = [name for name in named if not _is_text(frame, name)]
    if not guessed:
        return frame
    before = spark.conf.get(GUESSED_PARTITIONS) or "true"
    spark.conf.set(GUESSED_PARTITIONS, "false")
    try:
        as_text = spark.read.parquet(for_spark(root))
    except PySparkException:
        return frame
    finally:
        spark.conf.set(GUESSED_PARTITIONS, before)
    if not any(_is_text(as_text, name) for name in guessed):
        return frame
    return as_text.select(
        [
            F.col(quoted(column.name))
            if column.name in named
            else F.col(quoted(column.name)).cast(column.dataType).alias(column.name)
            for column in frame.schema
        ]
    )


def _is_text(frame: DataFrame, name: str) -> bool:
    return isinstance(frame.schema[name].dataType, T.StringType)
