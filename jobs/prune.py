"""prune: which images of each class are duplicates of which, at every threshold (spec §3)."""

from __future__ import annotations

from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.common import auditing, classes, command, schemas, session
from jobs.common.pruning import Pruning
from jobs.common.run import Run, Work
from jobs.common.settings import Prune, SettingsError

VERSION = 2
SELECTION = schemas.TABLES["selection"].schema


def main(run: Run) -> None:
    """Tables latents and images → selection, thresholds, audit."""
    settings = run.settings.prune
    reads = {"latents": "encode"}
    if settings.order:
        reads |= {"images": "ingest"}
    with run.stage(
        "prune",
        reads=reads,
        writes=("selection", "thresholds", "audit"),
        depends={
            "thresholds": list(settings.rules.items()),
            "space": settings.space,
            "order": settings.order,
        },
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = work.read("latents").select("image_id", "label", "latent")
        counts = classes.sizes(latents)
        classes.check_sizes(latents, counts, run.settings)
        selection = select(work, with_order(work, latents, settings), counts, settings)
        work.write(selection, "selection")
        chosen = run.warehouse.read("selection")
        work.write(thresholds(chosen), "thresholds")
        images = sum(counts.values())
        auditing.check(work, chosen, latents, settings.rules, images, settings.audit)
        summarise(work, chosen, counts)


def with_order(work: Work, latents: DataFrame, settings: Prune) -> DataFrame:
    """The columns of `images` that decide who comes first, beside the latents."""
    if not settings.order:
        return latents
    images = work.read("images")
    columns = order_columns(images.schema, settings)
    more = [F.col(column).alias(f"order_{column}") for column in columns]
    return latents.join(images.select("image_id", *more), on="image_id", how="left")


def order_columns(images: T.StructType, settings: Prune) -> list[str]:
    """Names of the columns to order by; raises SettingsError where there is no such order."""
    columns = [column.removeprefix("-") for column in settings.order]
    missing = [column for column in columns if column not in images.names]
    if missing:
        raise SettingsError(
            f"prune.order: the table images has no column {', '.join(missing)}; "
            f"it has {', '.join(column for column in images.names if column != 'pixels')}"
        )
    unordered = [
        f"{column} ({kind.simpleString()})"
        for column in columns
        if isinstance(kind := images[column].dataType, schemas.UNORDERED)
    ]
    if unordered:
        raise SettingsError(
            f"prune.order: {', '.join(unordered)}: has no order; name columns of numbers, text, "
            "times or truth values"
        )
    return columns


def order_expressions(settings: Prune) -> list[Column]:
    """Rising, or falling where the name begins with "-"; nulls last."""
    return [
        F.desc_nulls_last(f"order_{column.removeprefix('-')}")
        if column.startswith("-")
        else F.asc_nulls_last(f"order_{column}")
        for column in settings.order
    ]


def select(work: Work, latents: DataFrame, counts: dict[str, int], settings: Prune) -> DataFrame:
    """The greedy cover of every class, as tasks on the executors."""
    pruning = Pruning(settings.rules, settings.space[0], settings.block)
    slots = session.slots(work.run.spark)
    tasks = classes.placed(
        latents, counts, slots, lambda n: float(n) * n, order_expressions(settings)
    )
    return tasks.select("image_id", "label", "latent").mapInArrow(
        partial(pruning.selection_rows, schema=schemas.arrow_schema(SELECTION)), SELECTION
    )


def thresholds(selection: DataFrame) -> DataFrame:
    """Per class and rule: the threshold, what was asked (itself) and the share kept."""
    return (
        selection.groupBy("label", "rule", "space", "threshold")
        .agg(F.avg(F.col("kept").cast("double")).alias("reached"))
        .select(
            "label",
            "rule",
            "space",
            "threshold",
            F.col("threshold").alias("asked"),
            "reached",
        )
        .orderBy("label", F.desc("threshold"))
    )


def summarise(work: Work, selection: DataFrame, counts: dict[str, int]) -> None:
    """Kept counts for `runs` and the console."""
    rows = selection.where("kept").groupBy("threshold").count().orderBy(F.desc("threshold"))
    kept = {row["threshold"]: int(row["count"]) for row in rows.collect()}
    total = sum(counts.values())
    work.rows |= {f"kept_{threshold:g}": count for threshold, count in kept.items()}
    shares = ", ".join(f"{count / total:.0%} at {threshold:g}" for threshold, count in kept.items())
    work.summary = f"{len(counts):,} classes; kept {shares}"


if __name__ == "__main__":
    command.run("prune", main)
