"""The stage `similarities`: computes how alike the images of each class are, and draws pairs.

People label the pairs, and the stage `calibrate` estimates from the labels how precise a threshold
is (docs/method.md, "How alike a class is").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import groups
from jobs.errors import JobError, SettingsError
from jobs.evaluation.pair_labels import shared_thresholds, thresholds_by_rule
from jobs.evaluation.pair_sampling import (
    DRAWN_PAIRS,
    SIMILARITIES_AND_PAIRS,
    ClassComparison,
    SamplingPlan,
    sampled_images,
)
from jobs.evaluation.proof_sampling import draw_registered_pairs
from jobs.runtime.concurrently import gather
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun
from jobs.settings.duplicates import Prune, asks_for_proof
from jobs.settings.evaluation import Calibrate
from jobs.settings.model import Settings, published_space
from jobs.warehouse import arrow_frames, tables
from udfs.evaluation import strata

VERSION = 2
SIMILARITIES = tables.TABLES["similarities"].schema.names
QUARTILES = (0.25, 0.5, 0.75)


def main(stage_run: StageRun) -> None:
    """Compare the images of each class, and write the tables `similarities` and `pairs`."""
    prune = within_classes(stage_run.run)
    compare(stage_run, candidates(stage_run, prune), prune)


def by_proof(settings: Settings) -> bool:
    """Whether the published rule asks for a proof: pairs are drawn in strata of registration."""
    return asks_for_proof(settings.publish.rule)


def within_classes(run: RunContext) -> Prune:
    """Return the settings of prune for comparisons within classes, whatever its groups are.

    Its order decides whose similarities the heat map shows.
    """
    return replace(run.settings.prune, group_by=("label",), never_across=(), protect="")


def depends(run: RunContext) -> dict[str, Any]:
    """Return what decides the spaces, the images that are compared, and the pairs that are drawn.

    Raises SettingsError if the published space is not computed.
    """
    prune, settings = within_classes(run), run.settings.calibrate
    space = published_space(run.settings)
    if space not in prune.space:
        raise SettingsError(
            f"publish.space = {space!r}: not among the computed spaces ({', '.join(prune.space)})"
        )
    return {
        "spaces": NamedValues(
            {"prune.space": prune.space, "publish.space": space}, hashed=[prune.space, space]
        ),
        "images": NamedValues(
            {"prune.seed": prune.seed, "prune.order": prune.order}, hashed=[prune.seed, prune.order]
        ),
        "pairs": NamedValues(
            {"calibrate.pairs": settings.pairs, "calibrate.seed": settings.seed},
            hashed=[settings.pairs, settings.seed],
        ),
        **_proof(run.settings),
    }


def _proof(settings: Settings) -> dict[str, Any]:
    """Return what decides which pairs are proved; nothing where they are drawn by similarity."""
    prune = settings.prune
    if not by_proof(settings):
        return {}
    named = {
        "prune.candidates": prune.candidate_thresholds[published_space(settings)],
        "prune.proof": prune.proof,
        "prune.agreement": prune.agreement,
    }
    return {"proof": NamedValues(named, hashed=list(named.values()))}


def reads(run: RunContext) -> dict[str, str]:
    """Return the tables that are read, with the stages that write them."""
    prune, proof = within_classes(run), by_proof(run.settings)
    inputs = spaces.reads(prune.space) | {"thresholds": "prune"}
    if proof:
        inputs |= {"alignments": "prune"}
    if proof or groups.needs_images(prune):
        inputs |= {"images": "ingest"}
    if groups.DENSITY in groups.order_columns(prune.order):
        inputs |= {"projections": "project"}
    return inputs


def candidates(stage_run: StageRun, prune: Prune) -> DataFrame:
    """Return the images with their vectors in each space, their class as group, and their order."""
    images = stage_run.read("images") if groups.needs_images(prune) else None
    projections = stage_run.read("projections") if "projections" in stage_run.reads else None
    return groups.grouped(spaces.vectors(stage_run, prune.space), images, projections, prune)


def compare(stage_run: StageRun, rows: DataFrame, prune: Prune) -> None:
    """Compare the images of each class once, and write both tables.

    The pairs to be labelled come from the same comparison, or from what was registered.
    """
    space, settings = published_space(stage_run.settings), stage_run.settings.calibrate
    proof = by_proof(stage_run.settings)
    counts = {row["group"]: int(row["count"]) for row in rows.groupBy("group").count().collect()}
    stage_run.progress_total = sum(counts.values())
    edges = [] if proof else similarity_edges(stage_run, space, needed=bool(counts))
    comparison = ClassComparison(counts, space, edges, settings.pairs, settings.seed)
    compared = arrow_frames.mapped(
        sampled_images(rows, counts, prune), comparison.rows, SIMILARITIES_AND_PAIRS
    ).persist(StorageLevel.DISK_ONLY)
    cells = compared.agg(F.sum(F.expr("aggregate(counts, 0L, (a, b) -> a + b)")))
    try:
        stage_run.write(compared.select(*SIMILARITIES), "similarities")
        if proof:
            draw = partial(draw_registered_pairs, stage_run, prune, settings, space)
        else:
            in_space = compared.where(F.col("space") == space)
            draw = partial(draw_pairs, in_space, edges, settings, space)
        pairs, total = gather(draw, cells.collect)
        stage_run.write(tables.rows("pairs", pairs), "pairs")
    finally:
        compared.unpersist()
    similarities = int(total[0][0] or 0)
    stage_run.rows |= {"similarities": similarities, "pairs": len(pairs)}
    filled = len({pair["low"] for pair in pairs})
    stage_run.summary = (
        f"{similarities:,} similarities; {len(pairs)} pairs to label, {filled} strata"
    )


def similarity_edges(stage_run: StageRun, space: str, *, needed: bool) -> list[float]:
    """Return the edges of the strata of similarity.

    needed: whether there are images. Raises JobError where there are, but no threshold.
    """
    by_rule = thresholds_by_rule(stage_run, space)
    if needed and not by_rule:
        raise JobError(
            f"the table thresholds has none of the space {space}: run ./spark-submit.sh prune with "
            "these settings first"
        )
    return strata.edges(stratum_thresholds(by_rule))


def stratum_thresholds(by_rule: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the thresholds that divide the similarities into strata.

    They are each T that all classes share; if no rule has one, the quartiles of each rule's.
    """
    shared = shared_thresholds(by_rule)
    if shared or not by_rule:
        return sorted(set(shared.values()))
    quartiles = [np.quantile(by_rule[rule], QUARTILES) for rule in sorted(by_rule)]
    return [float(round(value, 4)) for value in np.concatenate(quartiles)]


def draw_pairs(
    compared: DataFrame, edges: Sequence[float], settings: Calibrate, space: str
) -> list[dict[str, object]]:
    """Return the rows of the table `pairs`; none if no T is below 1: there are no strata then."""
    if not edges:
        return []
    classes = compared.select("label", "n", "sampled", "population").collect()
    plan = SamplingPlan.of(classes, edges, settings.pairs, settings.seed)
    sampled = compared.where(F.col("label").isin(plan.labels))
    columns = sampled.select("label", "first", "second", "stratum", "similarity")
    return plan.table(arrow_frames.mapped(columns, plan.rows, DRAWN_PAIRS).collect(), space)


STAGE = Stage(
    "similarities",
    main,
    reads=reads,
    writes=("similarities", "pairs"),
    depends=depends,
    version=VERSION,
)
