"""A program that writes a table while Spark starts second attempts of its slow tasks.

It is a process of its own, since test_speculation needs other executors than the other tests.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession

from benchmarks.session import ROOT, jars, settings
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.parquet_write import ArrowTransform
from udfs import arrow

REJECTS = tables.TABLES["rejects"].schema
ROWS = 2000  # of a task
TASKS = 4
SLOW = 12.0  # seconds of the first attempt of task 0, which the second attempt need not take


def rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """For each number a row that names the attempt; the first attempt of task 0 stops midway."""
    context = TaskContext.get()
    assert context is not None
    attempt = context.attemptNumber()
    for batch in batches:
        numbers = batch.column("id").to_pylist()
        columns: dict[str, list[Any]] = {name: [None] * len(numbers) for name in schema.names}
        columns |= {
            "image_id": [f"{number:06d}" for number in numbers],
            "stage": ["ingest"] * len(numbers),
            "error_code": [f"attempt {attempt}"] * len(numbers),
            "error_message": ["x" * 4000] * len(numbers),
        }
        yield arrow.record_batch(columns, schema)
    if context.partitionId() == 0 and attempt == 0:
        time.sleep(SLOW)


def main(warehouse: str) -> None:
    """Write the table twice, by the tasks and by Spark, and print what each write left."""
    builder = SparkSession.builder.appName("speculation").master("local-cluster[2,1,1024]")
    speculation = {
        "spark.speculation": "true",
        "spark.speculation.interval": "100ms",
        "spark.speculation.quantile": "0.5",
        "spark.speculation.multiplier": "1.5",
        "spark.speculation.minTaskRuntime": "1s",
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        "spark.jars": jars(),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100",
    }
    for name, value in (settings() | speculation).items():
        if name != "spark.master":
            builder = builder.config(name, value)
    spark = builder.getOrCreate()
    store = LocalStore(spark, warehouse)
    table = ArrowTransform(spark.range(0, TASKS * ROWS, numPartitions=TASKS), rows, REJECTS)
    store.write(table, "rejects", CommitInfo("run", "ingest", "by tasks"))
    left: dict[str, Any] = {}
    for version, condition in ((0, None), (1, "stage = 'ingest'")):
        if condition:  # this Spark writes by itself
            store.write(table, "rejects", CommitInfo("run", "ingest", "by Spark"), where=condition)
        answer = store.read("rejects", version).select("image_id", "error_code").collect()
        left[str(version)] = {
            "ids": sorted(row.image_id for row in answer),
            "attempts": sorted({row.error_code for row in answer}),
        }
    left["files"] = len(list(Path(store.path("rejects")).glob("*.parquet")))
    print(json.dumps(left), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
