"""Whole pipelines on a cluster whose executors share no disk with the driver, and on HDFS.

Images, tables, models, generated images and exports lie in HDFS. The tables and the exported shards
must be those of a run on one machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse.files import HadoopFiles
from tests.support.commands import QUICK, REAL, ROUNDS, flags, run_command
from tests.support.exports import EXPORTING, assert_same_exports
from tests.support.folders import REAL_SETS, RealSet, link_images
from tests.support.remote import ELSEWHERE, copy_up
from tests.support.standalone import Cluster
from tests.support.tables import assert_same_tables

pytestmark = pytest.mark.cluster
OPTIONAL = ("generate.count=2", "anomalies.quantile=0.1", "conflicts.threshold=0.5")


def on_cluster(
    cluster: Cluster, job: str, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run a job as a user of the cluster does."""
    return run_command(job, *arguments, cwd=cwd, submit=cluster.submit, **cluster.environment)


def test_executors_that_share_nothing_write_the_same_tables_and_shards(
    spark: SparkSession,
    cluster: Cluster,
    hdfs: str,
    survey: Path,
    tmp_path: Path,
) -> None:
    local = tmp_path / "local"
    settings = flags(*QUICK, *ROUNDS, *OPTIONAL, *EXPORTING)
    done = run_command(
        "pipeline", "--images", str(survey), "--warehouse", str(local), *settings, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    copy_up(spark, survey, f"{hdfs}/survey/images of ünits")
    warehouse = f"{hdfs}/survey/a ware house"
    arguments = ["--images", f"{hdfs}/survey/images of ünits", "--warehouse", warehouse, *settings]
    done = on_cluster(cluster, "pipeline", *arguments, "--report", "page", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report    page/report.html" in done.stdout
    assert (tmp_path / "page/report.html").stat().st_size > 10_000
    assert_same_tables(spark, local, warehouse, ELSEWHERE)
    files = HadoopFiles(spark, f"{warehouse}/export")
    exported = {file.name: files.read(file.name) for file in files.infos("")}
    assert_same_exports(local, exported, f"{hdfs}/survey/images of ünits")
    again = on_cluster(cluster, "pipeline", *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("up to date") >= 9, again.stdout


@pytest.mark.data
@pytest.mark.parametrize("chosen", REAL_SETS, ids=lambda chosen: chosen.name)
def test_real_images_with_the_defaults(
    chosen: RealSet,
    spark: SparkSession,
    cluster: Cluster,
    hdfs: str,
    real_images: Path,
    tmp_path: Path,
) -> None:
    """Removal is proved on executors that have the pictures from HDFS alone."""
    images = link_images(real_images, chosen, tmp_path / "images")
    short = flags(*REAL, *chosen.settings)
    local = ["--images", str(images), "--warehouse", str(tmp_path / "local"), *short]
    done = run_command("pipeline", *local, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    copy_up(spark, images, f"{hdfs}/{chosen.name}/images")
    root = f"{hdfs}/{chosen.name}/warehouse"
    arguments = ["--images", f"{hdfs}/{chosen.name}/images", "--warehouse", root, *short]
    done = on_cluster(cluster, "pipeline", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_tables(spark, tmp_path / "local", root, ELSEWHERE)
    assert spark.read.format("delta").load(f"{root}/alignments").count() > 0
