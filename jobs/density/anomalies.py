"""anomalies: images that lie where their class's density is least (listed; spec §5)."""

from __future__ import annotations

from pyspark.sql import functions as F

from jobs.density import low_density
from jobs.errors import SettingsError
from jobs.runtime.run import Run

VERSION = 1


def main(run: Run) -> None:
    """Table projections → anomalies."""
    settings = run.settings.anomalies
    if not settings.quantile:
        raise SettingsError(
            "anomalies: set anomalies.quantile, such as 0.01: images less dense than that "
            "percentile of their class are listed"
        )
    with run.stage(
        "anomalies",
        reads={"projections": "project"},
        writes=("anomalies",),
        depends={"quantile": settings.quantile},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        projections = work.read("projections").where("rule = 'none'")
        found = low_density.found(projections, settings.quantile)
        work.write(found, "anomalies", metadata=low_density.asked(run))
        counted = work.read("anomalies").agg(
            F.count("*").alias("images"),
            F.count_distinct("label").alias("classes"),
            F.min_by("image_id", "log_density").alias("least"),
        )
        row = counted.collect()[0]
        work.rows["anomalies"] = row.images
        work.summary = (
            f"{row.images:,} images of {row.classes:,} classes, below the {settings.quantile:g} "
            "quantile"
        )
        if row.least is not None:
            work.summary += f"; least dense: {row.least}"
