"""The audit of a selection: both promises of spec §3, by another way than the one that pruned.

(a) Sampled kept images are compared with every latent of their class; what resembles them must not
be kept. (b) Of sampled removed images the keeper must be kept, in their class, and its similarity
above T and as stored. Where all fits into the sample, all is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.common import schemas
from jobs.common.run import Work
from jobs.common.storage import JobError
from udfs import audit, frames

PAIRS = schemas.struct("sample_id string, image_id string, label string, cosine double")
PARTS = 2**30  # of the range of hashes by which images are drawn
AUDIT = schemas.TABLES["audit"].schema


@dataclass(frozen=True)
class Sample:
    """Latents of sampled images by class, on their way to the executors."""

    ids: dict[str, list[str]]
    latents: dict[str, NDArray[np.float32]]
    threshold: float

    def pairs(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Batches of latents to rows of PAIRS: who resembles a sampled image of the class."""
        for batch in batches:
            labels = batch.column("label")
            for label in labels.unique().to_pylist():
                if label in self.ids:
                    rows = batch.filter(pa.compute.equal(labels, label))
                    yield self._of_class(label, rows, schema)

    def _of_class(self, label: str, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        latents = frames.matrix(rows.column("latent"))
        i, j, cosine = audit.resembling(self.latents[label], latents, self.threshold)
        columns = {
            "sample_id": pa.array(self.ids[label], pa.string()).take(pa.array(i)),
            "image_id": rows.column("image_id").take(pa.array(j)),
            "label": [label] * len(i),
            "cosine": cosine,
        }
        return frames.record_batch(columns, schema)


def check(
    work: Work,
    selection: DataFrame,
    latents: DataFrame,
    rules: dict[str, float],
    images: int,
    size: int,
) -> None:
    """Audit about `size` of so many images at every rule; write the table `audit`.

    Raises JobError naming an example where a promise is broken.
    """
    drawn = _drawn(F.col("image_id"), min(1.0, size / max(1, images)))
    removed = [row.asDict() for row in selection.where(~F.col("kept")).where(drawn).collect()]
    table = _wanted(latents, drawn, removed)
    similar, kept, pairs = _too_similar(selection, latents, table, min(rules.values()), drawn)
    unjustified = _unjustified(selection, table, removed)
    rows = [
        {
            "rule": rule,
            "space": work.run.settings.prune.space[0],
            "threshold": threshold,
            "kept_checked": kept.get(rule, 0),
            "pairs_checked": pairs.get(rule, 0),
            "removed_checked": sum(row["rule"] == rule for row in removed),
            "too_similar": sum(row["rule"] == rule for row in similar),
            "unjustified": sum(row["rule"] == rule for row in unjustified),
        }
        for rule, threshold in rules.items()
    ]
    frame = work.run.spark.createDataFrame(rows, AUDIT)
    work.write(frame, "audit", finished=not (similar or unjustified))
    work.rows["audited_kept"] = sum(row["kept_checked"] for row in rows)
    work.rows["audited_pairs"] = sum(row["pairs_checked"] for row in rows)
    work.rows["audited_removed"] = sum(row["removed_checked"] for row in rows)
    work.rows["audit_violations"] = len(similar) + len(unjustified)
    for row in similar[:1]:
        raise JobError(
            f"the audit of {row['rule']} found {len(similar)} pairs of kept images above T, as "
            f"{row['sample_id']} and {row['image_id']} of {row['label']} ({row['cosine']:.15f}): "
            "do not use this selection; prune again with --overwrite prune, and report it"
        )
    for row in unjustified[:1]:
        raise JobError(
            f"the audit of {row['rule']} found {len(unjustified)} removals that nothing justifies, "
            f"as {row['image_id']} by {row['kept_id']}: do not use this selection; prune again "
            "with --overwrite prune, and report it"
        )


def _drawn(image_id: Column, share: float) -> Column:
    """Whether an image is in the sample: by a hash of its id, so always the same ones."""
    return F.pmod(F.xxhash64(F.lit("audit"), image_id), F.lit(PARTS)) < F.lit(int(share * PARTS))


def _wanted(latents: DataFrame, drawn: Column, removed: list[dict[str, Any]]) -> pa.Table:
    """Latents of the sample (`drawn` true), and of those that removals in it name."""
    ids = {row["kept_id"] for row in removed}
    names = latents.sparkSession.createDataFrame([(name,) for name in ids], "image_id string")
    marked = latents.join(
        F.broadcast(names.withColumn("named", F.lit(True))), on="image_id", how="left"
    )
    marked = marked.select("image_id", "label", drawn.alias("drawn"), "named", "latent")
    return marked.where("drawn OR named").drop("named").toArrow()


def _too_similar(
    selection: DataFrame, latents: DataFrame, table: pa.Table, lowest: float, drawn: Column
) -> tuple[list[dict[str, Any]], dict[str, int], dict[str, int]]:
    """Pairs of kept images above T; by rule how many kept images and pairs were compared."""
    kept = selection.where("kept").select("image_id", "label", "rule", "threshold")
    by_class = kept.groupBy("label", "rule").agg(
        F.count("*").alias("kept"), F.count_if(drawn).alias("sampled")
    )
    checked: dict[str, int] = {}
    pairs: dict[str, int] = {}
    for row in by_class.collect():
        checked[row["rule"]] = checked.get(row["rule"], 0) + row["sampled"]
        pairs[row["rule"]] = pairs.get(row["rule"], 0) + row["sampled"] * (row["kept"] - 1)
    sampled = table.filter(pa.compute.field("drawn"))
    if not sampled.num_rows:
        return [], checked, pairs
    sample = _by_class(sampled, lowest + audit.TOLERANCE)
    found = latents.select("image_id", "label", "latent").mapInArrow(
        partial(sample.pairs, schema=schemas.arrow_schema(PAIRS)), PAIRS
    )
    first = kept.withColumnRenamed("image_id", "sample_id")
    both = (
        found.where("sample_id <> image_id")
        .join(first, on=["sample_id", "label"])
        .where(F.col("cosine") > F.col("threshold") + audit.TOLERANCE)
        .join(kept.drop("threshold"), on=["image_id", "label", "rule"])
    )
    rows = both.select("rule", "label", "sample_id", "image_id", "cosine").collect()
    return [row.asDict() for row in rows], checked, pairs


def _by_class(sampled: pa.Table, threshold: float) -> Sample:
    ids: dict[str, list[str]] = {}
    matrices: dict[str, NDArray[np.float32]] = {}
    labels = sampled.column("label")
    for label in labels.unique().to_pylist():
        rows = sampled.filter(pa.compute.equal(labels, label))
        ids[label] = rows.column("image_id").to_pylist()
        matrices[label] = np.array(frames.matrix(rows.column("latent")))
    return Sample(ids, matrices, threshold)


def _unjustified(
    selection: DataFrame, table: pa.Table, removed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Removals without a kept image of their class above T at the stored similarity."""
    if not removed:
        return []
    named = selection.sparkSession.createDataFrame(
        [(row["kept_id"], row["rule"], row["label"]) for row in removed],
        "image_id string, rule string, label string",
    ).distinct()
    kept = selection.where("kept").join(F.broadcast(named), on=["image_id", "rule", "label"])
    standing = {(row["image_id"], row["rule"], row["label"]) for row in kept.collect()}
    place = {name: i for i, name in enumerate(table.column("image_id").to_pylist())}
    matrix = frames.matrix(table.column("latent"))
    known = [row for row in removed if row["image_id"] in place and row["kept_id"] in place]
    cosine = audit.cosines(
        matrix[[place[row["image_id"]] for row in known]],
        matrix[[place[row["kept_id"]] for row in known]],
    )
    wrong = [row for row in removed if row["image_id"] not in place or row["kept_id"] not in place]
    for row, found in zip(known, cosine.tolist(), strict=True):
        stands = (row["kept_id"], row["rule"], row["label"]) in standing
        above = found > row["threshold"] - audit.TOLERANCE
        stored = abs(found - row["similarity"]) <= audit.TOLERANCE
        if not (stands and above and stored):
            wrong.append(row)
    return wrong
