"""Start the Spark session of a command, and ask it how many tasks run at a time.

It is configured by spark-submit (conf/spark-*.conf); `start` checks that Delta is part of it.
"""

from __future__ import annotations

from pyspark.sql import SparkSession

from jobs.errors import JobError

DELTA = "io.delta.sql.DeltaSparkSessionExtension"


def start(name: str) -> SparkSession:
    """Start the session of a job. Raises JobError if Delta is not among its extensions."""
    spark = SparkSession.builder.appName(f"latent-dedup {name}").getOrCreate()
    if DELTA not in (spark.conf.get("spark.sql.extensions", "") or ""):
        raise JobError(
            "Spark runs without Delta: start the job by ./spark-submit.sh, or add "
            "the lines of conf/spark-cluster.conf to the cluster's configuration"
        )
    return spark


def slots(spark: SparkSession) -> int:
    """The number of tasks that run at the same time."""
    return max(1, spark.sparkContext.defaultParallelism)
