"""Runs of the pipeline in the process of a benchmark, whose Spark session can be looked into."""

from __future__ import annotations

from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.runtime.run import Run
from jobs.settings.model import Settings
from jobs.warehouse.lock import lock


def run_pipeline(spark: SparkSession, settings: Settings) -> set[str]:
    """Run the pipeline under the warehouse's lease, as the command does.

    Return the states of its stages.
    """
    run = Run(spark, settings, "pipeline", pipeline.STAGES)
    with lock(settings.warehouse), run.lease():
        try:
            run.close_stale()
            pipeline.main(run)
        finally:
            run.close()
    sql = f"SELECT state FROM rows WHERE run_id = '{run.run_id}'"
    return {row["state"] for row in run.warehouse.query("runs", sql)}
