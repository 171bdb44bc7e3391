"""similarities: how alike the images of each class are, and pairs to be labelled (spec §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import groups
from jobs.errors import JobError, SettingsError
from jobs.evaluation.pair_labels import common, found_by
from jobs.evaluation.pair_sampling import COMPARED, DRAWN, Comparing, Plan, members
from jobs.runtime.stage import RunContext, Stage, StageRun
from jobs.settings.duplicates import Prune
from jobs.settings.evaluation import Calibrate
from jobs.settings.model import published_space
from jobs.warehouse import arrow_frames, tables
from udfs.evaluation import strata

VERSION = 1
SIMILARITIES = tables.TABLES["similarities"].schema.names
QUARTILES = (0.25, 0.5, 0.75)


def main(stage_run: StageRun) -> None:
    """Tables latents, vectors and thresholds → similarities, pairs."""
    prune = within_classes(stage_run.run)
    space = published_space(stage_run.settings)
    settings = stage_run.settings.calibrate
    compare(stage_run, marked(stage_run, prune), prune, settings, space)


def within_classes(run: RunContext) -> Prune:
    """The settings of prune, for classes whatever it compares within.

    The order says whose similarities the heat map shows.
    """
    return replace(run.settings.prune, group_by=("label",), never_across=(), protect="")


def depends(run: RunContext) -> dict[str, Any]:
    """The spaces, the images that are compared, and the pairs that are drawn of them.

    Raises SettingsError where the published space is not computed.
    """
    prune, settings = within_classes(run), run.settings.calibrate
    space = published_space(run.settings)
    if space not in prune.space:
        raise SettingsError(
            f"publish.space = {space!r}: not among the computed spaces ({', '.join(prune.space)})"
        )
    return {
        "spaces": [prune.space, space],
        "images": [prune.seed, prune.order],
        "pairs": [settings.pairs, settings.seed],
    }


def reads(prune: Prune) -> dict[str, str]:
    """The tables, and the stages that write them."""
    found = spaces.reads(prune.space) | {"thresholds": "prune"}
    if groups.needs_images(prune):
        found |= {"images": "ingest"}
    if groups.DENSITY in groups.order_columns(prune.order):
        found |= {"projections": "project"}
    return found


def marked(stage_run: StageRun, prune: Prune) -> DataFrame:
    """What is compared, with its class as group, and its order."""
    images = stage_run.read("images") if "images" in stage_run.reads else None
    projections = stage_run.read("projections") if "projections" in stage_run.reads else None
    return groups.grouped(spaces.vectors(stage_run, prune.space), images, projections, prune)


def compare(
    stage_run: StageRun, rows: DataFrame, prune: Prune, settings: Calibrate, space: str
) -> None:
    """Compare the images of each class once; write both tables."""
    counts = {row["group"]: int(row["count"]) for row in rows.groupBy("group").count().collect()}
    stage_run.images = sum(counts.values())
    by_rule = found_by(stage_run, space)
    if counts and not by_rule:
        raise JobError(
            f"the table thresholds has none of the space {space}: run ./spark-submit.sh prune with "
            "these settings first"
        )
    edges = strata.edges(thresholds(by_rule))
    comparing = Comparing(counts, space, edges, settings.pairs, settings.seed)
    found = arrow_frames.mapped(members(rows, counts, prune), comparing.rows, COMPARED)
    kept = found.persist(StorageLevel.DISK_ONLY)
    try:
        stage_run.write(kept.select(*SIMILARITIES), "similarities")
        pairs = drawn(kept.where(F.col("space") == space), edges, settings, space)
        stage_run.write(tables.rows("pairs", pairs), "pairs")
        compared = kept.agg(F.sum(F.expr("aggregate(counts, 0L, (a, b) -> a + b)"))).collect()
    finally:
        kept.unpersist()
    similarities = int(compared[0][0] or 0)
    stage_run.rows |= {"similarities": similarities, "pairs": len(pairs)}
    held = len({pair["low"] for pair in pairs})
    stage_run.summary = f"{similarities:,} similarities; {len(pairs)} pairs to label, {held} strata"


def thresholds(by_rule: Mapping[str, Sequence[float]]) -> list[float]:
    """Each T that holds in all classes; where no rule has one, quartiles of those found."""
    alike = common(by_rule)
    if alike or not by_rule:
        return sorted(set(alike.values()))
    apart = [np.quantile(by_rule[rule], QUARTILES) for rule in sorted(by_rule)]
    return [float(round(value, 4)) for value in np.concatenate(apart)]


def drawn(
    kept: DataFrame, edges: Sequence[float], settings: Calibrate, space: str
) -> list[dict[str, object]]:
    """Rows of the table `pairs`; none where no T is below 1."""
    if not edges:
        return []
    rows = kept.select("label", "n", "sampled", "population").collect()
    plan = Plan.of(rows, edges, settings.pairs, settings.seed)
    some = kept.where(F.col("label").isin(plan.labels))
    columns = some.select("label", "first", "second", "stratum", "similarity")
    return plan.table(arrow_frames.mapped(columns, plan.rows, DRAWN).collect(), space)


STAGE = Stage(
    "similarities",
    main,
    reads=lambda run: reads(within_classes(run)),
    writes=("similarities", "pairs"),
    depends=depends,
    version=VERSION,
)
