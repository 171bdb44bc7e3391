"""What is told of tables that another version or another program wrote."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from jobs.maintenance.versions import remarks
from jobs.warehouse import tables
from jobs.warehouse.store import open_store


@pytest.mark.spark
def test_earlier_and_newer_tables_are_named(spark: SparkSession, tmp_path: Path) -> None:
    own = tables.rows("anomalies", [("1", "a", 0.5, 0.5, 1)])
    write_deltalake(tmp_path / "anomalies", own)
    store = open_store(spark, str(tmp_path))
    assert remarks(store, ["anomalies"]) == []
    audit = tables.rows("audit", []).drop_columns(["out_of_tries", "unjustified"])
    write_deltalake(tmp_path / "audit", audit)
    dependence = tables.rows("dependence", []).append_column("later", pa.array([], pa.int64()))
    write_deltalake(tmp_path / "dependence", dependence)
    curated = tables.rows("curated", []).append_column("day", pa.array([], pa.string()))
    write_deltalake(tmp_path / "curated", curated)
    write_deltalake(tmp_path / "embeddings", own)
    (tmp_path / "notes").mkdir()
    earlier, newer, others = remarks(store, ["anomalies", "audit", "dependence", "curated"])
    assert "audit was written by an earlier version: it lacks unjustified, out_of_tries" in earlier
    assert "dependence was written by a newer version" in newer
    assert "know later" in newer
    assert others.startswith("no tables of this version, left as they are: embeddings (")
