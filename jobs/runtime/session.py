"""Start the Spark session of a command, and ask it how many tasks run at a time.

It is configured by spark-submit (conf/spark-*.conf); `start` checks that Delta is part of it.
"""

from __future__ import annotations

from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.settings import redaction

DELTA = "io.delta.sql.DeltaSparkSessionExtension"


def start(name: str) -> SparkSession:
    """Start the session of a job. Raises JobError if Delta is not among its extensions."""
    spark = SparkSession.builder.appName(f"latent-dedup {name}").getOrCreate()
    if DELTA not in (spark.conf.get("spark.sql.extensions", "") or ""):
        raise JobError(
            "Spark runs without Delta: start the job by ./spark-submit.sh, or add "
            "the lines of conf/spark-cluster.conf to the cluster's configuration"
        )
    _hide_credentials(spark)
    return spark


def _hide_credentials(spark: SparkSession) -> None:
    """Hide the credentials of Spark's and Hadoop's configuration in what the command prints."""
    redaction.hide_named(spark.sparkContext.getConf().getAll())
    jsc = spark.sparkContext._jsc
    assert jsc is not None
    hadoop = jsc.hadoopConfiguration().getValByRegex(r"^fs\..*(key|secret|password|token|sas)")
    redaction.hide_named(dict(hadoop).items())


def slots(spark: SparkSession) -> int:
    """The number of tasks that run at the same time."""
    return max(1, spark.sparkContext.defaultParallelism)
