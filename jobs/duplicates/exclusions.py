"""Anomalous images: which ones there are, and which of them `publish` leaves out (spec §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.density.low_density import made_of
from jobs.duplicates import groups
from jobs.errors import JobError
from jobs.runtime.stage import RunContext, StageRun
from jobs.settings.model import Settings


def depends(run: RunContext) -> dict[str, Any]:
    """What decides which anomalies are left out, beside the tables that `publish` reads."""
    settings = run.settings
    if not settings.anomalies.remove:
        return {}
    return {"anomalies": [made_of(run), settings.prune.protect, list(_reference(settings))]}


@dataclass(frozen=True)
class LeftOut:
    """A selection without the anomalies that are left out, and how many they are.

    stay: anomalies that stand for images that are none, and so are not left out. stood_for: how
    many images (anomalies all) those left out stand for.
    """

    selection: DataFrame
    images: int
    stay: int
    stood_for: int

    @property
    def summary(self) -> str:
        """For the console."""
        stood = f" (they stand for {self.stood_for:,} more)" if self.stood_for else ""
        stay = f", {self.stay:,} stay for images that are none" if self.stay else ""
        return f"{self.images:,} anomalies left out{stood}{stay}"

    @property
    def counts(self) -> dict[str, int]:
        """For `runs`."""
        return {
            "anomalies_left_out": self.images,
            "anomalies_stood_for": self.stood_for,
            "anomalies_stay": self.stay,
        }


def left_out(stage_run: StageRun, selection: DataFrame, settings: Settings) -> LeftOut:
    """One rule's selection in which anomalies are not kept, but for those that others need.

    An anomaly is left out unless it is protected (`prune.protect`, the splits that leaks.remove
    keeps) or stands for a removed image that is no anomaly: so every image that is none is in what
    is published, or a kept one stands for it there.

    Raises JobError where the anomalies were found otherwise than these settings ask.
    """
    commit = stage_run.inputs.get("anomalies")
    if commit is None or commit.metadata != made_of(stage_run.run):
        raise JobError(
            "anomalies.remove: the table anomalies was made with another anomalies.quantile or of "
            "other projections: run ./spark-submit.sh anomalies first (or pipeline, which does all)"
        )
    anomalies = stage_run.read("anomalies").select("image_id")
    return without(selection, anomalies, protected(stage_run.read("images"), settings))


def protected(images: DataFrame, settings: Settings) -> DataFrame:
    """The ids of images that are never removed."""
    groups.check(images, settings.prune)
    predicate = F.expr(settings.prune.protect or "false")
    reference = F.col("split").isin(list(_reference(settings)))
    never = F.coalesce(predicate, F.lit(False)) | F.coalesce(reference, F.lit(False))
    return images.where(never).select("image_id")


def _reference(settings: Settings) -> tuple[str, ...]:
    return settings.leaks.split if settings.leaks.remove else ()


def without(selection: DataFrame, anomalies: DataFrame, never: DataFrame) -> LeftOut:
    """`left_out` of one rule's selection, given the ids of anomalies and of protected images."""
    marks = anomalies.withColumn("anomalous", F.lit(True))
    marked = selection.join(marks, on="image_id", how="left")
    needed = marked.where("NOT kept AND anomalous IS NULL").select(F.col("kept_id"))
    needed = needed.distinct().select(F.col("kept_id").alias("image_id"), F.lit(True).alias("need"))
    keeps = never.withColumn("never", F.lit(True))
    marked = marked.join(needed, on="image_id", how="left").join(keeps, on="image_id", how="left")
    anomaly = F.col("kept") & F.col("anomalous").isNotNull() & F.col("never").isNull()
    marked = marked.withColumns(
        {"out": anomaly & F.col("need").isNull(), "stay": anomaly & F.col("need").isNotNull()}
    )
    out = marked.where("out").select(F.col("image_id").alias("kept_id"))
    stood_for = selection.where("NOT kept").join(out, on="kept_id", how="left_semi").count()
    counted = marked.agg(F.count_if("out").alias("out"), F.count_if("stay").alias("stay")).collect()
    kept = marked.withColumn("kept", F.col("kept") & ~F.col("out")).select(selection.columns)
    return LeftOut(kept, counted[0].out, counted[0].stay, stood_for)
