"""What a failure is told as: one line, which says why."""

from __future__ import annotations

import pytest

from jobs.errors import reason

STACK = """An error occurred while calling o163.load.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 failed
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:1)
Caused by: org.apache.spark.SparkException: Encountered error while reading file
\t... 1 more
Caused by: java.lang.RuntimeException: part-0.parquet is not a Parquet file. Expected magic number
\tat org.apache.parquet.hadoop.ParquetFileReader.readFooter(ParquetFileReader.java:1)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STACK, "RuntimeException: part-0.parquet is not a Parquet file. Expected magic number"),
        (
            "An error occurred while calling o7.x.\n: java.io.IOException: no route.\n\tat a.b(C)",
            "IOException: no route",
        ),
        (
            "[PATH_NOT_FOUND] Path does not exist: /x.\nJVM stacktrace: …",
            "[PATH_NOT_FOUND] Path does not exist: /x",
        ),
        (
            "[CONFLICTING] Conflicting names detected:\n\n\tlist #0: label\n\tlist #1: label, more"
            "\n\nFor folders alike",
            "[CONFLICTING] Conflicting names detected: list #0: label; list #1: label, more",
        ),
        ("Several things:", "Several things:"),
        ("", "ValueError"),
    ],
)
def test_the_innermost_cause_is_told(text: str, expected: str) -> None:
    assert reason(ValueError(text)) == expected
