"""The stage `prune`: decides which images are kept, and which of these each other one duplicates.

docs/method.md, "Which images stay" and "Thresholds that set themselves".
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Self

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import few_images, spaces
from jobs.duplicates import audit, groups, thresholds
from jobs.duplicates.alignments import TABLE, forget_withdrawn
from jobs.duplicates.candidates import COMPARED, by_rules, in_order, with_masks, with_places
from jobs.duplicates.cover_tasks import CoverProgress
from jobs.duplicates.earlier_decisions import (
    EarlierDecisions,
    decision_hash,
    decision_settings,
    earlier_decisions,
    whitening_fit,
)
from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.duplicates.leak_decisions import leak_decisions, leak_reference
from jobs.duplicates.pictures import chosen_pictures
from jobs.duplicates.proof_audit import ProofAudit
from jobs.duplicates.proving import Exhausted, Proving
from jobs.duplicates.rules import Rules
from jobs.duplicates.selection import select, with_groups
from jobs.errors import JobError
from jobs.runtime.console import abbreviated, percentage
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import OVERLAP, RAW, Prune, Rule
from jobs.warehouse import tables

VERSION = 8


def main(stage_run: StageRun) -> None:
    """Tables latents, vectors, images and sublabels → selection, thresholds, audit."""
    prune = stage_run.settings.prune
    if prune.overlaps:
        check_pictures(stage_run)
    warn_of_few_images(stage_run)
    members = grouped_images(stage_run)
    earlier = earlier_decisions(stage_run, members, grouped_images)
    leaks = leak_decisions(stage_run)
    candidates = with_masks(
        members,
        list(prune.rules),
        earlier=earlier.selection if earlier else None,
        dropped=earlier.dropped if earlier else None,
        leaks=leaks,
    )
    counts = CandidateCounts.of(candidates)
    rules = rules_by_group(candidates, counts.by_group, prune, earlier.all if earlier else None)
    exhausted = write_selection(stage_run, candidates, counts, rules, leaks, earlier)
    kept = kept_counts(stage_run)
    stage_run.write(threshold_rows(kept, prune), "thresholds")
    audit.check(
        stage_run,
        with_groups(stage_run, stage_run.read("selection"), candidates),
        members,
        counts.images // len(prune.space),
        prune,
        leak_reference(stage_run, members),
        proof_audit(stage_run, candidates, exhausted) if prune.overlaps else None,
    )
    summarise(stage_run, kept, len(counts.by_group) // len(prune.space))


def reads(run: RunContext) -> dict[str, str]:
    """The vectors of each space, and the tables that the settings name columns of."""
    prune = run.settings.prune
    inputs = spaces.reads((RAW, *prune.space)) | written_by("images")
    if groups.DENSITY in groups.order_columns(prune.order):
        inputs |= written_by("projections")
    if prune.by_sublabel:
        inputs |= written_by("sublabels")
    if run.settings.leaks.remove:
        inputs |= written_by("leaks")
    return inputs


def depends(run: RunContext) -> dict[str, Any]:
    """The settings that decide which image is kept, and whether earlier decisions hold."""
    leaks = run.settings.leaks
    decisions = decision_settings(run.settings) | {"mode": run.settings.prune.mode}
    if leaks.remove:
        named = {
            "leaks.remove": leaks.remove,
            "leaks.split": leaks.split,
            "leaks.warehouse": leaks.warehouse,
            "leaks.scope": leaks.scope,
        }
        decisions["leaks"] = NamedValues(named, hashed=decisions["leaks"])
    return decisions


def check_pictures(stage_run: StageRun) -> None:
    """Raise JobError where the table `images` holds nothing that can be laid over each other."""
    commit = stage_run.warehouse.newest("images", "ingest")
    if commit and not commit.has_pixels:
        raise JobError(
            f"{OVERLAP} rules lay pixels over each other, and the table images was made of vectors "
            "and holds none: give numbers in prune.thresholds, such as [0.9, 0.85, 0.8] (with the "
            "settings of [ingest] that ingest was given they are the default), or name the images "
            "in ingest.image_column and run ingest again"
        )
    if "pixels_sha256" not in stage_run.read("images").columns:
        raise JobError(
            "the table images was written by an earlier version: run ./spark-submit.sh ingest and "
            f"encode first (or pipeline, which does all), or give numbers instead of {OVERLAP} "
            "rules in prune.thresholds"
        )


def warn_of_few_images(stage_run: StageRun) -> None:
    """Warn where rules without a proof rely on a model that learnt from too few images."""
    prune = stage_run.settings.prune
    table, _ = spaces.table_of(prune.space[0])
    rows = stage_run.query(table, "SELECT model_id FROM rows LIMIT 1")
    model_id = rows[0]["model_id"] if rows else None
    files = stage_run.warehouse.files
    text = few_images.remark(files, model_id, prune.rules.values(), prune.space)
    if text:
        stage_run.console.warn(f"prune: {text}")


def grouped_images(stage_run: StageRun) -> DataFrame:
    """The images of all spaces with their group, their order and whether they are protected."""
    settings = stage_run.settings
    images = stage_run.read("images") if groups.needs_images(settings.prune) else None
    if images is not None:
        groups.check_columns(images, settings.prune)
    projections = stage_run.read("projections") if "projections" in stage_run.reads else None
    reference = settings.leaks.split if settings.leaks.remove else ()
    vectors = spaces.vectors(stage_run, settings.prune.space)
    sublabels, flat = sublabels_if_used(stage_run), stage_run.once(groups.flat_images)
    return groups.grouped(vectors, images, projections, settings.prune, reference, sublabels, flat)


def sublabels_if_used(stage_run: StageRun) -> DataFrame | None:
    """The table `sublabels`; None where no group is made of sub-labels.

    Raises JobError where an image has no sub-label under its label.
    """
    if "sublabels" not in stage_run.reads:
        return None
    sublabels = stage_run.read("sublabels")
    keys = ["image_id", "label"]
    if not stage_run.read("latents").join(sublabels, on=keys, how="left_anti").isEmpty():
        raise JobError(
            "the table sublabels was made of other images or labels: run ./spark-submit.sh project "
            "and modes first (or pipeline, which does all)"
        )
    return sublabels


@dataclass(frozen=True)
class CandidateCounts:
    """How many candidates there are, and the hash that later shows whether they are the same.

    by_group: the number of compared images per group, without groups that are already decided.
    images: all images, counted once for each space.
    hash: of all images, by `decision_hash`.
    """

    by_group: dict[str, int]
    images: int
    hash: int

    @classmethod
    def of(cls, candidates: DataFrame) -> Self:
        """Count them, in one Spark job."""
        rows = (
            candidates.groupBy("group")
            .agg(
                F.count("*").alias("images"),
                F.count_if(F.expr(COMPARED)).alias("compared"),
                F.count_if(F.col("pending_mask") != 0).alias("pending"),
                F.bit_xor(decision_hash()).alias("hash"),
            )
            .collect()
        )
        return cls(
            {row["group"]: int(row["compared"]) for row in rows if row["pending"]},
            sum(row["images"] for row in rows),
            functools.reduce(operator.xor, (row["hash"] for row in rows), 0),
        )


def rules_by_group(
    candidates: DataFrame, counts: dict[str, int], prune: Prune, earlier: DataFrame | None
) -> Rules:
    """The rules with their thresholds in every group; thresholds of earlier decisions hold."""
    if earlier is not None:
        decided = candidates.where("decided_earlier").select("image_id", "space", "group")
        earlier = earlier.join(decided, on=["image_id", "space"])
    compared = candidates.where(COMPARED)
    return thresholds.determined(compared, counts, prune, in_order(prune), earlier)


def write_selection(
    stage_run: StageRun,
    candidates: DataFrame,
    counts: CandidateCounts,
    rules: Rules,
    leaks: DataFrame | None,
    earlier: EarlierDecisions | None,
) -> Exhausted:
    """Decide the candidates and write `selection`; then drop the work tables of large groups.

    Earlier decisions stay, apart from those that were dropped.

    Returns how many kept images used up the tries of rules that ask for a proof.
    """
    progress = CoverProgress.begin(stage_run.spark)
    metadata = {
        "decided": decision_settings(stage_run.settings),
        "images": [counts.images, counts.hash],
        "fit": whitening_fit(stage_run),
        "versions": dict(stage_run.reads),
    }
    append = earlier is not None and earlier.dropped is None
    with ExitStack() as stack:
        proving = Proving(stage_run, rules.proofs, stack) if rules.proofs else None
        selection = decided(stage_run, candidates, counts, rules, progress, proving, earlier)
        if leaks is not None:
            new = candidates.where("NOT decided_earlier AND NOT fixed").select("image_id")
            selection = selection.unionByName(leaks.join(new, on="image_id", how="left_semi"))
        if earlier and earlier.dropped is not None:
            if leaks is not None:
                keys = ["image_id", "space", "rule"]
                selection = selection.unionByName(
                    leaks.join(earlier.dropped.select(keys), on=keys, how="left_semi")
                )
            selection = earlier.selection.unionByName(selection)
        if proving:
            proving.finish()
        with stage_run.progress_from(lambda: progress.current(counts.by_group)):
            stage_run.write(selection, "selection", append=append, metadata=metadata)
    for table in (PLACED, ROUNDS):
        stage_run.discard(table)
    forget_withdrawn(stage_run)
    return proving.exhausted if proving else Counter()


def decided(
    stage_run: StageRun,
    candidates: DataFrame,
    counts: CandidateCounts,
    rules: Rules,
    progress: CoverProgress,
    proving: Proving | None,
    earlier: EarlierDecisions | None,
) -> DataFrame:
    """The rows of `selection` of what is to be decided.

    An image that one rule keeps as before and another one decides anew cannot be both a reference
    and pending in one pass, so each rule that decides images anew has a pass of its own.
    """
    anew = earlier.open_rules() if earlier else []
    if not anew:
        return select(stage_run, candidates, counts.by_group, rules, progress, proving)
    others = [name for name in rules.names if name not in anew]
    parts = []
    for names in filter(None, (others, *([name] for name in anew))):
        for table in (PLACED, ROUNDS):
            stage_run.discard(table)
        seen = by_rules(candidates, rules.names, names)
        pending = CandidateCounts.of(seen).by_group
        rows = select(stage_run, seen, pending, rules, progress, proving)
        parts.append(rows.where(F.col("rule").isin(names)).localCheckpoint())
    return functools.reduce(DataFrame.unionByName, parts)


def proof_audit(stage_run: StageRun, candidates: DataFrame, exhausted: Exhausted) -> ProofAudit:
    """What the audit of rules that ask for a proof needs.

    exhausted: images that used up their tries in this run. In mode append, those of earlier runs
    are added, as the earlier audit counted them.
    """
    prune = stage_run.settings.prune
    earlier = stage_run.previous("audit") if prune.mode == "append" else None
    if earlier is not None and "out_of_tries" in earlier.columns:
        counted = earlier.where("out_of_tries > 0").collect()
        exhausted += Counter({(row["space"], row["rule"]): row["out_of_tries"] for row in counted})
    ranks = with_places(candidates, prune, with_removed=True).select(
        "image_id", "group", F.col("place").alias("rank"), "decided_earlier"
    )
    return ProofAudit(prune, partial(chosen_pictures, stage_run), ranks, exhausted)


@dataclass(frozen=True)
class KeptCount:
    """How many images of a class a rule keeps."""

    label: str
    rule: str
    space: str
    threshold: float | None
    images: int
    kept: int


def kept_counts(stage_run: StageRun) -> list[KeptCount]:
    """The counts for each class, rule, space and threshold, sorted by label, space and rule."""
    keys = "label, rule, space, threshold"
    rows = stage_run.query(
        "selection",
        f"SELECT {keys}, count(*) AS images, count(*) FILTER (WHERE kept) AS kept "
        f"FROM rows GROUP BY {keys}",
    )
    counts = [KeptCount(**row) for row in rows]
    return sorted(
        counts,
        key=lambda count: (
            count.label,
            count.space,
            Rule.of(count.rule).sort_key,
            -(count.threshold or 0),
        ),
    )


def threshold_rows(counts: Sequence[KeptCount], prune: Prune) -> pa.Table:
    """Rows of `thresholds`: for each class, rule and space T, the rule's target, the share kept.

    For rules that ask for a proof there is the least similarity of candidates in place of T.
    """
    targets = {name: rule.target for name, rule in prune.rules.items()}
    rows = [
        (
            count.label,
            count.rule,
            count.space,
            count.threshold,
            targets[count.rule],
            prune.candidate_thresholds[count.space] if count.rule in prune.overlaps else None,
            count.kept / count.images,
        )
        for count in counts
    ]
    return tables.rows("thresholds", rows)


def summarise(stage_run: StageRun, counts: Sequence[KeptCount], group_count: int) -> None:
    """Set the kept counts for the table `runs`, and the summary for the console."""
    prune = stage_run.settings.prune
    kept: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for count in counts:
        kept[count.space, count.rule] += count.kept
        total[count.space, count.rule] += count.images
    shares = []
    for space in prune.space:
        suffix = f" {space}" if len(prune.space) > 1 else ""
        for rule in sorted(prune.rules.values(), key=attrgetter("sort_key")):
            key = (space, rule.name)
            name = rule.name if rule.threshold is None else rule.short
            stage_run.rows[f"kept_{name}{suffix.replace(' ', '_')}"] = kept[key]
            shares.append(f"{percentage(kept[key] / total[key])} at {rule.short}{suffix}")
    word = "classes" if groups.by_label(prune) else "groups"
    stage_run.summary = f"{group_count:,} {word}; kept {abbreviated(shares)}"


def mistakes(run: RunContext) -> list[str]:
    """Return what of the settings does not fit the table `images`."""
    prune, store = run.settings.prune, run.warehouse
    wrong = groups.wrong_columns(store.schema("images"), prune)
    return wrong + (
        groups.wrong_predicate(store.read("images"), prune.protect) if prune.protect else []
    )


def writes(run: RunContext) -> tuple[str, ...]:
    """The decisions, and the alignments where rules ask for a proof."""
    alignments = (TABLE,) if run.settings.prune.overlaps else ()
    return (*alignments, "selection", "thresholds", "audit")


STAGE = Stage(
    "prune",
    main,
    reads=reads,
    writes=writes,
    depends=depends,
    version=VERSION,
    mistakes=mistakes,
    imports=("scipy.fft", "scipy.ndimage"),
    worker_imports=("scipy.fft",),
)
