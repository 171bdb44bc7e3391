"""The anomalies that `publish` leaves out of `curated`, with `anomalies.remove`.

docs/method.md, "What the model is for", says what an anomaly is and which are retained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.density.low_density import made_of
from jobs.duplicates.groups import check_columns
from jobs.errors import JobError
from jobs.runtime.stage import NamedValues, RunContext, StageRun
from jobs.settings.model import Settings


def depends(run: RunContext) -> dict[str, Any]:
    """What decides which anomalies are left out, beside the tables that `publish` reads."""
    settings = run.settings
    if not settings.anomalies.remove:
        return {}
    anomalies, splits = made_of(run), _reference_splits(settings)
    named = {
        "anomalies.remove": settings.anomalies.remove,
        **{f"anomalies.{key}": value for key, value in anomalies.items()},
        "prune.protect": settings.prune.protect,
        "leaks.split": splits,
    }
    hashed = [anomalies, settings.prune.protect, list(splits)]
    return {"anomalies": NamedValues(named, hashed)}


@dataclass(frozen=True)
class Exclusion:
    """A selection without the anomalies that are left out.

    images: number of anomalies that are left out.
    retained: number of anomalies that stay in the published set because they are the keeper of an
        image that is no anomaly.
    covered: number of images, all anomalies, whose keeper is left out.
    """

    selection: DataFrame
    images: int
    retained: int
    covered: int

    @property
    def summary(self) -> str:
        """The counts as words for the console."""
        covered = f" (they stand for {self.covered:,} more)" if self.covered else ""
        retained = f", {self.retained:,} stay for images that are none" if self.retained else ""
        return f"{self.images:,} anomalies left out{covered}{retained}"

    @property
    def counts(self) -> dict[str, int]:
        """The counts for the table `runs`."""
        return {
            "anomalies_left_out": self.images,
            "anomalies_stood_for": self.covered,
            "anomalies_stay": self.retained,
        }


def without_anomalies(stage_run: StageRun, selection: DataFrame) -> Exclusion:
    """One rule's selection in which anomalies are not kept, except those that others need.

    An anomaly is left out unless it is protected (by `prune.protect`, or as an image of the splits
    that leaks.remove keeps) or is the keeper of an image that is no anomaly. So every image that is
    no anomaly is published, or its keeper is.

    Raises JobError where the table `anomalies` was made with other settings or other projections.
    """
    commit = stage_run.inputs.get("anomalies")
    if commit is None or commit.metadata != made_of(stage_run.run):
        raise JobError(
            "anomalies.remove: the table anomalies was made with another anomalies.quantile or of "
            "other projections: run ./spark-submit.sh anomalies first (or pipeline, which does all)"
        )
    anomalies = stage_run.read("anomalies").select("image_id")
    return excluded(selection, anomalies, protected(stage_run.read("images"), stage_run.settings))


def protected(images: DataFrame, settings: Settings) -> DataFrame:
    """The ids of images that are never removed."""
    check_columns(images, settings.prune)
    predicate = F.expr(settings.prune.protect or "false")
    reference = F.col("split").isin(list(_reference_splits(settings)))
    never = F.coalesce(predicate, F.lit(False)) | F.coalesce(reference, F.lit(False))
    return images.where(never).select("image_id")


def _reference_splits(settings: Settings) -> tuple[str, ...]:
    return settings.leaks.split if settings.leaks.remove else ()


def excluded(selection: DataFrame, anomalies: DataFrame, protected_ids: DataFrame) -> Exclusion:
    """See `without_anomalies`; anomalies, protected_ids: frames with the column `image_id`."""

    def flagged(rows: DataFrame, ids: DataFrame, flag: str) -> DataFrame:
        """Rows with the column `flag`: true for these ids, else null."""
        return rows.join(ids.withColumn(flag, F.lit(True)), on="image_id", how="left")

    rows = flagged(selection, anomalies, "anomalous")
    needed = rows.where("NOT kept AND anomalous IS NULL").select(F.col("kept_id").alias("image_id"))
    rows = flagged(rows, needed.distinct(), "needed")
    rows = flagged(rows, protected_ids, "protected")
    anomaly = F.col("kept") & F.col("anomalous").isNotNull() & F.col("protected").isNull()
    needed_flag = F.col("needed").isNotNull()
    rows = rows.withColumns({"excluded": anomaly & ~needed_flag, "retained": anomaly & needed_flag})
    keepers = rows.where("excluded").select(F.col("image_id").alias("kept_id"))
    covered = selection.where("NOT kept").join(keepers, on="kept_id", how="left_semi").count()
    (counts,) = rows.agg(
        F.count_if("excluded").alias("excluded"), F.count_if("retained").alias("retained")
    ).collect()
    kept = rows.withColumn("kept", F.col("kept") & ~F.col("excluded")).select(selection.columns)
    return Exclusion(kept, counts.excluded, counts.retained, covered)
