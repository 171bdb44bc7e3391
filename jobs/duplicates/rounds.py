"""Groups too large for a task: placed once, then settled window by window, each round stored.

A window of the next open images is settled on the driver; those of it that stay are sent to the
executors, which compare them with all that follow. The work tables `placed` and `rounds` hold what
a run that was stopped goes on from; they go when the selection is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates import groups as image_groups
from jobs.duplicates import rounds
from jobs.duplicates.group_placement import PLACED, ROUNDS, _resumable
from jobs.duplicates.rules import Rules
from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.cover_search import Cover, Flags

FILE = 2**22  # images of a group whose removals lie together in `rounds`

REMOVALS = arrow_frames.struct("rule string, rank bigint, kept_rank bigint, similarity double")


@dataclass
class _Group:
    """A group's images by rank: where each stands, where each is yet to be decided."""

    name: str
    standing: NDArray[np.int64]
    undecided: NDArray[np.int64]
    next: int = 0  # ranks below it have been compared with all that follow


class Rounds:
    """The rounds of one run's large groups."""

    def __init__(self, stage_run: StageRun, rules: Rules, window: int) -> None:
        self._stage_run = stage_run
        self._rules = rules
        self._size = window
        self._count = 0
        self._resumed = _resumable(stage_run, ROUNDS)
        self._bytes = (len(rules.names) + 7) // 8  # of a mask on its way to the executors

    def settle(self, groups: Sequence[str]) -> None:
        """Every group to its end; what `rounds` holds already is not done again."""
        for name in sorted(groups):
            group = self._begun(name)
            clock, total = time.monotonic(), len(group.undecided)
            first = group.next
            while (group.standing[group.next :] | group.undecided[group.next :]).any():
                self._round(group)
                left = int(np.count_nonzero(group.undecided))
                decided = f"{total - left:,} of {total:,} images decided"
                note = f"{name}: round {self._count}, {decided}"
                seconds = time.monotonic() - clock
                done = group.next - first
                share = done / max(1, total - first)
                self._stage_run.set_progress(Progress(seconds, share, done, note))
        self._stage_run.set_progress(None)

    def selection(self, groups: Sequence[str]) -> DataFrame:
        """Rows of `selection` of what the rounds have decided of these groups."""
        placed = self._stage_run.read(PLACED)
        names = placed.select("group", "rank", "image_id", "label")
        keepers = names.select(
            "group", F.col("rank").alias("kept_rank"), F.col("image_id").alias("kept_id")
        )
        found = self._stage_run.read(ROUNDS).join(names, on=["group", "rank"])
        found = found.join(keepers, on=["group", "kept_rank"], how="left")
        known = [
            (group, rule, threshold)
            for group in groups
            for rule, threshold in zip(self._rules.names, self._rules.values(group), strict=True)
        ]
        columns = arrow_frames.struct("group string, rule string, threshold double")
        thresholds = arrow_frames.frame(self._stage_run.run.spark, known, columns)
        return found.join(F.broadcast(thresholds), on=["group", "rule"]).select(
            "image_id",
            "label",
            "rule",
            image_groups.space_column().alias("space"),
            "threshold",
            "kept",
            "kept_id",
            "similarity",
        )

    def _begun(self, name: str) -> _Group:
        """A group as `placed` and `rounds` have it."""
        rows = self._placed(name).select("rank", "standing", "undecided").toArrow()
        ranks = rows.column("rank").to_numpy()
        sorted_ = rows.take(pa.array(np.argsort(ranks)))
        standing, undecided = (
            np.array(sorted_.column(column).to_numpy()) for column in ("standing", "undecided")
        )
        group = _Group(name, standing, undecided)
        if self._resumed:
            done = self._stage_run.read(ROUNDS).where(F.col("group") == name)
            ends = done.agg(F.max("last_rank").alias("rank"), F.max("round").alias("round")).first()
            if ends and ends.rank is not None:
                group.next, self._count = ends.rank + 1, max(self._count, ends.round)
                self._close(group, done)
        return group

    def _close(self, group: _Group, done: DataFrame) -> None:
        """Note what rows of `rounds` decide; a number an image comes to the driver."""
        levels = F.create_map(
            *(F.lit(x) for level, name in enumerate(self._rules.names) for x in (name, 1 << level))
        )
        masks = done.groupBy("rank").agg(
            F.bit_or(levels[F.col("rule")].cast("bigint")).alias("mask")
        )
        table = masks.toArrow()
        ranks, closed = (table.column(name).to_numpy() for name in ("rank", "mask"))
        group.undecided[ranks] &= ~closed

    def _placed(self, name: str, more: Column | None = None) -> DataFrame:
        chosen = F.col("group") == name
        return self._stage_run.read(PLACED).where(chosen if more is None else chosen & more)

    def _round(self, group: _Group) -> None:
        """Settle the next window, compare what stays with all that follow, store the outcome."""
        active = np.flatnonzero(group.standing[group.next :] | group.undecided[group.next :])
        ranks = group.next + active[: self._size]
        last = int(ranks[-1])
        self._count += 1
        stays, settled = self._settled(group, ranks)
        with self._scanned(group, last, stays) as removed:
            kept = F.isnan("similarity")
            decided = settled.unionByName(removed).select(
                F.lit(group.name).alias("group"),
                F.lit(self._count).alias("round"),
                F.lit(last).cast("bigint").alias("last_rank"),
                "rule",
                "rank",
                kept.alias("kept"),
                F.when(~kept, F.col("kept_rank")).alias("kept_rank"),
                F.when(~kept, F.col("similarity")).alias("similarity"),
            )
            self._stage_run.write(
                decided,
                ROUNDS,
                append=True,
                finished=False,
                metadata={"for": self._stage_run.fingerprint},
            )
        round_ = (F.col("group") == group.name) & (F.col("round") == self._count)
        self._close(group, self._stage_run.read(ROUNDS).where(round_))
        group.next = last + 1

    def _settled(self, group: _Group, ranks: NDArray[np.int64]) -> tuple[Window, DataFrame]:
        """The images of a window that stand, and what is decided in it, kept ones included."""
        first, last = int(ranks[0]), int(ranks[-1])
        wanted = np.zeros(last + 1 - first, np.int64)
        wanted[ranks - first] = 1
        some = self._placed(group.name, F.col("rank").between(first, last))
        rows = _where(some, wanted, first, 1).select("rank", "latent").toArrow()
        rows = rows.take(pa.array(np.argsort(rows.column("rank").to_numpy())))
        latents = arrow.float_matrix(rows.column("latent"))
        standing = self._rules.flags(group.standing[ranks])
        undecided = self._rules.flags(group.undecided[ranks])
        reference = np.flatnonzero(group.standing[ranks])  # they are the first
        covers = greedy.covers(
            latents[: len(reference)],
            latents[len(reference) :],
            self._rules.values(group.name),
            block=self._rules.block,
            reference_mask=standing[:, : len(reference)],
            pending_mask=undecided[:, len(reference) :],
            device=self._rules.driver_device(),
        )
        followers = ranks[len(reference) :]
        parts = rounds.outcome(self._rules, followers, covers, ranks)
        for rule, cover in zip(self._rules.names, covers, strict=True):
            kept = followers[cover.kept]
            parts["rule"] = np.append(parts["rule"], np.full(len(kept), rule))
            parts["rank"] = np.append(parts["rank"], kept)
            parts["kept_rank"] = np.append(parts["kept_rank"], np.full(len(kept), -1))
            parts["similarity"] = np.append(parts["similarity"], np.full(len(kept), np.nan))
        standing[:, len(reference) :] = [cover.kept for cover in covers]
        some_rule = np.flatnonzero(standing.any(axis=0))
        window = Window(ranks[some_rule], latents[some_rule], standing[:, some_rule])
        batch = arrow.record_batch(parts, arrow_frames.arrow_schema(REMOVALS))
        frame = self._stage_run.run.spark.createDataFrame(pa.Table.from_batches([batch]), REMOVALS)
        return window, frame.coalesce(1)

    @contextmanager
    def _scanned(self, group: _Group, last: int, stays: Window) -> Iterator[DataFrame]:
        """What the images that stay remove of all that follow, to be used within."""
        later = group.undecided[last + 1 :]
        spark = self._stage_run.run.spark
        if not len(stays.ranks) or not later.any():
            yield arrow_frames.frame(spark, [], REMOVALS)
            return
        window = spark.sparkContext.broadcast(stays)
        try:
            rows = self._placed(group.name, F.col("rank") > last)
            rows = _where(rows, later, last + 1, self._bytes)
            scan = Scan(self._rules, group.name, window)
            columns = rows.select("rank", "open", "latent")
            found = arrow_frames.mapped(columns, scan.removals, REMOVALS)
            yield found.repartition(1 + len(later) // FILE)  # not a file for each piece
        finally:
            window.destroy()


def _where(rows: DataFrame, masks: NDArray[np.int64], first: int, size: int) -> DataFrame:
    """Rows whose mask, by rank from `first` on, is not zero; the mask's low bytes as `open`.

    The masks are part of the query, so that rows which are done never leave the JVM.
    """
    packed = masks.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :size].tobytes()
    at = ((F.col("rank") - first) * size + 1).cast("int")
    open_ = F.lit(bytearray(packed)).substr(at, F.lit(size))
    return rows.withColumn("open", open_).where(F.col("open") != F.lit(bytearray(size)))


@dataclass(frozen=True)
class Window:
    """Images of a window that stand, on their way to the executors."""

    ranks: NDArray[np.int64]
    rows: NDArray[np.float32]
    standing: Flags


def outcome(
    rules: Rules, ranks: NDArray[np.int64], covers: Sequence[Cover], keepers: NDArray[np.int64]
) -> dict[str, Any]:
    """Removals of covers as columns of `rounds`; keepers: the rank of each place of a keeper."""
    parts: dict[str, list[Any]] = {"rule": [], "rank": [], "kept_rank": [], "similarity": []}
    for rule, cover in zip(rules.names, covers, strict=True):
        hit = np.flatnonzero(cover.keeper >= 0)
        parts["rule"].append(np.full(len(hit), rule))
        parts["rank"].append(ranks[hit])
        parts["kept_rank"].append(keepers[cover.keeper[hit]])
        parts["similarity"].append(cover.similarity[hit])
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True)
class Scan:
    """A window against all that follow it."""

    rules: Rules
    group: str
    window: Broadcast[Window]

    def removals(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `placed` to removals by an image of the window, as columns of `rounds`."""
        window = self.window.value
        reference: greedy.Reference | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            if reference is None:
                reference = greedy.Reference(
                    window.rows,
                    self.rules.values(self.group),
                    window.standing,
                    self.rules.task_device(),
                )
            masks = arrow.masks(batch.column("open"))
            covers = reference.against(
                arrow.float_matrix(batch.column("latent")),
                self.rules.flags(masks),
                block=self.rules.block,
            )
            ranks = batch.column("rank").to_numpy()
            yield arrow.record_batch(outcome(self.rules, ranks, covers, window.ranks), schema)
