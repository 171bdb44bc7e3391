"""The stage `leaks`: lists images that resemble one of a reference, a split or another warehouse.

docs/method.md, "Which images stay", defines the similarity. With `leaks.remove` the stage `prune`
removes these images (`leak_decisions`).
"""

from __future__ import annotations

from contextlib import ExitStack
from operator import attrgetter
from typing import Any

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.autoencoder.latents import frame_width
from jobs.duplicates import window_search
from jobs.duplicates.leak_decisions import leak_settings
from jobs.duplicates.pictures import pictured, pictures, pictures_of
from jobs.duplicates.rules import Rules
from jobs.duplicates.window_search import LeakScan, ReferenceWindow
from jobs.errors import JobError, SettingsError
from jobs.runtime.console import abbreviated
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import Rule
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import Store, open_store

VERSION = 3
SPLITS = "SELECT DISTINCT split FROM rows ORDER BY split NULLS LAST"


def main(stage_run: StageRun) -> None:
    """Table latents, or vectors → leaks: in the first space of `prune.space`."""
    settings = stage_run.settings
    other = stage_run.run.once(other_warehouse)
    with ExitStack() as stack:
        reference, candidates = compared(stage_run, other, stack)
        count = reference.count()
        if not count:
            raise JobError(
                f"leaks.warehouse = {other.root!r}: its table latents has no rows"
                if other
                else f"leaks.split = {list(settings.leaks.split)}: no image is of these splits"
            )
        hits = first_hits(reference, candidates, count, settings)
    table, _ = spaces.table_of(settings.prune.space[0])
    metadata = {"asked": leak_settings(settings), "latents": stage_run.inputs[table].output_id}
    rows = leak_rows(stage_run, hits, other.root if other else None)
    stage_run.write(rows, "leaks", metadata=metadata)
    summarise(stage_run, count)


def reads(run: RunContext) -> dict[str, str]:
    """The table with the vectors of the first space, and images where rules ask for a proof."""
    prune = run.settings.prune
    images = written_by("images") if prune.overlaps else {}
    return spaces.reads(prune.space[:1]) | images


def before(run: RunContext) -> None:
    """Raise JobError if the warehouse to compare with is not there."""
    run.once(other_warehouse)


def mistakes(run: RunContext) -> list[str]:
    """Return that none of the splits is one of the table `images`, if that is so."""
    named = run.settings.leaks.split
    if not named:
        return []
    rows = run.warehouse.query("images", SPLITS)
    splits = [row["split"] for row in rows if row["split"] is not None]
    if set(named) & set(splits):
        return []
    if not splits:
        there = "it has none: ingest.layout = split/label, or ingest.split_column for a table"
    else:
        there = f"it has {abbreviated(splits)}"
    return [f"leaks.split = {list(named)}: no image of the table images is of these; {there}"]


def depends(run: RunContext) -> NamedValues:
    """The settings of the search, and the state of the other warehouse where one is named."""
    other = run.once(other_warehouse)
    state = _state(other) if other else None
    leaks, prune = run.settings.leaks, run.settings.prune
    named = {
        "leaks.split": leaks.split,
        "leaks.warehouse": leaks.warehouse,
        "leaks.scope": leaks.scope,
        "leaks.latents_of_warehouse": state,
        "prune.thresholds": [*prune.fixed, *prune.overlaps],
        "prune.space": prune.space[0],
    }
    if prune.overlaps:
        named |= {
            "prune.candidates": prune.candidate_thresholds[prune.space[0]],
            "prune.proof": prune.proof,
            "prune.agreement": prune.agreement,
            "prune.tries": prune.tries,
            "prune.orientations": prune.orientations,
        }
    return NamedValues(named, hashed=[leak_settings(run.settings), state])


def other_warehouse(run: RunContext) -> Store | None:
    """The warehouse that `leaks.warehouse` names; None where it names none.

    Raises SettingsError where it is this run's own, or has no latents.
    """
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


def _state(other: Store) -> Any:
    """The fingerprint of the other warehouse's latents, or their version where there is none."""
    commit = other.newest("latents", "encode")
    return commit.fingerprint if commit else other.version("latents")


def compared(
    stage_run: StageRun, other: Store | None, stack: ExitStack
) -> tuple[DataFrame, DataFrame]:
    """The reference images and the candidates, which may resemble them, in the first space.

    They have their pictures where rules ask for a proof, until the stack ends.

    Raises JobError where the latents of the other warehouse cannot be compared with these.
    """
    prune, space = stage_run.settings.prune, stage_run.settings.prune.space[0]
    images = spaces.vectors(stage_run, [space])[space]
    if prune.overlaps:
        images = pictured(images, pictures(stage_run), stack)
    if other is None:
        splits = list(stage_run.settings.leaks.split)
        of_split = F.coalesce(F.col("split").isin(splits), F.lit(False))
        return images.where(of_split), images.where(~of_split)
    reference = other.read("latents", other.version("latents"))
    check_comparable(reference, stage_run.read("latents"), other.root)
    reference = spaces.vectors_of_other(stage_run.warehouse, other, space)
    if prune.overlaps:
        reference = pictured(reference, pictures_of(other), stack)
    return reference, images


def check_comparable(reference: DataFrame, latents: DataFrame, root: str) -> None:
    """Raise JobError where two tables of latents are not of one model and one kind of machine."""
    columns = ["model_id", "encoded_on"]
    rows = reference.select(columns).union(latents.select(columns)).distinct().collect()
    if len(rows) > 1:
        named = "; ".join(f"model {row.model_id}, {row.encoded_on}" for row in rows)
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


def first_hits(
    reference: DataFrame, candidates: DataFrame, count: int, settings: Settings
) -> pa.Table:
    """Rows of HITS: each candidate's first reference image, by rule; count: reference images."""
    rules, space = Rules.given(settings.prune), settings.prune.space[0]

    def compare(_: Column, window: Broadcast[ReferenceWindow]) -> pa.Table:
        by_label = settings.leaks.scope == "label"
        return LeakScan(rules, space, by_label, window).table(candidates)

    hits = arrow_frames.arrow_schema(window_search.HITS).empty_table()
    for table in window_search.each_window(reference, count, settings.prune.window, compare):
        hits = first_of(pa.concat_tables([hits, table]))
    return hits


def first_of(hits: pa.Table) -> pa.Table:
    """For each candidate and rule the hit of the smallest reference id, by its UTF-8 bytes.

    Of hits that were proved it is the most similar one.
    """
    is_proved = pa.compute.is_valid(hits.column("registration"))
    distance = pa.compute.negate(hits.column("similarity"))
    keys = hits.append_column("distance", pa.compute.if_else(is_proved, distance, 0.0))
    # Arrow compares strings by their bytes.
    by = [("distance", "ascending"), ("reference_id", "ascending")]
    ordered = hits.take(pa.compute.sort_indices(keys, by))
    rows = ordered.append_column("row", pa.array(range(len(ordered)), pa.int64()))
    firsts = rows.group_by(["image_id", "rule"]).aggregate([("row", "min")]).column("row_min")
    return ordered.take(firsts)


def leak_rows(stage_run: StageRun, hits: pa.Table, root: str | None) -> DataFrame:
    """Rows of the table `leaks`; root: of the other warehouse."""
    prune = stage_run.settings.prune
    threshold: Column = F.lit(None)
    for rule, value in prune.fixed.items():
        threshold = F.when(F.col("rule") == rule, F.lit(value)).otherwise(threshold)
    return (
        stage_run.spark.createDataFrame(hits, window_search.HITS)
        .withColumns(
            {
                "space": F.lit(prune.space[0]),
                "threshold": threshold.cast("double"),
                "reference_warehouse": F.lit(root).cast("string"),
            }
        )
        .select(tables.TABLES["leaks"].schema.names)
        .sort("label", "image_id", F.desc_nulls_first("threshold"), F.desc("rule"))
    )


def summarise(stage_run: StageRun, reference: int) -> None:
    """Set how many images leak at each rule; reference: the number of reference images."""
    rows = stage_run.query("leaks", "SELECT rule, count(*) AS images FROM rows GROUP BY rule")
    counts = {Rule.of(row["rule"]): int(row["images"]) for row in rows}
    ordered = sorted(counts, key=attrgetter("sort_key"))
    stage_run.rows |= {
        f"leaks_{rule.name if rule.threshold is None else rule.short}": counts[rule]
        for rule in ordered
    }
    shares = ", ".join(f"{counts[rule]:,} at {rule.short}" for rule in ordered)
    stage_run.summary = f"{reference:,} reference images; resembled by {shares or 'none'}"


STAGE = Stage(
    "leaks",
    main,
    reads=reads,
    writes=("leaks",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: settings.leaks.enabled,
    example_flags="--set 'leaks.split=[\"test\"]'",
    message_if_disabled=(
        "nothing to compare with: give leaks.split, such as ['test'], or leaks.warehouse"
    ),
    before=before,
    mistakes=mistakes,
)
