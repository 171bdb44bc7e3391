"""What is known of the latents as a whole: their width, their classes' sizes, their model."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.runtime.stage import StageRun

LATENT_WIDTH = 1024  # of the paper's encoder; limits in images are meant for latents of it


def model_of(stage_run: StageRun) -> str:
    """The model of the latents."""
    found = stage_run.query("latents", "SELECT model_id FROM rows LIMIT 1")
    return str(found[0]["model_id"]) if found else ""


def sizes(stage_run: StageRun) -> dict[str, int]:
    """Images of each class in `latents`."""
    rows = stage_run.query("latents", "SELECT label, count(*) AS images FROM rows GROUP BY label")
    return {row["label"]: int(row["images"]) for row in rows}


def width(latents: DataFrame) -> int:
    """How many numbers a latent has; 0 where there is none."""
    row = latents.select(F.size("latent").alias("width")).first()
    return int(row.width) if row else 0


def width_stored(stage_run: StageRun) -> int:
    """The same of the table `latents`, without a job."""
    found = stage_run.query("latents", "SELECT cardinality(latent) AS width FROM rows LIMIT 1")
    return int(found[0]["width"]) if found else 0
