"""Anomalies: the images of lowest density of their class."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.runtime.stage import RunContext


def found(projections: DataFrame, quantile: float) -> DataFrame:
    """Images whose log-density lies strictly below their class's exact percentile, ranked.

    The percentile of n values is that at place quantile·(n − 1) of the sorted ones, between two
    linear. Rank 1 is the least dense of its class, of equally dense ones the smallest id.
    """
    known = projections.where("log_density IS NOT NULL")  # null: a class without components
    cuts = known.groupBy("label").agg(F.percentile("log_density", quantile).alias("cut"))
    below = known.join(F.broadcast(cuts), on="label", how="inner").where("log_density < cut")
    rank = F.row_number().over(Window.partitionBy("label").orderBy("log_density", "image_id"))
    ranked = below.select("image_id", "label", "log_density", "cut", rank.alias("rank"))
    return ranked.sort("label", "rank")


def asked(run: RunContext) -> dict[str, Any]:
    """What the table `anomalies` is to be made of: the quantile and the projections."""
    commit = run.warehouse.newest("projections", "project")
    content = commit.output_id if commit else None
    return {"quantile": run.settings.anomalies.quantile, "projections": content}
