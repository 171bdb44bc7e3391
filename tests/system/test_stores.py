"""A pipeline by Spark alone, as on an object store, makes what the fast way makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.runtime.run import Run
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.spark_store import SparkStore
from jobs.warehouse.store import FORCED
from tests.support.session import Runner
from tests.support.tables import assert_same_tables

pytestmark = pytest.mark.spark

# Work tables are dropped, small files replaced, optional tables queried by the report.
FLAGS = (
    "generate.count=2",
    "anomalies.quantile=0.1",
    "conflicts.threshold=0.5",
    "prune.largest_class=20",
    "prune.window=15",
)


def states(run: Run) -> set[str]:
    rows = run.warehouse.read("runs").where(F.col("run_id") == run.run_id).collect()
    return {row.state for row in rows}


def files(folder: Path) -> dict[str, bytes]:
    """Models, generated images and figures, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("models", "generated_images", "report")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.slow
@pytest.mark.whole
def test_a_warehouse_by_spark_alone_is_the_same(
    spark: SparkSession,
    run_pipeline: Runner,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local, by_spark = tmp_path / "local", tmp_path / "by spark"
    run = run_pipeline(pictures, local, *FLAGS)
    assert isinstance(run.warehouse, LocalStore)
    monkeypatch.setenv(FORCED, "spark")
    run = run_pipeline(pictures, by_spark, *FLAGS)
    assert isinstance(run.warehouse, SparkStore)
    assert states(run) == {"done"}
    again = run_pipeline(pictures, by_spark, *FLAGS)
    assert states(again) == {"skipped"}
    # Each kind reads the commits and files of the other, and finds nothing to do.
    assert states(run_pipeline(pictures, local, *FLAGS)) == {"skipped"}
    monkeypatch.delenv(FORCED)
    assert states(run_pipeline(pictures, by_spark, *FLAGS)) == {"skipped"}
    assert_same_tables(spark, local, by_spark)
    one, other = files(local), files(by_spark)
    assert one.keys() == other.keys()
    unlike = {name for name in one if one[name] != other[name]}
    # These say when, or with which run; all other files are equal to the byte.
    assert unlike <= {"report/report.html", "report/summary.json"} | {
        name for name in one if name.endswith("model.json")
    }
    summaries = [json.loads(each["report/summary.json"]) for each in (one, other)]
    for name in ("images", "classes", "rules", "by_class", "rejected", "points", "truth"):
        assert summaries[0][name] == summaries[1][name], name
    with Image.open(by_spark / "generated_images/contact_sheet.png") as sheet:
        assert sheet.width > 64
