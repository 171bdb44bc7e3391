"""What a function over batches finds on an executor."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.warehouse import arrow_frames


def passed_over(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The objects that the worker's garbage collector passes over, and those that it looks at."""
    for _ in batches:
        counts = [[gc.get_freeze_count()], [len(gc.get_objects())]]
        yield pa.RecordBatch.from_arrays([pa.array(count) for count in counts], schema=schema)


def test_garbage_is_not_looked_for_among_the_modules_of_a_worker(spark: SparkSession) -> None:
    schema = arrow_frames.struct("passed bigint, looked_at bigint")
    for _ in range(2):
        frame = spark.range(4, numPartitions=4)
        rows = arrow_frames.mapped(frame, passed_over, schema).collect()
        assert len(rows) == 4, rows
        assert all(row.passed > 20_000 > 10 * row.looked_at for row in rows), rows
