"""Tables that Spark and delta-rs both write, under any name, and rows that Spark deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store


@pytest.mark.parametrize("name", ["w{a,b}*? x", "a=3/b", "ü#z~;+"])
def test_a_warehouse_may_have_any_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Names that are patterns to Hadoop, partitions to Spark or parts of a URI to delta-rs."""
    warehouse = open_store(spark, str(tmp_path / name))
    one = tables.rows("anomalies", [("one", "a", -1.0, -2.0, 1)])
    other = tables.rows("anomalies", [("other", "a", -3.0, -2.0, None)])
    first = warehouse.write(one, "anomalies", CommitInfo("r", "anomalies", "1"))
    frame = spark.createDataFrame(other.to_pandas(), tables.TABLES["anomalies"].schema)
    warehouse.write(frame, "anomalies", CommitInfo("r", "anomalies", "2"), append=True)
    ids = {row.image_id for row in warehouse.read("anomalies").collect()}
    assert ids == {row["image_id"] for row in warehouse.query("anomalies")} == {"one", "other"}
    (row,) = warehouse.read("anomalies", first).collect()
    assert row.asDict() == one.to_pylist()[0]


def test_rows_that_another_engine_deleted_are_gone(spark: SparkSession, tmp_path: Path) -> None:
    """Rows deleted by a deletion vector are gone, though their file stays in the log."""
    warehouse = open_store(spark, str(tmp_path))
    rows = tables.rows("anomalies", [(name, "a", -1.0, -2.0, 1) for name in "abc"])
    warehouse.write(rows, "anomalies", CommitInfo("r", "anomalies", "1"))
    table = f"delta.`{warehouse.path('anomalies')}`"
    vectors = "'delta.enableDeletionVectors' = 'true'"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({vectors})")
    spark.sql(f"DELETE FROM {table} WHERE image_id = 'b'")
    assert {row.image_id for row in warehouse.read("anomalies").collect()} == {"a", "c"}


@pytest.mark.parametrize("name", ["50%", "a\\b", "a[1]"])
def test_a_name_that_delta_rs_misreads_is_refused(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    with pytest.raises(JobError, match="may hold none of"):
        open_store(spark, str(tmp_path / name))
