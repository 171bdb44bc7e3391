"""Properties of the table `latents` as a whole: its model, its width and the sizes of classes."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.stage import StageRun

# The width of the paper's latents. Limits that are counted in images hold for latents of it.
LATENT_WIDTH = 1024


def model_of(stage_run: StageRun) -> str:
    """The model_id of the latents; "" if there are none."""
    rows = stage_run.query("latents", "SELECT model_id FROM rows LIMIT 1")
    return str(rows[0]["model_id"]) if rows else ""


def class_sizes(stage_run: StageRun) -> dict[str, int]:
    """The number of latents of each class."""
    rows = stage_run.query("latents", "SELECT label, count(*) AS images FROM rows GROUP BY label")
    return {row["label"]: int(row["images"]) for row in rows}


def frame_width(latents: DataFrame) -> int:
    """The number of entries of a latent of a frame, by a Spark job; 0 if the frame has no rows."""
    row = latents.select(F.size("latent").alias("width")).first()
    return int(row.width) if row else 0


def stored_width(stage_run: StageRun) -> int:
    """The number of entries of a latent of the table, without a Spark job; 0 if it has no rows."""
    rows = stage_run.query("latents", "SELECT cardinality(latent) AS width FROM rows LIMIT 1")
    return int(rows[0]["width"]) if rows else 0
