"""The session that a job gets is the one that was configured for it."""

from __future__ import annotations

from pyspark.sql import SparkSession

from jobs.runtime import session


def test_a_session_with_delta_is_taken_as_it_is(spark: SparkSession) -> None:
    assert session.start("test").sparkContext is spark.sparkContext
    assert session.slots(spark) == 2
