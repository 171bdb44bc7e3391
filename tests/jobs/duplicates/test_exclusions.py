"""Which anomalies `publish` leaves out, and which it keeps as keepers of other images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.density import anomalies
from jobs.duplicates import exclusions, publish
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import open_store
from tests.support.session import settings_for

QUANTILE = 0.2
SELECTION = {  # image: the kept one that stands for it, itself where it is kept
    "alone": "alone",
    "needed": "needed",
    "needed's": "needed",
    "needed's other": "needed",
    "whole": "whole",
    "whole's": "whole",
    "removed": "plain",
    "plain": "plain",
    "protected": "protected",
    "leak": "/elsewhere#x",
}


ANOMALOUS = ("alone", "needed", "needed's", "whole", "whole's", "removed", "protected")


def test_an_anomaly_that_is_the_keeper_of_other_images_stays(spark: SparkSession) -> None:
    """An anomaly is left out if it is alone, or if its whole group is anomalous."""
    rows = [
        (
            name,
            "a",
            "fixed:0.9",
            "raw",
            0.9,
            name == keeper,
            None if name == keeper else keeper,
            1.0,
        )
        for name, keeper in SELECTION.items()
    ]
    schema = tables.TABLES["selection"].schema
    given = spark.createDataFrame(rows, T.StructType(schema.fields[: len(rows[0])]))
    frame = arrow_frames.completed(given, schema)
    ids = spark.createDataFrame([(name,) for name in ANOMALOUS], "image_id string")
    never = spark.createDataFrame([("protected",), ("plain",)], "image_id string")
    left = exclusions.excluded(frame, ids, never)
    found = {row.image_id: row for row in left.selection.collect()}
    assert left.selection.columns == frame.columns
    assert {name for name, row in found.items() if row.kept} == {"needed", "plain", "protected"}
    assert {name: row.kept_id or name for name, row in found.items()} == SELECTION
    assert (left.images, left.retained, left.covered) == (2, 1, 1)
    told = "2 anomalies left out (they stand for 1 more), 1 stay for images that are none"
    assert left.summary == told


@pytest.fixture(scope="module")
def warehouse(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("anomalies") / "w"
    shutil.copytree(finished.warehouse.root, place)
    return place


def done(spark: SparkSession, finished: Run, warehouse: Path, job: Any, *flags: str) -> Run:
    images = Path(finished.settings.images)
    run = Run(spark, settings_for(images, warehouse, *flags), "x")
    try:
        run.execute(job.STAGE)
    finally:
        run.close()
    return run


@pytest.mark.whole
def test_publish_leaves_anomalies_out_only_if_the_settings_say_so(
    spark: SparkSession, finished: Run, warehouse: Path
) -> None:
    rule = "publish.rule=fixed:0.999"  # at the other each class is one group
    flags = (rule, f"anomalies.quantile={QUANTILE}")
    remove = (*flags, "anomalies.remove=true")
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh anomalies first"):
        done(spark, finished, warehouse, publish, *remove)
    for _ in range(2):
        done(spark, finished, warehouse, anomalies, *flags)
    listed = open_store(spark, str(warehouse)).read("anomalies").collect()
    assert open_store(spark, str(warehouse)).version("anomalies") == 0
    assert {row.label for row in listed} == {"field", "town"}
    before = done(spark, finished, warehouse, publish, rule).warehouse
    same = done(spark, finished, warehouse, publish, *flags).warehouse
    assert before.version("curated") == same.version("curated")

    full = {row.image_id: row for row in before.read("curated").collect()}
    run = done(spark, finished, warehouse, publish, *remove)
    selection = run.warehouse.read("selection").where("rule = 'fixed:0.999'").collect()
    anomalous_ids = {row.image_id for row in listed}
    needed = {row.kept_id for row in selection if row.image_id not in anomalous_ids}
    kept = {row.image_id for row in selection if row.kept}
    left = kept & anomalous_ids - needed
    curated = {row.image_id: row for row in run.warehouse.read("curated").collect()}
    assert left
    assert curated == {name: row for name, row in full.items() if name not in left}
    for row in run.warehouse.read("splits").collect():
        assert row.kept == (row.image_id in curated)
    record = run.warehouse.read("runs").where(F.col("run_id") == run.run_id).collect()[0]
    counts = dict(record.row_counts)
    assert (counts["curated"], counts["anomalies_left_out"]) == (len(curated), len(left))
    assert counts["anomalies_stay"] == len(kept & anomalous_ids & needed)

    protect = "prune.protect=\"label = 'field'\""
    with pytest.raises(JobError, match=r"made with another anomalies\.quantile or of other"):
        done(spark, finished, warehouse, publish, *remove, "anomalies.quantile=0.1")
    some = done(spark, finished, warehouse, publish, *remove, protect).warehouse.read("curated")
    assert {row.image_id for row in some.collect()} == {
        name for name in full if name not in left or full[name].label == "field"
    }
    again = done(spark, finished, warehouse, publish, rule).warehouse
    assert {row.image_id for row in again.read("curated").collect()} == set(full)
    with pytest.raises(SettingsError, match=r"set anomalies\.quantile, such as 0\.01"):
        done(spark, finished, warehouse, anomalies)
