"""The stage `anomalies`: lists the images that lie where the density of their class is lowest.

The density is that of docs/method.md, "The spline density". Nothing is removed here; `publish` does
so where `anomalies.remove` asks for it.
"""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.density.low_density import low_density_images, made_of
from jobs.runtime.stage import Stage, StageRun, written_by

VERSION = 1


def main(stage_run: StageRun) -> None:
    """Table projections → anomalies."""
    quantile = stage_run.settings.anomalies.quantile
    projections = stage_run.read("projections").where("rule = 'none'")
    stage_run.write(
        low_density_images(projections, quantile),
        "anomalies",
        metadata=made_of(stage_run.run),
    )
    counted = stage_run.read("anomalies").agg(
        F.count("*").alias("images"),
        F.count_distinct("label").alias("classes"),
        F.min_by("image_id", "log_density").alias("least"),
    )
    row = counted.collect()[0]
    stage_run.rows["anomalies"] = row.images
    stage_run.summary = (
        f"{row.images:,} images of {row.classes:,} classes, below the {quantile:g} quantile"
    )
    if row.least is not None:
        stage_run.summary += f"; least dense: {row.least}"


STAGE = Stage(
    "anomalies",
    main,
    reads=lambda run: written_by("projections"),
    writes=("anomalies",),
    depends=lambda run: {"quantile": run.settings.anomalies.quantile},
    version=VERSION,
    enabled=lambda settings: bool(settings.anomalies.quantile),
    example_flags="--set anomalies.quantile=0.01",
    message_if_disabled=(
        "set anomalies.quantile, such as 0.01: images less dense than that percentile of their "
        "class are listed"
    ),
)
