"""The job `anomalies` lists the images of least density, and only when their data changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.density import anomalies
from jobs.errors import SettingsError
from jobs.runtime.run import Run
from tests.support.session import settings_for


def test_the_least_dense_images_of_each_class_are_listed(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    images = Path(finished.settings.images)

    def listed(*flags: str) -> Run:
        run = Run(spark, settings_for(images, tmp_path / "w", *flags), "anomalies")
        try:
            run.execute(anomalies.STAGE)
        finally:
            run.close()
        return run

    with pytest.raises(SettingsError, match=r"set anomalies\.quantile, such as 0\.01"):
        listed()
    run = listed("anomalies.quantile=0.2")
    rows = run.warehouse.read("anomalies").collect()
    projections = run.warehouse.read("projections").where("rule = 'none'").collect()
    density = {row.image_id: row.log_density for row in projections}
    for label in ("field", "town"):
        of_class = sorted((row for row in rows if row.label == label), key=lambda row: row.rank)
        names = [row.image_id for row in of_class]
        expected = sorted((n for n in density if n.startswith(label)), key=lambda n: density[n])
        assert names == expected[: len(names)]
        assert len(names) == 5  # of 24: those below the percentile at place 4.6
        assert {row.cut for row in of_class} == {of_class[0].cut}
    version = run.warehouse.version("anomalies")
    assert listed("anomalies.quantile=0.2").warehouse.version("anomalies") == version
    assert listed("anomalies.quantile=0.1").warehouse.version("anomalies") == version + 1
