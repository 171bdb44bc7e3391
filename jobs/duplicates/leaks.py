"""leaks: images that resemble one of a reference: a split, or another warehouse (spec §3)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import latents as stored_latents
from jobs.autoencoder import spaces
from jobs.duplicates import window_search
from jobs.duplicates.rules import Rules
from jobs.duplicates.window_search import Held, LeakScan
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run, Work
from jobs.settings.load import Leaks, Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import Store, open_store

VERSION = 1


def main(run: Run) -> None:
    """Table latents, or vectors → leaks: in the first space of `prune.space`."""
    settings = run.settings
    space = settings.prune.space[0]
    if not settings.leaks.asked:
        raise SettingsError(
            "leaks: nothing to compare with: give leaks.split, such as ['test'], or leaks.warehouse"
        )
    other = elsewhere(run, settings.leaks)
    with run.stage(
        "leaks",
        reads=spaces.reads([space]),
        writes=("leaks",),
        depends=[window_search.asked(settings), other and _mark(other)],
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = spaces.vectors(work, [space])[space]
        of_split = F.coalesce(F.col("split").isin(list(settings.leaks.split)), F.lit(False))
        if other:
            latents_there = other.read("latents", other.version("latents"))
            check_alike(latents_there, run.warehouse.read("latents"), other.root)
            reference, candidates = spaces.elsewhere(run.warehouse, other, space), latents
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
        commit = run.warehouse.newest(*spaces.table_of(space))
        metadata = {"asked": window_search.asked(settings), "latents": commit and commit.output_id}
        work.write(frame, "leaks", metadata=metadata)
        summarise(work, images)


def elsewhere(run: Run, settings: Leaks) -> Store | None:
    """The other warehouse, where one is named."""
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
    widths = stored_latents.width(reference), stored_latents.width(latents)
    if 0 not in widths and widths[0] != widths[1]:
        raise JobError(
            f"leaks.warehouse = {root!r}: its latents hold {widths[0]:,} numbers, these "
            f"{widths[1]:,}: they are of different models"
        )


def hits(reference: DataFrame, candidates: DataFrame, images: int, settings: Settings) -> pa.Table:
    """Each candidate's first reference image, by rule: of every window, and of those before."""
    rules = Rules.fixed(settings.prune)

    def of_window(_: Column, held: Broadcast[Held]) -> pa.Table:
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


def rows(run: Run, found: pa.Table, settings: Settings, root: str | None) -> DataFrame:
    """Rows of the table `leaks`."""
    thresholds = F.create_map(*(F.lit(x) for pair in settings.prune.fixed.items() for x in pair))
    return (
        run.spark.createDataFrame(found, window_search.HITS)
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


def summarise(work: Work, reference: int) -> None:
    """How many images leak at each threshold."""
    found = work.read("leaks").groupBy("threshold").count().orderBy(F.desc("threshold")).collect()
    work.rows |= {f"leaks_{row['threshold']:g}": int(row["count"]) for row in found}
    shares = ", ".join(f"{row['count']:,} at {row['threshold']:g}" for row in found)
    work.summary = f"{reference:,} reference images; resembled by {shares or 'none'}"
