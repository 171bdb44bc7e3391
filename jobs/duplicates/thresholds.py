"""The threshold T of every rule in every group: given, taken from earlier decisions, or computed.

Use `determined` for the rules of a run. docs/method.md, "Thresholds that set themselves", defines
the rules that compute T; their tasks lie in `threshold_tasks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from jobs.duplicates.groups import space_column, space_of
from jobs.duplicates.rules import Proofs, Rules
from jobs.duplicates.threshold_tasks import (
    ANGLE_CELLS,
    KEPT_COUNTS,
    LOWEST,
    RATE_THRESHOLDS,
    SHARE_THRESHOLDS,
    AngleCells,
    KeepShares,
    KeptCounts,
    PairRates,
)
from jobs.errors import JobError
from jobs.runtime import session
from jobs.settings.duplicates import RATE, SHARE, SHARE_OF_ALL, Prune, Rule
from jobs.warehouse import arrow_frames, partitioning
from udfs.density import histogram
from udfs.duplicates import thresholds
from udfs.duplicates.thresholds import AngleMoments, BisectionSearch

GroupThresholds = dict[str, dict[str, float]]  # of each group, by the name of the rule


def determined(
    compared: DataFrame,
    counts: Mapping[str, int],
    settings: Prune,
    order: Sequence[Column],
    earlier: DataFrame | None = None,
) -> Rules:
    """The rules with their thresholds in every group that has something to decide.

    Args:
        compared: the candidates that are compared.
        counts: how many there are in each group.
        settings: the section [prune].
        order: sort keys of a group before the id.
        earlier: an earlier selection with the group of each row; its thresholds hold.

    Raises JobError where a group is too large for a rule.
    """
    rules = settings.rules
    common = tuple(settings.fixed.get(name, np.nan) for name in rules)
    computed = list(settings.searched.values())
    by_group: dict[str, tuple[float, ...]] = {}
    if computed and counts:
        values = _computed(compared, counts, settings, order, computed, earlier)
        by_group = {
            group: tuple(
                values[group][name] if rule.is_searched else threshold
                for (name, rule), threshold in zip(rules.items(), common, strict=True)
            )
            for group in counts
        }
    proofs = Proofs.asked(settings)
    return Rules(tuple(rules), common, by_group, settings.block, settings.device, proofs)


def _computed(
    compared: DataFrame,
    counts: Mapping[str, int],
    settings: Prune,
    order: Sequence[Column],
    rules: Sequence[Rule],
    earlier: DataFrame | None,
) -> GroupThresholds:
    """The thresholds of rules that have none in the settings, in every group of `counts`."""
    values = _earlier_thresholds(earlier, rules) if earlier is not None else {}
    new = {group: count for group, count in counts.items() if group not in values}
    by_kind = {
        kind: [rule for rule in rules if rule.kind == kind] for kind in (SHARE, SHARE_OF_ALL, RATE)
    }
    shares = bool(by_kind[SHARE] or by_kind[SHARE_OF_ALL])
    if shares:
        _check_size(new, settings)
    for group in new:
        values[group] = _space_thresholds(values, group, by_kind[SHARE_OF_ALL])
    if not new:
        return values
    rows = compared
    if len(new) < len(counts):
        rows = compared.where(F.col("group").isin(list(new)))
    if shares:
        _add_shares(values, by_kind, rows, new, settings, order)
    if by_kind[RATE]:
        sampled, sizes = sample(rows, new, settings.seed)
        _add_rates(values, by_kind[RATE], sampled, sizes)
    return values


def _earlier_thresholds(earlier: DataFrame, rules: Sequence[Rule]) -> GroupThresholds:
    """The thresholds by which earlier decisions were made."""
    names = [rule.name for rule in rules]
    rows = earlier.where(F.col("rule").isin(names)).groupBy("group", "rule")
    values: GroupThresholds = {}
    for row in rows.agg(F.first("threshold").alias("threshold")).collect():
        values.setdefault(row.group, {})[row.rule] = row.threshold
    return values


def _space_thresholds(
    values: GroupThresholds, group: str, rules: Sequence[Rule]
) -> dict[str, float]:
    """Thresholds that all groups of a space share, where another group has them already."""
    same_space = [
        of_group for name, of_group in values.items() if space_of(name) == space_of(group)
    ]
    return {
        rule.name: same_space[0][rule.name]
        for rule in rules
        if same_space and rule.name in same_space[0]
    }


def _check_size(counts: Mapping[str, int], settings: Prune) -> None:
    """Raise JobError where a group is too large to be one task."""
    large = [group for group, count in counts.items() if count > settings.largest_class]
    if large:
        raise JobError(
            f"{SHARE}: {large[0]} holds {counts[large[0]]:,} images, more than "
            f"prune.largest_class = {settings.largest_class:,}, and a share needs them in one "
            f"task: raise prune.largest_class, or use {RATE} or a number in prune.thresholds"
        )


def _add_shares(
    values: GroupThresholds,
    by_kind: Mapping[str, Sequence[Rule]],
    rows: DataFrame,
    counts: Mapping[str, int],
    settings: Prune,
    order: Sequence[Column],
) -> None:
    """Enter the thresholds of the shares to be kept, of each group and of all groups together."""
    with ExitStack() as stack:
        tasks = _persisted_groups(rows, counts, order, stack)
        if by_kind[SHARE]:
            shares = KeepShares([rule.target for rule in by_kind[SHARE]], settings.block)
            computed = arrow_frames.mapped(tasks, shares.rows, SHARE_THRESHOLDS).collect()
            _enter(values, by_kind[SHARE], {row.group: row.thresholds for row in computed})
        for rule in by_kind[SHARE_OF_ALL]:
            missing = {group: n for group, n in counts.items() if rule.name not in values[group]}
            if missing:
                common = _share_of_all(tasks, missing, rule, settings.block)
                for group, threshold in common.items():
                    values[group][rule.name] = threshold


def _persisted_groups(
    rows: DataFrame, counts: Mapping[str, int], order: Sequence[Column], stack: ExitStack
) -> DataFrame:
    """Whole groups as tasks, kept on the executors' disks while `stack` is open."""
    slots = session.slots(rows.sparkSession)
    tasks = partitioning.repartitioned_by_group(
        rows, dict(counts), slots, lambda n: float(n) * n, order, key="group"
    )
    persisted = tasks.select("group", "reference_mask", "latent").persist(StorageLevel.DISK_ONLY)
    stack.callback(persisted.unpersist)
    return persisted


def _enter(
    values: GroupThresholds, rules: Sequence[Rule], computed: Mapping[str, Sequence[float]]
) -> None:
    """Enter each group's thresholds, which are in the order of the rules."""
    for group, of_group in computed.items():
        values[group] |= dict(zip((rule.name for rule in rules), of_group, strict=True))


def _share_of_all(
    tasks: DataFrame, counts: Mapping[str, int], rule: Rule, block: int
) -> dict[str, float]:
    """The T that all groups of a space share, by `BisectionSearch`; a pass decides 3 halvings."""
    values: dict[str, float] = {}
    for space in dict.fromkeys(map(space_of, counts)):
        groups = {name: n for name, n in counts.items() if space_of(name) == space}
        search = BisectionSearch.of(rule.target, sum(groups.values()), LOWEST[space])
        of_space = tasks.where(space_column() == space)
        while search.left:
            kept_counts = KeptCounts(search.next_thresholds(), block)
            rows = arrow_frames.mapped(of_space, kept_counts.rows, KEPT_COUNTS).collect()
            search.narrow(np.sum([row.kept for row in rows], axis=0).tolist())
        values |= dict.fromkeys(groups, search.high)
    return values


def sample(
    rows: DataFrame, counts: Mapping[str, int], seed: int
) -> tuple[DataFrame, dict[str, int]]:
    """The 2048 images of each group with the lowest `sample_rank`, and how many there are."""
    ranked = rows.select("group", "image_id", sample_rank(seed).alias("sample_rank"))
    chosen = ranked.where(F.col("sample_rank") <= thresholds.SAMPLED).select("group", "image_id")
    sizes = {group: min(count, thresholds.SAMPLED) for group, count in counts.items()}
    return rows.join(chosen, on=["group", "image_id"]), sizes


def sample_rank(seed: int) -> Column:
    """The rank of an image in its group by sha256("<seed>|<image_id>"), from 1."""
    digest = F.sha2(F.concat_ws("|", F.lit(seed), "image_id"), 256)
    return F.row_number().over(Window.partitionBy("group").orderBy(digest, "image_id"))


def _add_rates(
    values: GroupThresholds, rules: Sequence[Rule], sampled: DataFrame, sizes: dict[str, int]
) -> None:
    """Enter the T of each rate; a group with too few pairs takes that of all groups' pairs."""
    rates = [rule.target for rule in rules]
    slots = session.slots(sampled.sparkSession)
    tasks = partitioning.repartitioned_by_group(
        sampled, sizes, slots, lambda n: float(n) * n, key="group"
    )
    tasks = tasks.select("group", "reference_mask", "latent")
    rows = arrow_frames.mapped(tasks, PairRates(rates).rows, RATE_THRESHOLDS).collect()
    _enter(values, rules, {row.group: row.thresholds for row in rows})
    too_few = [row.group for row in rows if np.isnan(row.thresholds).any()]
    if not too_few:
        return
    spaces = list(dict.fromkeys(map(space_of, too_few)))
    pooled = _pooled_rates(tasks, rows, spaces, rates)
    for group in too_few:
        for rule, threshold in zip(rules, pooled[space_of(group)], strict=True):
            if np.isnan(values[group][rule.name]):
                values[group][rule.name] = threshold


def _pooled_rates(
    tasks: DataFrame, rows: Sequence[Row], spaces: Iterable[str], rates: Sequence[float]
) -> dict[str, list[float]]:
    """The thresholds of the rates among the pairs of all groups of each space.

    rows: of RATE_THRESHOLDS, one for each group.
    """
    steps = _angle_steps(rows, spaces)
    counted: list[Row] = []
    if steps:
        of_spaces = tasks.where(space_column().isin(list(steps)))
        counted = arrow_frames.mapped(of_spaces, AngleCells(steps).rows, ANGLE_CELLS).collect()
    values = {}
    for space in spaces:
        parts = [row for row in counted if space_of(row.group) == space]
        if not parts:
            values[space] = [thresholds.HIGHEST] * len(rates)
            continue
        cells, counts = (
            np.concatenate([np.array(row[name], np.int64) for row in parts])
            for name in ("cells", "counts")
        )
        whole = histogram.from_cells(cells, counts, steps[space])
        values[space] = [thresholds.pair_rate(whole, rate) for rate in rates]
    return values


def _angle_steps(rows: Sequence[Row], spaces: Iterable[str]) -> dict[str, float]:
    """The step of the histogram of each space's angles; spaces without pairs are left out."""
    moments = {row.group: AngleMoments(row["count"], *row.moments) for row in rows}
    steps = {}
    for space in spaces:
        of_space = [moments[group] for group in sorted(moments) if space_of(group) == space]
        angles = AngleMoments.merged(of_space)
        if angles.count:
            steps[space] = angles.step
    return steps
