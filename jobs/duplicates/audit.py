"""The audit of a selection: both promises of spec §3, by another way than the one that pruned.

(a) Sampled kept images are compared with every latent of their group; what resembles them must not
be kept. (b) Of sampled removed images the keeper must be kept, in their group, and its similarity
above T and as stored. Where all fits into the sample, all is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import Prune
from jobs.warehouse import arrow_frames, tables
from udfs import arrow
from udfs.duplicates import audit

KEEPERS = arrow_frames.struct("image_id string, rule string, group string")
PAIRS = arrow_frames.struct("sample_id string, image_id string, group string, cosine double")
AGAIN = (
    "do not use this selection; prune again with --overwrite prune and prune.mode = all, and "
    "report it"
)
PARTS = 2**30  # of the range of hashes by which images are drawn


@dataclass(frozen=True)
class Sample:
    """Latents of sampled images by group, on their way to the executors."""

    ids: dict[str, list[str]]
    latents: dict[str, NDArray[np.float32]]
    lowest: dict[str, float]  # threshold

    def pairs(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Batches of latents to rows of PAIRS: who resembles a sampled image of the group."""
        for batch in batches:
            groups = batch.column("group")
            for group in groups.unique().to_pylist():
                if group in self.ids:
                    rows = batch.filter(pa.compute.equal(groups, group))
                    yield self._of_group(group, rows, schema)

    def _of_group(self, group: str, rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        latents = arrow.matrix(rows.column("latent"))
        above = self.lowest[group] + audit.TOLERANCE
        i, j, cosine = audit.pairs_above(self.latents[group], latents, above)
        columns = {
            "sample_id": pa.array(self.ids[group], pa.string()).take(pa.array(i)),
            "image_id": rows.column("image_id").take(pa.array(j)),
            "group": [group] * len(i),
            "cosine": cosine,
        }
        return arrow.record_batch(columns, schema)


def check(
    stage_run: StageRun,
    selection: DataFrame,
    latents: DataFrame,
    images: int,
    settings: Prune,
    reference: DataFrame | None = None,
) -> None:
    """Audit about `prune.audit` of so many images at every rule; write the table `audit`.

    images: in each space. selection: with the columns `group`, and `fixed`: images that stay though
    they resemble each other. latents: with their group. reference: images that justify a removal in
    any group, which `latents` may hold as well.

    Raises JobError naming an example where a promise is broken.
    """
    rows, similar, unjustified = [], [], []
    for space in settings.space:
        of_space = F.col("space") == space
        try:
            found = _Space.checked(
                selection.where(of_space), latents.where(of_space), images, settings, reference
            )
        except JobError:  # what passed earlier, of this fingerprint even, speaks for nothing now
            stage_run.write(tables.rows("audit", []), "audit", finished=False)
            raise
        rows += [
            {
                "rule": rule,
                "space": space,
                "threshold": given.threshold,
                "kept_checked": sum(row["rule"] == rule for row in found.stay),
                "pairs_checked": found.pairs.get(rule, 0),
                "removed_checked": sum(row["rule"] == rule for row in found.removed),
                "too_similar": sum(row["rule"] == rule for row in found.similar),
                "unjustified": sum(row["rule"] == rule for row in found.unjustified),
            }
            for rule, given in settings.rules.items()
        ]
        similar += found.similar
        unjustified += found.unjustified
    stage_run.write(tables.rows("audit", rows), "audit", finished=not (similar or unjustified))
    stage_run.rows["audited_kept"] = sum(row["kept_checked"] for row in rows)
    stage_run.rows["audited_pairs"] = sum(row["pairs_checked"] for row in rows)
    stage_run.rows["audited_removed"] = sum(row["removed_checked"] for row in rows)
    stage_run.rows["audit_violations"] = len(similar) + len(unjustified)
    for row in similar[:1]:
        raise JobError(
            f"the audit of {row['rule']} found {len(similar)} pairs of kept images above T, as "
            f"{row['sample_id']} and {row['image_id']} of {row['group']} ({row['cosine']:.15f}): "
            f"{AGAIN}"
        )
    for row in unjustified[:1]:
        raise JobError(
            f"the audit of {row['rule']} found {len(unjustified)} removals that nothing justifies, "
            f"as {row['image_id']} by {row['kept_id']}: {AGAIN}"
        )


@dataclass(frozen=True)
class _Space:
    """What was looked at in one space, and what was found wrong."""

    stay: list[dict[str, Any]]
    removed: list[dict[str, Any]]
    pairs: dict[str, int]
    similar: list[dict[str, Any]]
    unjustified: list[dict[str, Any]]

    @classmethod
    def checked(
        cls,
        selection: DataFrame,
        latents: DataFrame,
        images: int,
        settings: Prune,
        reference: DataFrame | None,
    ) -> Self:
        drawn = _drawn(F.col("image_id"), min(1.0, settings.audit / max(1, images)))
        chosen = [row.asDict() for row in selection.where(drawn).collect()]
        removed = [row for row in chosen if not row["kept"]]
        stay = [row for row in chosen if row["kept"]]
        table = _wanted(latents, stay, removed)
        counts = _kept_counts(selection, settings.rules, images)
        similar, pairs = _too_similar(selection, latents, table, stay, counts)
        others = _keepers(reference, removed)
        unjustified = _unjustified(selection, table, removed, others)
        return cls(stay, removed, pairs, similar, unjustified)


def _drawn(image_id: Column, share: float) -> Column:
    """Whether an image is in the sample: by a hash of its id, so always the same ones."""
    return F.pmod(F.xxhash64(F.lit("audit"), image_id), F.lit(PARTS)) < F.lit(int(share * PARTS))


def _wanted(
    latents: DataFrame, stay: list[dict[str, Any]], removed: list[dict[str, Any]]
) -> pa.Table:
    """Latents of the sampled images, and of those that removals among them name."""
    ids = {row["image_id"] for row in [*stay, *removed]} | {row["kept_id"] for row in removed}
    names = arrow_frames.ids(latents.sparkSession, ids)
    wanted = latents.join(F.broadcast(names), on="image_id")
    return wanted.select("image_id", "group", "latent").toArrow()


def _keepers(reference: DataFrame | None, removed: list[dict[str, Any]]) -> pa.Table | None:
    """Latents of the reference images that removals name."""
    if reference is None:
        return None
    names = arrow_frames.ids(reference.sparkSession, {row["kept_id"] for row in removed})
    wanted = reference.join(F.broadcast(names), on="image_id")
    return wanted.select("image_id", "latent").toArrow()


def _kept_counts(
    selection: DataFrame, rules: Iterable[str], images: int
) -> dict[tuple[str, str], int]:
    """Kept images by group and rule; raises JobError where a rule has not a row for each image."""
    counted = selection.groupBy("group", "rule").agg(
        F.count_distinct("image_id").alias("images"),
        F.count("*").alias("rows"),
        F.count_if("kept").alias("kept"),
    )
    rows = counted.collect()
    for rule in rules:
        of_rule = [row for row in rows if row["rule"] == rule]
        decided, decisions = (sum(row[what] for row in of_rule) for what in ("images", "rows"))
        if decided != images or decisions != images:
            raise JobError(
                f"the audit of {rule} found {decisions:,} decisions on {decided:,} of "
                f"{images:,} images: {AGAIN}"
            )
    return {(row["group"], row["rule"]): int(row["kept"]) for row in rows}


def _too_similar(
    selection: DataFrame,
    latents: DataFrame,
    table: pa.Table,
    stay: list[dict[str, Any]],
    counts: dict[tuple[str, str], int],
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Pairs of kept images above T, one of them sampled; by rule how many pairs were compared.

    Only kept images are in the sample: few of a group in which all resemble each other.
    """
    kept = selection.where("kept").select("image_id", "group", "rule", "threshold", "fixed")
    pairs: dict[str, int] = {}
    for row in stay:
        others = counts[row["group"], row["rule"]] - 1
        pairs[row["rule"]] = pairs.get(row["rule"], 0) + others
    ids = pa.array([row["image_id"] for row in stay], pa.string())
    sampled = table.filter(pa.compute.is_in(table.column("image_id"), ids))
    if not sampled.num_rows:
        return [], pairs
    lowest: dict[str, float] = {}
    for row in stay:
        threshold = 1.0 if row["threshold"] is None else row["threshold"]
        lowest[row["group"]] = min(threshold, lowest.get(row["group"], 1.0))
    sample = _by_group(sampled, lowest)
    found = arrow_frames.mapped(latents.select("image_id", "group", "latent"), sample.pairs, PAIRS)
    first = kept.withColumnsRenamed({"image_id": "sample_id", "fixed": "sample_fixed"})
    both = (
        found.where("sample_id <> image_id")
        .join(first, on=["sample_id", "group"])
        .where(F.col("cosine") > F.col("threshold") + audit.TOLERANCE)
        .join(kept.drop("threshold"), on=["image_id", "group", "rule"])
        .where("NOT (fixed AND sample_fixed)")
    )
    rows = both.select("rule", "group", "sample_id", "image_id", "cosine").collect()
    return [row.asDict() for row in rows], pairs


def _by_group(sampled: pa.Table, lowest: dict[str, float]) -> Sample:
    ids: dict[str, list[str]] = {}
    matrices: dict[str, NDArray[np.float32]] = {}
    groups = sampled.column("group")
    for group in groups.unique().to_pylist():
        rows = sampled.filter(pa.compute.equal(groups, group))
        ids[group] = rows.column("image_id").to_pylist()
        matrices[group] = np.array(arrow.matrix(rows.column("latent")))
    return Sample(ids, matrices, lowest)


def _unjustified(
    selection: DataFrame,
    table: pa.Table,
    removed: list[dict[str, Any]],
    others: pa.Table | None = None,
) -> list[dict[str, Any]]:
    """Removals without a kept image of their group, or a reference, above T and as stored."""
    if not removed:
        return []
    keepers = {(row["kept_id"], row["rule"], row["group"]) for row in removed}
    named = arrow_frames.frame(selection.sparkSession, keepers, KEEPERS)
    kept = selection.where("kept").join(F.broadcast(named), on=["image_id", "rule", "group"])
    standing = {(row["image_id"], row["rule"], row["group"]) for row in kept.collect()}
    columns = ["image_id", "latent"]
    referred = set(others.column("image_id").to_pylist()) if others else set()
    table = pa.concat_tables([table.select(columns), *([others] if others else [])])
    place = {name: i for i, name in enumerate(table.column("image_id").to_pylist())}
    matrix = arrow.matrix(table.column("latent"))
    known = [row for row in removed if row["image_id"] in place and row["kept_id"] in place]
    cosine = audit.cosines(
        matrix[[place[row["image_id"]] for row in known]],
        matrix[[place[row["kept_id"]] for row in known]],
    )
    wrong = [row for row in removed if row["image_id"] not in place or row["kept_id"] not in place]
    for row, found in zip(known, cosine.tolist(), strict=True):
        stands = (row["kept_id"], row["rule"], row["group"]) in standing
        stands |= row["kept_id"] in referred
        above = found > row["threshold"] - audit.TOLERANCE
        said = row["similarity"]
        stored = said is not None and abs(found - said) <= audit.TOLERANCE
        if not (stands and above and stored):
            wrong.append(row)
    return wrong
