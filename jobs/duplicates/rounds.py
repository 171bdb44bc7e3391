"""Groups that are too large for one task, decided in rounds (docs/method.md, "Which images stay").

In a round the driver decides the next `prune.window` images, in order, that are references or still
undecided. Those that it keeps are sent to the executors, which compare them with all images that
follow. The work tables `placed` and `rounds` hold what a run that was stopped resumes from;
they are dropped when the selection is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.group_placement import PLACED, ROUNDS, resumable
from jobs.duplicates.groups import space_column
from jobs.duplicates.round_tasks import DECISIONS, WindowOfKept, WindowScan, removals
from jobs.duplicates.rules import Rules
from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames, tables
from udfs import arrow
from udfs.duplicates import greedy

FILE_IMAGES = 2**22  # images of a group whose removals lie in one file of `rounds`


@dataclass
class _Group:
    """The masks of a group's images by rank, on the driver.

    reference_mask, pending_mask: (n,), a bit for each rule. next: images of lower rank have been
    compared with all that follow them.
    """

    name: str
    reference_mask: NDArray[np.int64]
    pending_mask: NDArray[np.int64]
    next: int = 0

    def open(self) -> NDArray[np.int64]:
        """The ranks, from `next` on, of references and pending images."""
        masks = self.reference_mask[self.next :] | self.pending_mask[self.next :]
        return self.next + np.flatnonzero(masks)


class Rounds:
    """The rounds of one run's large groups."""

    def __init__(self, stage_run: StageRun, rules: Rules, window: int) -> None:
        """Rounds on the table `placed` of a stage; window: images that a round settles."""
        self._stage_run = stage_run
        self._rules = rules
        self._window = window
        self._count = 0
        self._resumed = resumable(stage_run, ROUNDS)
        self._mask_bytes = (len(rules.names) + 7) // 8

    def settle(self, groups: Sequence[str]) -> None:
        """Decide every group to its end; rounds that the table `rounds` holds are not repeated."""
        for name in sorted(groups):
            group = self._load(name)
            start, start_rank = time.monotonic(), group.next
            while len(group.open()):
                self._round(group)
                self._show_progress(group, start, start_rank)
        self._stage_run.set_progress(None)

    def selection(self, groups: Sequence[str]) -> DataFrame:
        """Rows of `selection`: what the rounds decided in these groups."""
        placed = self._stage_run.read(PLACED)
        images = placed.select("group", "rank", "image_id", "label")
        keepers = images.select(
            "group", F.col("rank").alias("kept_rank"), F.col("image_id").alias("kept_id")
        )
        rows = self._stage_run.read(ROUNDS).join(images, on=["group", "rank"])
        rows = rows.join(keepers, on=["group", "kept_rank"], how="left")
        values = [
            (group, rule, threshold)
            for group in groups
            for rule, threshold in zip(self._rules.names, self._rules.values(group), strict=True)
        ]
        columns = arrow_frames.struct("group string, rule string, threshold double")
        thresholds = arrow_frames.frame(self._stage_run.spark, values, columns)
        return rows.join(F.broadcast(thresholds), on=["group", "rule"]).select(
            "image_id",
            "label",
            "rule",
            space_column().alias("space"),
            "threshold",
            "kept",
            "kept_id",
            "similarity",
        )

    def _show_progress(self, group: _Group, start: float, start_rank: int) -> None:
        """Show how many images are decided; start, start_rank: when and at which rank it began."""
        total = len(group.pending_mask)
        pending = int(np.count_nonzero(group.pending_mask))
        decided = f"{total - pending:,} of {total:,} images decided"
        note = f"{group.name}: round {self._count}, {decided}"
        done = group.next - start_rank
        share = done / max(1, total - start_rank)
        self._stage_run.set_progress(Progress(time.monotonic() - start, share, done, note))

    def _load(self, name: str) -> _Group:
        """A group as the tables `placed` and `rounds` have it."""
        rows = self._placed(name).select("rank", "standing", "undecided").toArrow()
        rows = rows.take(pa.array(np.argsort(rows.column("rank").to_numpy())))
        reference_mask, pending_mask = (
            np.array(rows.column(column).to_numpy()) for column in ("standing", "undecided")
        )
        group = _Group(name, reference_mask, pending_mask)
        if self._resumed:
            done = self._stage_run.read(ROUNDS).where(F.col("group") == name)
            ends = done.agg(F.max("last_rank").alias("rank"), F.max("round").alias("round")).first()
            if ends and ends.rank is not None:
                group.next, self._count = ends.rank + 1, max(self._count, ends.round)
                self._remove_decided(group, done)
        return group

    def _remove_decided(self, group: _Group, decided: DataFrame) -> None:
        """Take what rows of `rounds` decide out of the pending mask.

        The executors add the rows of an image up, so that one number for each image reaches the
        driver.
        """
        levels = F.create_map(
            *(F.lit(x) for level, name in enumerate(self._rules.names) for x in (name, 1 << level))
        )
        masks = decided.groupBy("rank").agg(
            F.bit_or(levels[F.col("rule")].cast("bigint")).alias("mask")
        )
        table = masks.toArrow()
        ranks, closed = (table.column(name).to_numpy() for name in ("rank", "mask"))
        group.pending_mask[ranks] &= ~closed

    def _placed(self, name: str, condition: Column | None = None) -> DataFrame:
        """The rows of a group in `placed`, or those of them that fulfil a condition."""
        of_group = F.col("group") == name
        where = of_group if condition is None else of_group & condition
        return self._stage_run.read(PLACED).where(where)

    def _round(self, group: _Group) -> None:
        """Settle the next window, compare what it keeps with all that follow, store the outcome."""
        ranks = group.open()[: self._window]
        last = int(ranks[-1])
        self._count += 1
        kept_images, settled = self._settle_window(group, ranks)
        with self._later_removals(group, last, kept_images) as removed:
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
                arrow_frames.completed(decided, tables.TABLES[ROUNDS].schema),
                ROUNDS,
                append=True,
                finished=False,
                metadata={"for": self._stage_run.fingerprint},
            )
        round_ = (F.col("group") == group.name) & (F.col("round") == self._count)
        self._remove_decided(group, self._stage_run.read(ROUNDS).where(round_))
        group.next = last + 1

    def _settle_window(
        self, group: _Group, ranks: NDArray[np.int64]
    ) -> tuple[WindowOfKept, DataFrame]:
        """Decide the images of these ranks on the driver.

        Returns the images that are kept by some rule, and rows of DECISIONS.
        """
        vectors = self._vectors(group, ranks)
        reference_mask = self._rules.flags(group.reference_mask[ranks])
        pending_mask = self._rules.flags(group.pending_mask[ranks])
        reference_count = int(np.count_nonzero(group.reference_mask[ranks]))
        decided_ranks = ranks[reference_count:]  # references come first
        covers = greedy.covers(
            vectors[:reference_count],
            vectors[reference_count:],
            self._rules.values(group.name),
            block=self._rules.block,
            reference_mask=reference_mask[:, :reference_count],
            pending_mask=pending_mask[:, reference_count:],
            device=self._rules.driver_device(),
        )
        columns = removals(self._rules, decided_ranks, covers, ranks)
        for rule, cover in zip(self._rules.names, covers, strict=True):
            kept = decided_ranks[cover.kept]
            columns["rule"] = np.append(columns["rule"], np.full(len(kept), rule))
            columns["rank"] = np.append(columns["rank"], kept)
            columns["kept_rank"] = np.append(columns["kept_rank"], np.full(len(kept), -1))
            columns["similarity"] = np.append(columns["similarity"], np.full(len(kept), np.nan))
        batch = arrow.record_batch(columns, arrow_frames.arrow_schema(DECISIONS))
        frame = self._stage_run.spark.createDataFrame(pa.Table.from_batches([batch]), DECISIONS)
        reference_mask[:, reference_count:] = [cover.kept for cover in covers]
        by_any = np.flatnonzero(reference_mask.any(axis=0))
        kept_images = WindowOfKept(ranks[by_any], vectors[by_any], reference_mask[:, by_any])
        return kept_images, frame.coalesce(1)

    def _vectors(self, group: _Group, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of images, (n, width), in the order of their rising ranks."""
        offset, last = int(ranks[0]), int(ranks[-1])
        wanted = np.zeros(last + 1 - offset, np.int64)
        wanted[ranks - offset] = 1
        between = self._placed(group.name, F.col("rank").between(offset, last))
        rows = _open_rows(between, wanted, offset, 1).select("rank", "latent").toArrow()
        rows = rows.take(pa.array(np.argsort(rows.column("rank").to_numpy())))
        return arrow.float_matrix(rows.column("latent"))

    @contextmanager
    def _later_removals(self, group: _Group, last: int, kept: WindowOfKept) -> Iterator[DataFrame]:
        """Rows of DECISIONS: which images behind the rank `last` the kept ones remove.

        The frame must be used while the context is open.
        """
        later = group.pending_mask[last + 1 :]
        spark = self._stage_run.spark
        if not len(kept.ranks) or not later.any():
            yield arrow_frames.frame(spark, [], DECISIONS)
            return
        sent = spark.sparkContext.broadcast(kept)
        try:
            rows = self._placed(group.name, F.col("rank") > last)
            rows = _open_rows(rows, later, last + 1, self._mask_bytes)
            scan = WindowScan(self._rules, group.name, sent)
            columns = rows.select("rank", "open", "latent")
            removed = arrow_frames.mapped(columns, scan.removals, DECISIONS)
            yield removed.repartition(1 + len(later) // FILE_IMAGES)  # else a file for each task
        finally:
            sent.destroy()


def _open_rows(rows: DataFrame, masks: NDArray[np.int64], offset: int, size: int) -> DataFrame:
    """Rows whose mask is not zero, with the low `size` bytes of it in the column `open`.

    masks: (n,), by rank from `offset` on. They are part of the query, so that rows which are
    decided never leave the JVM.
    """
    packed = masks.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :size].tobytes()
    start = ((F.col("rank") - offset) * size + 1).cast("int")
    open_ = F.lit(bytearray(packed)).substr(start, F.lit(size))
    return rows.withColumn("open", open_).where(F.col("open") != F.lit(bytearray(size)))
