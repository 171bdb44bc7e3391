"""leaks: images that resemble one of a reference: a split, or another warehouse (spec §3)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.common import command, comparing, schemas
from jobs.common.comparing import Held, LeakScan
from jobs.common.pruning import Rules
from jobs.common.run import Run, Work
from jobs.common.settings import Leaks, Settings, SettingsError
from jobs.common.storage import JobError, Warehouse

VERSION = 1


def main(run: Run) -> None:
    """Table latents → leaks."""
    settings = run.settings
    if not settings.leaks.asked:
        raise SettingsError(
            "leaks: nothing to compare with: give leaks.split, such as ['test'], or leaks.warehouse"
        )
    other = elsewhere(run, settings.leaks)
    with run.stage(
        "leaks",
        reads={"latents": "encode"},
        writes=("leaks",),
        depends=[comparing.asked(settings), other and _mark(other)],
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = work.read("latents")
        of_split = F.coalesce(F.col("split").isin(list(settings.leaks.split)), F.lit(False))
        if other:
            reference, candidates = other.read("latents"), latents
            check_alike(reference, latents, other.root)
        else:
            reference, candidates = latents.where(of_split), latents.where(~of_split)
        images = reference.count()
        if not images:
            raise JobError(
                f"leaks: no image is of the splits {', '.join(settings.leaks.split)}: name splits "
                "that the table images has"
                if not other
                else f"leaks.warehouse = {other.root!r}: its table latents has no rows"
            )
        found = hits(reference, candidates, images, settings)
        frame = rows(run, found, settings, other.root if other else None)
        work.write(frame, "leaks", notes={"asked": comparing.asked(settings)})
        summarise(work, images)


def elsewhere(run: Run, settings: Leaks) -> Warehouse | None:
    """The other warehouse, where one is named."""
    if not settings.warehouse:
        return None
    other = Warehouse(run.spark, settings.warehouse)
    if not other.exists("latents"):
        raise SettingsError(
            f"leaks.warehouse = {settings.warehouse!r}: has no table latents; name the folder of a "
            "warehouse that encode has run on"
        )
    return other


def _mark(other: Warehouse) -> Any:
    stamp = other.newest("latents", "encode")
    return stamp.fingerprint if stamp else other.version("latents")


def check_alike(reference: DataFrame, latents: DataFrame, root: str) -> None:
    """Raise JobError where the latents are not of one model and kind of machine."""
    kinds = ["model_id", "encoded_on"]
    both = reference.select(kinds).union(latents.select(kinds)).distinct().collect()
    if len(both) > 1:
        named = "; ".join(f"model {row.model_id}, {row.encoded_on}" for row in both)
        raise JobError(
            f"leaks.warehouse = {root!r}: its latents cannot be compared with these ({named}): "
            "encode both with one model (train.model) on machines of one kind"
        )


def hits(
    reference: DataFrame, candidates: DataFrame, images: int, settings: Settings
) -> list[pa.Table]:
    """Each candidate's first reference image in every window, by rule."""
    rules = Rules.of(settings.prune)

    def of_window(_: Column, held: Broadcast[Held]) -> pa.Table:
        return LeakScan(rules, settings.leaks.scope == "label", held).table(candidates)

    return list(comparing.each_window(reference, images, settings.prune.window, of_window))


def rows(run: Run, found: list[pa.Table], settings: Settings, root: str | None) -> DataFrame:
    """Rows of the table `leaks`: of all windows the first reference image by its id."""
    hits = run.spark.createDataFrame(pa.concat_tables(found), comparing.HITS)
    first = hits.groupBy("image_id", "label", "split", "rule").agg(
        F.min(F.struct("reference_id", "reference_label", "reference_split", "similarity")).alias(
            "first"
        )
    )
    thresholds = F.create_map(*(F.lit(x) for pair in settings.prune.rules.items() for x in pair))
    names = schemas.TABLES["leaks"].schema.names
    return (
        first.select("image_id", "label", "split", "rule", "first.*")
        .withColumns(
            {
                "space": F.lit(settings.prune.space[0]),
                "threshold": thresholds[F.col("rule")],
                "reference_warehouse": F.lit(root).cast("string"),
            }
        )
        .select(names)
        .sort("label", "image_id", F.desc("threshold"))
    )


def summarise(work: Work, reference: int) -> None:
    """How many images leak at each threshold."""
    found = work.read("leaks").groupBy("threshold").count().orderBy(F.desc("threshold")).collect()
    work.rows |= {f"leaks_{row['threshold']:g}": int(row["count"]) for row in found}
    shares = ", ".join(f"{row['count']:,} at {row['threshold']:g}" for row in found)
    work.summary = f"{reference:,} reference images; resembled by {shares or 'none'}"


if __name__ == "__main__":
    command.run("leaks", main)
