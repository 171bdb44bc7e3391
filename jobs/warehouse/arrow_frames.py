"""Turns Arrow data into Spark frames and back: schemas, small frames, functions over batches."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

_TYPES: dict[str, T.DataType] = {
    "string": T.StringType(),
    "int": T.IntegerType(),
    "bigint": T.LongType(),
    "double": T.DoubleType(),
    "boolean": T.BooleanType(),
    "timestamp": T.TimestampType(),
    "binary": T.BinaryType(),
    "array<string>": T.ArrayType(T.StringType()),
    "array<float>": T.ArrayType(T.FloatType()),
    "array<double>": T.ArrayType(T.DoubleType()),
    "array<bigint>": T.ArrayType(T.LongType()),
    "map<string,bigint>": T.MapType(T.StringType(), T.LongType()),
}

# Images cannot be ordered by columns of these types.
UNORDERED = (T.BinaryType, T.ArrayType, T.MapType, T.StructType)

_kept = 0  # modules of this worker that garbage collection passes over


def struct(ddl: str) -> T.StructType:
    """Return the schema of "name type, name type"; Spark's own parser would need a session."""
    pairs = (column.split(" ") for column in ddl.split(", "))
    return T.StructType([T.StructField(name, _TYPES[kind]) for name, kind in pairs])


def arrow_schema(schema: T.StructType) -> pa.Schema:
    """Return a schema as mapInArrow has it; timestamps are UTC, as conf/spark-*.conf sets."""
    return to_arrow_schema(schema, timezone="UTC")


def frame(spark: SparkSession, content: Iterable[Sequence[Any]], schema: T.StructType) -> DataFrame:
    """Return a few rows of the driver, in the order of the columns, as a Spark frame.

    From Arrow they become part of the plan; from a list Spark would run a job with Python workers.
    """
    named = [dict(zip(schema.names, row, strict=True)) for row in content]
    return spark.createDataFrame(pa.Table.from_pylist(named, arrow_schema(schema)), schema)


def completed(frame: DataFrame, schema: T.StructType) -> DataFrame:
    """Return a frame with the columns of a schema, in its order; those that it lacks are null."""
    missing = {
        column.name: F.lit(None).cast(column.dataType)
        for column in schema
        if column.name not in frame.columns
    }
    return frame.withColumns(missing).select(schema.names)


def ids(spark: SparkSession, names: Iterable[str]) -> DataFrame:
    """Return image ids as a frame with the column `image_id`, to join with."""
    return frame(spark, zip(names), struct("image_id string"))


def mapped(frame: DataFrame, rows: Callable[..., Any], schema: T.StructType) -> DataFrame:
    """Return a frame passed through `rows(batches, schema)`, which yields batches of `schema`."""
    function = partial(_in_worker, rows=rows, schema=arrow_schema(schema))
    return frame.mapInArrow(function, schema)


def _in_worker(
    batches: Iterable[pa.RecordBatch], rows: Callable[..., Any], schema: pa.Schema
) -> Any:
    """Call `rows` on an executor."""
    keep_modules()
    return rows(batches, schema=schema)


def keep_modules() -> None:
    """Let Python's garbage collector pass over what this worker has imported.

    Spark's worker has garbage collected after each task. To look through the objects of torch,
    pandas and the like takes longer than many a task does, a quarter of a second on a slow machine.
    """
    global _kept
    if len(sys.modules) > _kept:
        gc.freeze()
        _kept = len(sys.modules)
