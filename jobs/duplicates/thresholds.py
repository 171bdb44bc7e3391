"""What T every rule has in every group: as given, as decided earlier, or found here (spec §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.duplicates import groups as image_groups
from jobs.duplicates.rules import Rules
from jobs.duplicates.threshold_tasks import (
    ANGLES,
    CELLS,
    FOUND,
    KEPT,
    LOWEST,
    Counting,
    Pooling,
    Rating,
    Sharing,
)
from jobs.errors import JobError
from jobs.runtime import session
from jobs.settings.duplicates import RATE, SHARE, SHARE_OF_ALL, Prune, Rule
from jobs.warehouse import arrow_frames, partitioning
from udfs.density import histogram
from udfs.duplicates import thresholds
from udfs.duplicates.thresholds import AngleMoments, BisectionSearch

Found = dict[str, dict[str, float]]  # the T of each rule, by its name, in each group


def rules_of(
    marked: DataFrame,
    counts: Mapping[str, int],
    settings: Prune,
    order: Sequence[Column],
    earlier: DataFrame | None = None,
) -> Rules:
    """The rules with their thresholds in every group that has something to decide.

    marked: what is compared, with its group. counts: of the images compared in each group. earlier:
    a selection whose thresholds hold, with the group of each row.

    Raises JobError where a group is too large for a rule.
    """
    given = settings.rules
    fixed = tuple(settings.fixed.get(name, np.nan) for name in given)
    open_ = [rule for rule in given.values() if rule.threshold is None]
    own: dict[str, tuple[float, ...]] = {}
    if open_ and counts:
        found = _found(marked, counts, settings, order, open_, earlier)
        own = {
            group: tuple(
                found[group][name] if rule.threshold is None else rule.threshold
                for name, rule in given.items()
            )
            for group in counts
        }
    return Rules(tuple(given), fixed, own, settings.block, settings.device)


def _found(
    marked: DataFrame,
    counts: Mapping[str, int],
    settings: Prune,
    order: Sequence[Column],
    rules: Sequence[Rule],
    earlier: DataFrame | None,
) -> Found:
    found = _stored(earlier, rules) if earlier is not None else {}
    new = {group: count for group, count in counts.items() if group not in found}
    of_kind = {
        kind: [rule for rule in rules if rule.kind == kind] for kind in (SHARE, SHARE_OF_ALL, RATE)
    }
    if of_kind[SHARE] or of_kind[SHARE_OF_ALL]:
        _check_size(new, settings)
    for group in new:
        found[group] = _common(found, group, of_kind[SHARE_OF_ALL])
    if not new:
        return found
    rows = marked.where(F.col("group").isin(list(new))) if len(new) < len(counts) else marked
    with ExitStack() as held:
        tasks = _tasks(rows, new, order, held) if of_kind[SHARE] or of_kind[SHARE_OF_ALL] else None
        if of_kind[SHARE] and tasks is not None:
            shares = [rule.target for rule in of_kind[SHARE]]
            sharing = Sharing(shares, settings.block)
            made = arrow_frames.mapped(tasks, sharing.rows, FOUND).collect()
            _enter(found, of_kind[SHARE], {row.group: row.found for row in made})
        for rule in of_kind[SHARE_OF_ALL]:
            lacking = {group: n for group, n in new.items() if rule.name not in found[group]}
            if lacking and tasks is not None:
                for group, threshold in _share_of_all(tasks, lacking, rule, settings.block).items():
                    found[group][rule.name] = threshold
    if of_kind[RATE]:
        sampled, sizes = sample(rows, new, settings.seed)
        _rates(found, of_kind[RATE], sampled, sizes)
    return found


def _stored(earlier: DataFrame, rules: Sequence[Rule]) -> Found:
    """The thresholds that earlier decisions of a group were made with."""
    names = [rule.name for rule in rules]
    rows = earlier.where(F.col("rule").isin(names)).groupBy("group", "rule")
    found: Found = {}
    for row in rows.agg(F.first("threshold").alias("threshold")).collect():
        found.setdefault(row.group, {})[row.rule] = row.threshold
    return found


def _common(found: Found, group: str, rules: Sequence[Rule]) -> dict[str, float]:
    """Of rules with one T for all groups of a space: that of a group which has it already."""
    space = image_groups.space_of(group)
    alike = [known for name, known in found.items() if image_groups.space_of(name) == space]
    return {rule.name: alike[0][rule.name] for rule in rules if alike and rule.name in alike[0]}


def _check_size(counts: Mapping[str, int], settings: Prune) -> None:
    large = [group for group, count in counts.items() if count > settings.largest_class]
    if large:
        raise JobError(
            f"{SHARE}: {large[0]} holds {counts[large[0]]:,} images, more than "
            f"prune.largest_class = {settings.largest_class:,}, and a share needs them in one "
            f"task: raise prune.largest_class, or use {RATE} or a number in prune.thresholds"
        )


def _tasks(
    rows: DataFrame, counts: Mapping[str, int], order: Sequence[Column], held: ExitStack
) -> DataFrame:
    """Whole groups as tasks, kept on the executors' disks while `held` is open."""
    slots = session.slots(rows.sparkSession)
    placed = partitioning.repartitioned_by_group(
        rows, dict(counts), slots, lambda n: float(n) * n, order, key="group"
    )
    kept = placed.select("group", "standing", "latent").persist(StorageLevel.DISK_ONLY)
    held.callback(kept.unpersist)
    return kept


def _enter(found: Found, rules: Sequence[Rule], values: Mapping[str, Sequence[float]]) -> None:
    for group, thresholds_ in values.items():
        found[group] |= dict(zip((rule.name for rule in rules), thresholds_, strict=True))


def _share_of_all(
    tasks: DataFrame, counts: Mapping[str, int], rule: Rule, block: int
) -> dict[str, float]:
    """One T for all groups of a space by `BisectionSearch`; one pass decides 3 halvings."""
    found: dict[str, float] = {}
    for space in dict.fromkeys(map(image_groups.space_of, counts)):
        groups = {name: n for name, n in counts.items() if image_groups.space_of(name) == space}
        search = BisectionSearch.of(rule.target, sum(groups.values()), LOWEST[space])
        of_space = tasks.where(image_groups.space_column() == space)
        while search.left:
            counting = Counting(search.next_thresholds(), block)
            kept = [
                row.kept for row in arrow_frames.mapped(of_space, counting.rows, KEPT).collect()
            ]
            search.narrow(np.sum(kept, axis=0).tolist())
        found |= dict.fromkeys(groups, search.high)
    return found


def sample(
    rows: DataFrame, counts: Mapping[str, int], seed: int
) -> tuple[DataFrame, dict[str, int]]:
    """Of each group the 2048 images smallest in sha256(seed|image_id), and how many these are."""
    ranked = rows.select("group", "image_id", place(seed).alias("place"))
    chosen = ranked.where(F.col("place") <= thresholds.SAMPLED).select("group", "image_id")
    sizes = {group: min(count, thresholds.SAMPLED) for group, count in counts.items()}
    return rows.join(chosen, on=["group", "image_id"]), sizes


def place(seed: int) -> Column:
    """An image's place in its group by sha256(seed|image_id), from 1."""
    digest = F.sha2(F.concat_ws("|", F.lit(seed), "image_id"), 256)
    return F.row_number().over(Window.partitionBy("group").orderBy(digest, "image_id"))


def _rates(found: Found, rules: Sequence[Rule], sampled: DataFrame, sizes: dict[str, int]) -> None:
    """Enter the T of each rate; a group with too few pairs takes that of all groups' pairs."""
    rates = [rule.target for rule in rules]
    slots = session.slots(sampled.sparkSession)
    tasks = partitioning.repartitioned_by_group(
        sampled, sizes, slots, lambda n: float(n) * n, key="group"
    )
    tasks = tasks.select("group", "standing", "latent")
    rows = arrow_frames.mapped(tasks, Rating(rates).rows, ANGLES).collect()
    moments = {row.group: AngleMoments(row["count"], *row.moments) for row in rows}
    _enter(found, rules, {row.group: row.found for row in rows})
    lacking = [row.group for row in rows if np.isnan(row.found).any()]
    if not lacking:
        return
    spaces = dict.fromkeys(map(image_groups.space_of, lacking))
    pooled = {
        space: AngleMoments.merged(
            moments[group] for group in sorted(moments) if image_groups.space_of(group) == space
        )
        for space in spaces
    }
    steps = {space: angles.step for space, angles in pooled.items() if angles.count}
    of_spaces = tasks.where(image_groups.space_column().isin(list(steps)))
    counted = arrow_frames.mapped(of_spaces, Pooling(steps).rows, CELLS).collect() if steps else []
    for space in spaces:
        of_space = [row for row in counted if image_groups.space_of(row.group) == space]
        values = [thresholds.HIGHEST] * len(rates)
        if of_space:
            cells, counts = (
                np.concatenate([np.array(row[name], np.int64) for row in of_space])
                for name in ("cells", "counts")
            )
            whole = histogram.from_cells(cells, counts, steps[space])
            values = [thresholds.pair_rate(whole, rate) for rate in rates]
        for group in lacking:
            if image_groups.space_of(group) == space:
                for rule, value in zip(rules, values, strict=True):
                    if np.isnan(found[group][rule.name]):
                        found[group][rule.name] = value
