"""Groups that are too large for one task, decided in rounds (docs/method.md, "Which images stay").

In a round the driver decides the next `prune.window` images, in order, that are references or still
undecided. Those that it keeps are sent to the executors, which compare them with all images that
follow. The work tables `placed` and `rounds` hold what a run that was stopped resumes from;
they are dropped when the selection is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.alignments import with_known
from jobs.duplicates.group_placement import PLACED, ROUNDS, resumable
from jobs.duplicates.groups import space_column
from jobs.duplicates.proof_tasks import EVIDENCE
from jobs.duplicates.proving import PICTURE, Exhausted, Proving
from jobs.duplicates.round_tasks import (
    DECISIONS,
    OUTCOMES,
    WindowOfKept,
    WindowScan,
)
from jobs.duplicates.rules import Rules
from jobs.duplicates.window_covers import Window, settle
from jobs.runtime.process import cores
from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.broadcasts import broadcast

FILE_IMAGES = 2**22  # images of a group whose removals lie in one file of `rounds`


@dataclass
class _Group:
    """The masks of a group's images by rank, on the driver.

    reference_mask, pending_mask: (n,), a bit for each rule. places: (n,), of the images in the
    order of the group. known: where rules ask for a proof, the pairs that are aligned already; None
    for none. next: images of lower rank have been compared with all that follow them.
    """

    name: str
    reference_mask: NDArray[np.int64]
    pending_mask: NDArray[np.int64]
    places: NDArray[np.int64]
    known: DataFrame | None = None
    next: int = 0

    def open(self) -> NDArray[np.int64]:
        """The ranks, from `next` on, of references and pending images."""
        masks = self.reference_mask[self.next :] | self.pending_mask[self.next :]
        return self.next + np.flatnonzero(masks)

    def window(self, most: int, places: int | None) -> NDArray[np.int64]:
        """The open ranks that a round settles: at most so many, or whole blocks of places.

        places: of a block; None where no rule asks for a proof. A block is settled as a whole, so
        that an image has the same tries in it as in one task: at least one block, however many of
        its images are open.
        """
        ranks = self.open()
        if places is None:
            return ranks[:most]
        ends = np.append(np.flatnonzero(np.diff(self.places[ranks] // places)) + 1, len(ranks))
        fitting = int(np.searchsorted(ends, most, side="right"))  # how many whole blocks fit
        return ranks[: ends[max(0, fitting - 1)]]


class Rounds:
    """The rounds of one run's large groups."""

    def __init__(
        self, stage_run: StageRun, rules: Rules, window: int, proving: Proving | None = None
    ) -> None:
        """Rounds on the table `placed` of a stage.

        window: images that a round settles. proving: where rules ask for a proof.
        """
        self._proving = proving
        self._stage_run = stage_run
        self._rules = rules
        self._window = window
        self._schema = OUTCOMES if proving else DECISIONS
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
        decided = self._stage_run.read(ROUNDS).where(F.col("kept").isNotNull())
        rows = decided.join(images, on=["group", "rank"])
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
            F.nanvl("threshold", F.lit(None).cast("double")).alias("threshold"),
            "kept",
            "kept_id",
            "similarity",
            *EVIDENCE,
        )

    def exhausted(self, groups: Sequence[str]) -> Exhausted:
        """How many kept images of these groups used up their tries, by space and rule."""
        rows = self._stage_run.read(ROUNDS).where(F.col("group").isin(list(groups)))
        keys = ["group", "rule", "rank"]
        kept = rows.where("kept").select(keys)
        counts = (
            rows.where("exhausted")
            .select(keys)
            .distinct()
            .join(kept, on=keys, how="left_semi")
            .groupBy(space_column().alias("space"), "rule")
            .count()
        )
        return Counter({(row["space"], row["rule"]): row["count"] for row in counts.collect()})

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
        rows = self._placed(name).select("rank", "standing", "undecided", "place").toArrow()
        rows = rows.take(pa.array(np.argsort(rows.column("rank").to_numpy())))
        reference_mask, pending_mask = (
            np.array(rows.column(column).to_numpy()) for column in ("standing", "undecided")
        )
        place = rows.column("place")
        places = np.arange(len(rows)) if place.null_count else place.to_numpy()
        known = self._proving.known_on_disk() if self._proving else None
        group = _Group(name, reference_mask, pending_mask, places, known)
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
        masks = (
            decided.where(F.col("kept").isNotNull())
            .groupBy("rank")
            .agg(F.bit_or(levels[F.col("rule")].cast("bigint")).alias("mask"))
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
        proofs = self._rules.proofs
        ranks = group.window(self._window, proofs.places if proofs else None)
        last = int(ranks[-1])
        self._count += 1
        kept_images, settled = self._settle_window(group, ranks)
        with self._later_removals(group, last, kept_images) as removed, ExitStack() as stack:
            outcomes = settled.unionByName(removed)
            if self._proving:
                # The pairs are stored first: a round that is done again registers none anew.
                outcomes = outcomes.persist(StorageLevel.DISK_ONLY)
                stack.callback(outcomes.unpersist)
                self._proving.store_pairs(outcomes)
                outcomes = outcomes.where(F.col("rule").isNotNull())
            self._stage_run.write(
                self._rows(outcomes, group, last),
                ROUNDS,
                append=True,
                finished=False,
                metadata={"for": self._stage_run.fingerprint},
            )
        round_ = (F.col("group") == group.name) & (F.col("round") == self._count)
        self._remove_decided(group, self._stage_run.read(ROUNDS).where(round_))
        group.next = last + 1

    def _rows(self, outcomes: DataFrame, group: _Group, last: int) -> DataFrame:
        """Rows of `rounds`, from DECISIONS or OUTCOMES; `kept` is null in those of `exhausted`."""
        kept = F.isnan("similarity")
        rows = outcomes.withColumns(
            {
                "group": F.lit(group.name),
                "round": F.lit(self._count),
                "last_rank": F.lit(last).cast("bigint"),
                "kept": F.when(F.col("similarity").isNotNull(), kept),
                "kept_rank": F.when(~kept, F.col("kept_rank")),
                "similarity": F.when(~kept, F.col("similarity")),
            }
        )
        return arrow_frames.completed(rows, tables.TABLES[ROUNDS].schema)

    def _settle_window(
        self, group: _Group, ranks: NDArray[np.int64]
    ) -> tuple[WindowOfKept, DataFrame]:
        """Decide the images of these ranks on the driver.

        Returns the images that are kept by some rule, and rows of DECISIONS, or of OUTCOMES.
        """
        window = Window(
            group.name,
            ranks,
            group.places[ranks],
            self._window_rows(group, ranks),
            self._rules.flags(group.reference_mask[ranks]),
            self._rules.flags(group.pending_mask[ranks]),
        )
        schema = arrow_frames.arrow_schema(self._schema)
        kept_images, decided = settle(self._rules, window, schema, cores())
        frame = self._stage_run.spark.createDataFrame(decided, self._schema)
        return kept_images, frame.coalesce(1)

    def _window_rows(self, group: _Group, ranks: NDArray[np.int64]) -> pa.Table:
        """The images of rising ranks in their order, with what is compared of them."""
        offset, last = int(ranks[0]), int(ranks[-1])
        wanted = np.zeros(last + 1 - offset, np.int64)
        wanted[ranks - offset] = 1
        between = self._placed(group.name, F.col("rank").between(offset, last))
        rows = self._compared(_open_rows(between, wanted, offset, 1), group).drop("open").toArrow()
        return rows.take(pa.array(np.argsort(rows.column("rank").to_numpy())))

    def _compared(
        self, rows: DataFrame, group: _Group, others: Sequence[str] | None = None
    ) -> DataFrame:
        """The columns of rows of `placed` that are compared, with the alignments that are known.

        others: ids of images; only pairs with these are needed. None: with all.
        """
        if not self._proving:
            return rows.select("rank", "open", "latent")
        known = group.known
        if known is not None and others is not None:
            ids = arrow_frames.ids(self._stage_run.spark, others)
            ids = ids.withColumnRenamed("image_id", "other_id")
            known = known.join(F.broadcast(ids), on="other_id", how="left_semi")
        columns = ("rank", "open", "latent", "image_id", *PICTURE)
        return with_known(rows.select(*columns), known)

    @contextmanager
    def _later_removals(self, group: _Group, last: int, kept: WindowOfKept) -> Iterator[DataFrame]:
        """Rows of DECISIONS, or of OUTCOMES: which images behind `last` the kept ones remove.

        The frame must be used while the context is open.
        """
        later = group.pending_mask[last + 1 :]
        spark = self._stage_run.spark
        if not len(kept.ranks) or not later.any():
            yield arrow_frames.frame(spark, [], self._schema)
            return
        sent = broadcast(spark.sparkContext, kept)
        try:
            rows = self._placed(group.name, F.col("rank") > last)
            rows = _open_rows(rows, later, last + 1, self._mask_bytes)
            scan = WindowScan(self._rules, group.name, sent)
            others = kept.pictures.ids.to_pylist() if kept.pictures else None
            columns = self._compared(rows, group, others)
            removed = arrow_frames.mapped(columns, scan.removals, self._schema)
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
