"""Find the images of lowest density of their class, and record what they were chosen by.

The stage `anomalies` makes its table with it; `publish` checks by `made_of` that the table fits.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.runtime.stage import RunContext


def low_density_images(projections: DataFrame, quantile: float) -> DataFrame:
    """Return the images whose log-density lies strictly below the percentile of their class.

    The percentile of n values is exact: the one at index quantile·(n − 1) of the sorted values,
    interpolated linearly between two. Rank 1 is the least dense image of its class, and of equally
    dense ones the one with the smallest id.
    """
    rows = projections.where("log_density IS NOT NULL")  # it is null without components
    cuts = rows.groupBy("label").agg(F.percentile("log_density", quantile).alias("cut"))
    below = rows.join(F.broadcast(cuts), on="label", how="inner").where("log_density < cut")
    rank = F.row_number().over(Window.partitionBy("label").orderBy("log_density", "image_id"))
    ranked = below.select("image_id", "label", "log_density", "cut", rank.alias("rank"))
    return ranked.sort("label", "rank")


def made_of(run: RunContext) -> dict[str, Any]:
    """What the table `anomalies` depends on, as its commit records it: quantile and projections."""
    commit = run.warehouse.newest("projections", "project")
    output_id = commit.output_id if commit else None
    return {"quantile": run.settings.anomalies.quantile, "projections": output_id}
