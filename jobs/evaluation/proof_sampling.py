"""Draws pairs to be labelled among those that `prune` registered, in strata of their registration.

Use it where the published rule asks for a proof: the labels then tell how precise such rules are,
and what they miss among the pairs that were tried (docs/method.md, "How alike a class is").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from jobs.evaluation.pair_sampling import SamplingPlan
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import Prune
from jobs.settings.evaluation import Calibrate
from jobs.warehouse import arrow_frames
from udfs.evaluation import strata
from udfs.registration import Alignments, proved

# Columns of `alignments`, but for one that earlier versions did not write and no proof needs.
FIELDS = [field.name for field in fields(Alignments) if field.name != "overlap_half"]
SHOWN = ("registration", "agreement", "overlap")  # of them, those that `pairs` has too
NUMBERS = arrow_frames.struct("label string, stratum int, number int")


def registered_pairs(stage_run: StageRun, prune: Prune, space: str) -> DataFrame:
    """The pairs of one class in `alignments` that the candidates of a space are today.

    Both images still show what they showed when they were registered. A pair that was registered
    both ways is there once.
    """
    images = stage_run.read("images")
    image, other = (
        images.select(
            F.col("image_id").alias(f"{name}_id"),
            F.col("pixels_sha256").alias(f"{name}_content"),
            F.col("label").alias(label),
        )
        for name, label in (("image", "label"), ("other", "other_label"))
    )
    proposed = (F.col("space") == space) & (F.col("similarity") > prune.candidate_thresholds[space])
    rows = (
        stage_run.read("alignments")
        .where(proposed & F.col("registration").isNotNull())
        .join(image, on=["image_id", "image_content"], how="inner")
        .join(other, on=["other_id", "other_content"], how="inner")
        .where("label = other_label")
    )
    ends = (F.least("image_id", "other_id"), F.greatest("image_id", "other_id"))
    turn = F.row_number().over(Window.partitionBy(*ends).orderBy("image_id"))
    columns = ("label", "image_id", "other_id", "similarity", *FIELDS)
    return rows.withColumn("turn", turn).where("turn = 1").select(*columns)


def draw_registered_pairs(
    stage_run: StageRun, prune: Prune, settings: Calibrate, space: str
) -> list[dict[str, Any]]:
    """Return the rows of the table `pairs`; none where no pair lies above the lowest edge."""
    edges = strata.registration_edges(prune.proof)
    pairs = registered_pairs(stage_run, prune, space).where(F.col("registration") > edges[0])
    pairs = pairs.withColumn("stratum", _stratum(edges)).persist(StorageLevel.DISK_ONLY)
    try:
        classes = _classes(pairs, len(edges) - 1)
        plan = SamplingPlan.of(classes, edges, settings.pairs, settings.seed)
        numbers = [
            (label, stratum, number)
            for label, of_class in plan.pairs.items()
            for stratum, number in enumerate(of_class)
            if number
        ]
        frame = arrow_frames.frame(pairs.sparkSession, numbers, NUMBERS)
        drawn = _first(pairs, settings.seed).join(F.broadcast(frame), on=["label", "stratum"])
        return _rows(drawn.where("turn <= number").collect(), plan, prune, space)
    finally:
        pairs.unpersist()


def _stratum(edges: Sequence[float]) -> Column:
    """The stratum of a pair above the lowest edge: edges[s] < R ≤ edges[s + 1]."""
    passed = [(F.col("registration") > edge).cast("int") for edge in edges[1:-1]]
    return sum(passed, F.lit(0)).alias("stratum")


def _classes(pairs: DataFrame, count: int) -> list[Row]:
    """How many pairs each class has in each of `count` strata, as `SamplingPlan.of` takes it.

    All pairs are known, so each stands for itself: the classes count as not sampled.
    """
    numbers = F.array(*(F.count_if(F.col("stratum") == s) for s in range(count)))
    counted = pairs.groupBy("label").agg(numbers.alias("population"))
    return counted.withColumns({"n": F.lit(2), "sampled": F.lit(2)}).collect()


def _first(pairs: DataFrame, seed: int) -> DataFrame:
    """The pairs with the column `turn`: their rank in class and stratum by a hash of both ids."""
    ends = (F.least("image_id", "other_id"), F.greatest("image_id", "other_id"))
    digest = F.sha2(F.concat_ws("|", F.lit(seed), *ends), 256)
    order = Window.partitionBy("label", "stratum").orderBy(digest, *ends)
    return pairs.withColumn("turn", F.row_number().over(order))


def _rows(
    drawn: Sequence[Row], plan: SamplingPlan, prune: Prune, space: str
) -> list[dict[str, Any]]:
    """Rows of `pairs`, with the evidence, and whether it is a proof."""
    if not drawn:
        return []
    columns = {name: np.array([_number(row[name]) for row in drawn]) for name in FIELDS}
    columns["overlap_half"] = np.zeros(len(drawn))
    proofs = proved(Alignments(**columns), prune.proof, prune.agreement).tolist()
    evidence = {
        (row.image_id, row.other_id): {name: row[name] for name in SHOWN} | {"proved": proof}
        for row, proof in zip(drawn, proofs, strict=True)
    }
    rows = plan.table(drawn, space)
    return [row | evidence[row["image_id"], row["other_id"]] for row in rows]


def _number(value: float | None) -> float:
    """A value of an alignment; NaN where it has none, which the table holds as null."""
    return math.nan if value is None else value
