"""The audit of a selection: samples of what it promises are checked by other code than decided it.

docs/method.md, "Which images stay", makes two promises. (a) No two kept images of a group have
Sim > T: sampled kept images are compared with all latents of their group. (b) Every removed image
has a kept image with Sim > T: for sampled removed images, the keeper must be a kept image of their
group, and the similarity must be above T and equal to the stored one. Where the sample is large
enough to hold all images, all are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, Self

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.audit_tasks import SIMILAR, SampledLatents
from jobs.duplicates.proof_audit import ProofAudit
from jobs.errors import JobError
from jobs.runtime.concurrently import gather
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import OVERLAP, Prune, Rule
from jobs.settings.terminal import visible_name
from jobs.warehouse import arrow_frames, tables
from udfs import arrow
from udfs.duplicates import audit

Rows = list[dict[str, Any]]
KEEPERS = arrow_frames.struct("image_id string, rule string, group string")
SAMPLED_KEPT = arrow_frames.struct(
    "sample_id string, group string, rule string, threshold double, sample_fixed boolean"
)
SAMPLED = itemgetter("image_id", "group", "rule", "threshold", "fixed")  # of a row of `selection`
ADVICE = (
    "do not use this selection; prune again with --overwrite prune and prune.mode = all, and "
    "report it"
)
PARTS = 2**30  # parts of the range of hashes, by which images are drawn


def check(
    stage_run: StageRun,
    selection: DataFrame,
    latents: DataFrame,
    images: int,
    settings: Prune,
    reference: DataFrame | None = None,
    proofs: ProofAudit | None = None,
) -> None:
    """Audit about `prune.audit` images at every rule, and write the table `audit`.

    Args:
        stage_run: the stage that writes the table.
        selection: with the columns `group`, and `fixed`: images that are kept though they may
            resemble each other.
        latents: all images with their group.
        images: how many there are in each space.
        settings: the section [prune].
        reference: images that justify a removal in any group; `latents` may hold them as well.
        proofs: where rules ask for a proof.

    Raises JobError naming an example where a promise is broken.
    """
    rows: Rows = []
    similar: Rows = []
    unjustified: Rows = []
    for space in settings.space:
        in_space = F.col("space") == space
        try:
            checked = SpaceAudit.of(
                space,
                selection.where(in_space),
                latents.where(in_space),
                images,
                settings,
                reference,
                proofs,
            )
        except JobError:  # an earlier audit, even with this fingerprint, says nothing any more
            stage_run.write(tables.rows("audit", []), "audit", finished=False)
            raise
        exhausted = proofs.exhausted if proofs else {}
        rows += [
            checked.row(rule, space, exhausted.get((space, rule.name), 0))
            for rule in settings.rules.values()
        ]
        similar += checked.similar
        unjustified += checked.unjustified
    stage_run.write(tables.rows("audit", rows), "audit", finished=not (similar or unjustified))
    stage_run.rows["audited_kept"] = sum(row["kept_checked"] for row in rows)
    stage_run.rows["audited_pairs"] = sum(row["pairs_checked"] for row in rows)
    stage_run.rows["audited_removed"] = sum(row["removed_checked"] for row in rows)
    stage_run.rows["audit_violations"] = len(similar) + len(unjustified)
    _raise_violations(similar, unjustified)


def _raise_violations(similar: Rows, unjustified: Rows) -> None:
    """Raise JobError with the first violation as an example, if there is one."""
    for row in similar[:1]:
        by_proof = row["rule"].startswith(f"{OVERLAP}:")
        raise JobError(
            f"the audit of {row['rule']} found {len(similar)} pairs of kept images "
            f"{'that are proved near-copies' if by_proof else 'above T'}, as "
            f"{visible_name(row['sample_id'])} and {visible_name(row['image_id'])} of "
            f"{visible_name(str(row['group']))} ({row['cosine']:.15f}): {ADVICE}"
        )
    for row in unjustified[:1]:
        raise JobError(
            f"the audit of {row['rule']} found {len(unjustified)} removals that nothing justifies, "
            f"as {visible_name(row['image_id'])} by {visible_name(row['kept_id'])}: {ADVICE}"
        )


@dataclass(frozen=True)
class SpaceAudit:
    """What was checked in one space, and the violations.

    kept, removed: the sampled rows of the selection. pairs: how many pairs of kept images were
    compared, by rule. similar: pairs of kept images above T, or proved to be near-copies.
    unjustified: removals without cause.
    """

    kept: Rows
    removed: Rows
    pairs: dict[str, int]
    similar: Rows
    unjustified: Rows

    @classmethod
    def of(
        cls,
        space: str,
        selection: DataFrame,
        latents: DataFrame,
        images: int,
        settings: Prune,
        reference: DataFrame | None,
        proofs: ProofAudit | None = None,
    ) -> Self:
        """Audit one space; see `check`."""
        sampled = is_sampled(F.col("image_id"), min(1.0, settings.audit / max(1, images)))
        rows = [row.asDict() for row in selection.where(sampled).collect()]
        kept = [row for row in rows if row["kept"]]
        removed = [row for row in rows if not row["kept"]]
        table, counts, keepers = gather(
            partial(latents_of, latents, kept, removed),
            partial(kept_counts, selection, settings.rules, images),
            partial(keeper_latents, reference, removed),
        )
        candidates = settings.candidate_thresholds
        compare = partial(similar_kept_pairs, selection, latents, table, kept, counts)
        justify = partial(unjustified_removals, selection, table, removed, keepers, candidates)
        if proofs is None:
            (similar, pairs), unjustified = gather(compare, justify)
            return cls(kept, removed, pairs, similar, unjustified)
        references = set(keepers.column("image_id").to_pylist()) if keepers else set()
        by_proof = [row for row in removed if row["rule"] in settings.overlaps]
        (similar, pairs), unjustified, (near, registered), unproved = gather(
            compare,
            justify,
            partial(similar_by_proof, selection, latents, table, kept, candidates[space], proofs),
            partial(proofs.unproved, by_proof, references),
        )
        wrong = {(row["image_id"], row["rule"]) for row in unjustified}
        unproved = [row for row in unproved if (row["image_id"], row["rule"]) not in wrong]
        return cls(kept, removed, pairs | registered, similar + near, unjustified + unproved)

    def row(self, rule: Rule, space: str, exhausted: int = 0) -> dict[str, Any]:
        """The row of a rule in the table `audit`; exhausted: images that used up their tries."""

        def count(rows: Rows) -> int:
            return sum(row["rule"] == rule.name for row in rows)

        return {
            "rule": rule.name,
            "space": space,
            "threshold": rule.threshold,
            "kept_checked": count(self.kept),
            "pairs_checked": self.pairs.get(rule.name, 0),
            "removed_checked": count(self.removed),
            "too_similar": count(self.similar),
            "unjustified": count(self.unjustified),
            "out_of_tries": exhausted if rule.kind == OVERLAP else None,
        }


def is_sampled(image_id: Column, share: float) -> Column:
    """Whether an image is in the sample: by a hash of its id, so the same images in every run."""
    return F.pmod(F.xxhash64(F.lit("audit"), image_id), F.lit(PARTS)) < F.lit(int(share * PARTS))


def latents_of(latents: DataFrame, kept: Rows, removed: Rows) -> pa.Table:
    """Id, group and latent of sampled images, and of the keepers that removals name."""
    ids = {row["image_id"] for row in [*kept, *removed]} | {row["kept_id"] for row in removed}
    wanted = latents.join(F.broadcast(arrow_frames.ids(latents.sparkSession, ids)), on="image_id")
    return wanted.select("image_id", "group", "latent").toArrow()


def keeper_latents(reference: DataFrame | None, removed: Rows) -> pa.Table | None:
    """Id and latent of the reference images that removals name as keepers."""
    if reference is None:
        return None
    ids = arrow_frames.ids(reference.sparkSession, {row["kept_id"] for row in removed})
    wanted = reference.join(F.broadcast(ids), on="image_id")
    return wanted.select("image_id", "latent").toArrow()


def kept_counts(
    selection: DataFrame, rules: Iterable[str], images: int
) -> dict[tuple[str, str], int]:
    """Kept images by group and rule.

    Raises JobError where a rule does not decide each of so many images once.
    """
    counts = selection.groupBy("group", "rule").agg(
        F.count_distinct("image_id").alias("images"),
        F.count("*").alias("rows"),
        F.count_if("kept").alias("kept"),
    )
    rows = counts.collect()
    for rule in rules:
        of_rule = [row for row in rows if row["rule"] == rule]
        decided, decisions = (sum(row[name] for row in of_rule) for name in ("images", "rows"))
        if decided != images or decisions != images:
            raise JobError(
                f"the audit of {rule} found {decisions:,} decisions on {decided:,} of "
                f"{images:,} images: {ADVICE}"
            )
    return {(row["group"], row["rule"]): int(row["kept"]) for row in rows}


def similar_kept_pairs(
    selection: DataFrame,
    latents: DataFrame,
    table: pa.Table,
    sampled: Rows,
    counts: Mapping[tuple[str, str], int],
) -> tuple[Rows, dict[str, int]]:
    """Pairs of kept images above T, of which one is sampled, and how many pairs were compared.

    Args:
        selection: all decisions of the space.
        latents: all images with their group.
        table: `latents_of` the sample.
        sampled: the sampled rows that keep an image. Where all images of a group resemble each
            other, few of them are kept, so few are compared with the others.
        counts: `kept_counts`.
    """
    pairs: dict[str, int] = {}
    lowest: dict[str, float] = {}
    sampled = [row for row in sampled if not row["rule"].startswith(f"{OVERLAP}:")]
    for row in sampled:
        group, rule = row["group"], row["rule"]
        pairs[rule] = pairs.get(rule, 0) + counts[group, rule] - 1
        threshold = 1.0 if row["threshold"] is None else row["threshold"]
        lowest[group] = min(threshold, lowest.get(group, 1.0))
    ids = pa.array([row["image_id"] for row in sampled], pa.string())
    rows = table.filter(pa.compute.is_in(table.column("image_id"), ids))
    if not rows.num_rows:
        return [], pairs
    sample = SampledLatents.of(rows, lowest)
    images = latents.select("image_id", "group", "latent")
    similar = arrow_frames.mapped(images, sample.similar, SIMILAR)
    kept_sample = arrow_frames.frame(selection.sparkSession, map(SAMPLED, sampled), SAMPLED_KEPT)
    kept = selection.where("kept").select("image_id", "group", "rule", "fixed")
    both = (
        similar.where("sample_id <> image_id")
        .join(F.broadcast(kept_sample), on=["sample_id", "group"])
        .where(F.col("cosine") > F.col("threshold") + audit.TOLERANCE)
        .join(kept.hint("merge"), on=["image_id", "group", "rule"])  # too many for one executor
        .where("NOT (fixed AND sample_fixed)")
    )
    violations = both.select("rule", "group", "sample_id", "image_id", "cosine").collect()
    return [row.asDict() for row in violations], pairs


def similar_by_proof(
    selection: DataFrame,
    latents: DataFrame,
    table: pa.Table,
    sampled: Rows,
    candidates: float,
    proofs: ProofAudit,
) -> tuple[Rows, dict[str, int]]:
    """Kept images that registration proves near-copies of a kept one, and pairs by rule.

    sampled: the sampled rows that keep an image. candidates: the similarity above which pairs are
    registered. The other arguments are those of `similar_kept_pairs`.
    """
    by_proof = [row for row in sampled if row["rule"] in proofs.settings.overlaps]
    ids = pa.array([row["image_id"] for row in by_proof], pa.string())
    rows = table.filter(pa.compute.is_in(table.column("image_id"), ids))
    if not rows.num_rows:
        return [], {}
    lowest = dict.fromkeys(rows.column("group").unique().to_pylist(), candidates)
    return proofs.similar(selection, latents, SampledLatents.of(rows, lowest))


def unjustified_removals(
    selection: DataFrame,
    table: pa.Table,
    removed: Rows,
    keepers: pa.Table | None = None,
    candidates: Mapping[str, float] | None = None,
) -> Rows:
    """Removals whose keeper does not justify them.

    A keeper must be kept in the group by the rule, or be a reference image, and have a similarity
    above T that is the stored one. Under a rule that asks for a proof, the similarity from which
    pairs are registered takes the place of T.

    Args:
        selection: all decisions of the space.
        table: `latents_of` the sample.
        removed: the sampled rows that remove an image.
        keepers: `keeper_latents`, of reference images.
        candidates: by space, the similarity above which pairs are registered.
    """
    if not removed:
        return []
    kept = _kept_keepers(selection, removed)
    references = set(keepers.column("image_id").to_pylist()) if keepers else set()
    columns = ["image_id", "latent"]
    table = pa.concat_tables([table.select(columns), *([keepers] if keepers else [])])
    row_of = {name: i for i, name in enumerate(table.column("image_id").to_pylist())}
    both = [row["image_id"] in row_of and row["kept_id"] in row_of for row in removed]
    wrong = [row for row, has_latents in zip(removed, both, strict=True) if not has_latents]
    rest = [row for row, has_latents in zip(removed, both, strict=True) if has_latents]
    for row, cosine in zip(rest, _cosines(table, row_of, rest), strict=True):
        is_kept = (row["kept_id"], row["rule"], row["group"]) in kept
        is_kept |= row["kept_id"] in references
        if not (is_kept and _is_as_stored(row, cosine, candidates or {})):
            wrong.append(row)
    return wrong


def _kept_keepers(selection: DataFrame, removed: Sequence[dict[str, Any]]) -> set[tuple[str, ...]]:
    """Those keepers (image, rule, group) of removals that the selection keeps."""
    named = {(row["kept_id"], row["rule"], row["group"]) for row in removed}
    frame = arrow_frames.frame(selection.sparkSession, named, KEEPERS)
    kept = selection.where("kept").join(F.broadcast(frame), on=["image_id", "rule", "group"])
    return {(row["image_id"], row["rule"], row["group"]) for row in kept.collect()}


def _cosines(table: pa.Table, row_of: Mapping[str, int], removed: Rows) -> list[float]:
    """The cosine of each removed image with its keeper."""
    matrix = arrow.matrix(table.column("latent"))
    images = [row_of[row["image_id"]] for row in removed]
    keepers = [row_of[row["kept_id"]] for row in removed]
    return [float(cosine) for cosine in audit.cosines(matrix[images], matrix[keepers])]


def _is_as_stored(row: Mapping[str, Any], cosine: float, candidates: Mapping[str, float]) -> bool:
    """Whether a cosine is above T, and equal to the stored similarity, within the tolerance."""
    stored, threshold = row["similarity"], row["threshold"]
    least = candidates[row["space"]] if threshold is None else threshold
    above = cosine > least - audit.TOLERANCE
    return bool(above and stored is not None and abs(cosine - stored) <= audit.TOLERANCE)
