"""leaks: images that resemble one of a reference: a split, or another warehouse (spec §3)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.autoencoder.latents import frame_width
from jobs.duplicates import window_search
from jobs.duplicates.rules import Rules
from jobs.duplicates.window_search import LeakScan, ReferenceWindow
from jobs.errors import JobError, SettingsError
from jobs.runtime.stage import RunContext, Stage, StageRun
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import Store, open_store

VERSION = 1


def main(stage_run: StageRun) -> None:
    """Table latents, or vectors → leaks: in the first space of `prune.space`."""
    settings = stage_run.settings
    space = settings.prune.space[0]
    other = stage_run.run.once(elsewhere)
    latents = spaces.vectors(stage_run, [space])[space]
    of_split = F.coalesce(F.col("split").isin(list(settings.leaks.split)), F.lit(False))
    if other:
        latents_there = other.read("latents", other.version("latents"))
        check_alike(latents_there, stage_run.warehouse.read("latents"), other.root)
        reference, candidates = spaces.vectors_of_other(stage_run.warehouse, other, space), latents
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
    frame = rows(stage_run, found, settings, other.root if other else None)
    table, _ = spaces.table_of(space)
    metadata = {
        "asked": window_search.asked(settings),
        "latents": stage_run.inputs[table].output_id,
    }
    stage_run.write(frame, "leaks", metadata=metadata)
    summarise(stage_run, images)


def reads(run: RunContext) -> dict[str, str]:
    """What stands for the images in the first space."""
    return spaces.reads(run.settings.prune.space[:1])


def depends(run: RunContext) -> list[Any]:
    """The settings of the search, and the state of the other warehouse where one is named."""
    other = run.once(elsewhere)
    return [window_search.asked(run.settings), other and _mark(other)]


def elsewhere(run: RunContext) -> Store | None:
    """The other warehouse, where one is named."""
    settings = run.settings.leaks
    if not settings.warehouse:
        return None
    other = open_store(run.spark, settings.warehouse)
    if other.root == run.warehouse.root:
        raise SettingsError(
            f"leaks.warehouse = {settings.warehouse!r}: is this warehouse itself, in which every "
            "image resembles itself; name another, or splits of this one with leaks.split"
        )
    if not other.exists("latents"):
        raise SettingsError(
            f"leaks.warehouse = {settings.warehouse!r}: has no table latents; name the folder of a "
            "warehouse that encode has run on"
        )
    return other


def _mark(other: Store) -> Any:
    commit = other.newest("latents", "encode")
    return commit.fingerprint if commit else other.version("latents")


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
    widths = frame_width(reference), frame_width(latents)
    if 0 not in widths and widths[0] != widths[1]:
        raise JobError(
            f"leaks.warehouse = {root!r}: its latents hold {widths[0]:,} numbers, these "
            f"{widths[1]:,}: they are of different models"
        )


def hits(reference: DataFrame, candidates: DataFrame, images: int, settings: Settings) -> pa.Table:
    """Each candidate's first reference image, by rule: of every window, and of those before."""
    rules = Rules.fixed(settings.prune)

    def of_window(_: Column, held: Broadcast[ReferenceWindow]) -> pa.Table:
        return LeakScan(rules, settings.leaks.scope == "label", held).table(candidates)

    found = arrow_frames.arrow_schema(window_search.HITS).empty_table()
    for table in window_search.each_window(reference, images, settings.prune.window, of_window):
        found = first_of(pa.concat_tables([found, table]))
    return found


def first_of(hits: pa.Table) -> pa.Table:
    """Of each candidate and rule the hit of the smallest reference id, by its UTF-8 bytes."""
    order = pa.compute.sort_indices(hits, [("reference_id", "ascending")])  # Arrow compares bytes
    ordered = hits.take(order)
    keys = ["image_id", "rule"]
    place = ordered.append_column("place", pa.array(range(len(ordered)), pa.int64()))
    firsts = place.group_by(keys).aggregate([("place", "min")]).column("place_min")
    return ordered.take(firsts)


def rows(stage_run: StageRun, found: pa.Table, settings: Settings, root: str | None) -> DataFrame:
    """Rows of the table `leaks`."""
    thresholds = F.create_map(*(F.lit(x) for pair in settings.prune.fixed.items() for x in pair))
    return (
        stage_run.spark.createDataFrame(found, window_search.HITS)
        .withColumns(
            {
                "space": F.lit(settings.prune.space[0]),
                "threshold": thresholds[F.col("rule")],
                "reference_warehouse": F.lit(root).cast("string"),
            }
        )
        .select(tables.TABLES["leaks"].schema.names)
        .sort("label", "image_id", F.desc("threshold"))
    )


def summarise(stage_run: StageRun, reference: int) -> None:
    """How many images leak at each threshold."""
    found = (
        stage_run.read("leaks").groupBy("threshold").count().orderBy(F.desc("threshold")).collect()
    )
    stage_run.rows |= {f"leaks_{row['threshold']:g}": int(row["count"]) for row in found}
    shares = ", ".join(f"{row['count']:,} at {row['threshold']:g}" for row in found)
    stage_run.summary = f"{reference:,} reference images; resembled by {shares or 'none'}"


STAGE = Stage(
    "leaks",
    main,
    reads=reads,
    writes=("leaks",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: settings.leaks.enabled,
    to_enable="--set 'leaks.split=[\"test\"]'",
    refusal="nothing to compare with: give leaks.split, such as ['test'], or leaks.warehouse",
)
