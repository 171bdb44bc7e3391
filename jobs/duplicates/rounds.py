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

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from jobs.duplicates import cover_tasks
from jobs.duplicates import groups as image_groups
from jobs.duplicates.cover_tasks import Rules, Scan, Window
from jobs.runtime.console import Progress
from jobs.runtime.run import Work
from jobs.warehouse import tables
from jobs.warehouse.local_store import Stamp
from udfs import arrow
from udfs.duplicates import greedy

PIECE = 32_768  # images of a group that lie together in `placed`: 134 MB at width 1024
SENT = 2**21  # images whose ranks are sent to every executor, some 100 bytes each
FILE = 2**22  # images of a group whose removals lie together in `rounds`
PLACED, ROUNDS = "placed", "rounds"
REMOVALS = tables.struct("rule string, rank bigint, kept_rank bigint, similarity double")
_PACKED = tables.struct(
    "image_id string, label string, group string, standing bigint, undecided bigint, latent binary"
)


def pack(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Latents as bytes: they travel to Python in half the time of a list."""
    for batch in batches:
        columns = {name: batch.column(name) for name in schema.names}
        columns["latent"] = arrow.bytes_column(columns["latent"])
        yield arrow.record_batch(columns, schema)


def place(work: Work, found: DataFrame, counts: dict[str, int], order: Sequence[Column]) -> None:
    """The images of large groups, ranked and cut into pieces, into the table `placed`.

    counts: of each group. A piece is a file, so that those which are done are passed over.
    """
    if _resumable(work, PLACED, sorted(counts)):
        return
    chosen = found.where(F.col("group").isin(list(counts)))
    orders = [name for name in chosen.columns if name.startswith("order_")]
    narrow = chosen.select("image_id", "group", "standing", *orders)
    rank = (F.row_number().over(Over.partitionBy("group").orderBy(*order, "image_id")) - 1).cast(
        "bigint"
    )
    ranked = narrow.select("image_id", rank.alias("rank"))
    packed = tables.mapped(chosen.select(*_PACKED.names), pack, _PACKED)
    if sum(counts.values()) <= SENT:  # else latents go twice through Spark's shuffle
        ranked = F.broadcast(ranked)
    pieces = [-(-count // PIECE) for count in counts.values()]
    firsts = zip(counts, np.cumsum([0, *pieces[:-1]]).tolist(), strict=True)
    columns = tables.struct("group string, first_piece int")
    numbers = tables.frame(work.run.spark, firsts, columns)
    piece = (F.col("first_piece") + F.floor(F.col("rank") / PIECE)).cast("int")
    placed = (
        packed.join(ranked, on="image_id")
        .join(F.broadcast(numbers), on="group")
        .repartitionById(sum(pieces), piece)
        .sortWithinPartitions("rank")
        .select(tables.TABLES[PLACED].schema.names)
    )
    work.run.warehouse.drop(ROUNDS)
    notes = {"for": work.fingerprint, "groups": sorted(counts)}
    work.write(placed, PLACED, finished=False, notes=notes)


def _resumable(work: Work, table: str, groups: Sequence[str] | None = None) -> bool:
    """Whether a table is what this stage left when it was stopped, of the same large groups."""
    stamp: Stamp | None = work.run.warehouse.newest(table, work.stage)
    if stamp is None or work.stage in work.run.settings.overwrite:
        return False
    if groups is not None and stamp.notes.get("groups") != list(groups):
        return False
    return stamp.notes.get("for") == work.fingerprint


@dataclass
class _Group:
    """A group's images by rank: where each stands, where each is yet to be decided."""

    name: str
    standing: NDArray[np.int64]
    undecided: NDArray[np.int64]
    next: int = 0  # ranks below it have been compared with all that follow


class Rounds:
    """The rounds of one run's large groups."""

    def __init__(self, work: Work, rules: Rules, window: int) -> None:
        self._work = work
        self._rules = rules
        self._size = window
        self._count = 0
        self._resumed = _resumable(work, ROUNDS)
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
                self._work.tell(Progress(seconds, share, done, note))
        self._work.tell(None)

    def selection(self, groups: Sequence[str]) -> DataFrame:
        """Rows of `selection` of what the rounds have decided of these groups."""
        placed = self._work.read(PLACED)
        names = placed.select("group", "rank", "image_id", "label")
        keepers = names.select(
            "group", F.col("rank").alias("kept_rank"), F.col("image_id").alias("kept_id")
        )
        found = self._work.read(ROUNDS).join(names, on=["group", "rank"])
        found = found.join(keepers, on=["group", "kept_rank"], how="left")
        known = [
            (group, rule, threshold)
            for group in groups
            for rule, threshold in zip(self._rules.names, self._rules.values(group), strict=True)
        ]
        columns = tables.struct("group string, rule string, threshold double")
        thresholds = tables.frame(self._work.run.spark, known, columns)
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
            done = self._work.read(ROUNDS).where(F.col("group") == name)
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
        return self._work.read(PLACED).where(chosen if more is None else chosen & more)

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
            self._work.write(
                decided,
                ROUNDS,
                append=True,
                finished=False,
                notes={"for": self._work.fingerprint},
            )
        round_ = (F.col("group") == group.name) & (F.col("round") == self._count)
        self._close(group, self._work.read(ROUNDS).where(round_))
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
            standing=standing[:, : len(reference)],
            undecided=undecided[:, len(reference) :],
            device=self._rules.on_driver(),
        )
        followers = ranks[len(reference) :]
        parts = cover_tasks.outcome(self._rules, followers, covers, ranks)
        for rule, cover in zip(self._rules.names, covers, strict=True):
            kept = followers[cover.kept]
            parts["rule"] = np.append(parts["rule"], np.full(len(kept), rule))
            parts["rank"] = np.append(parts["rank"], kept)
            parts["kept_rank"] = np.append(parts["kept_rank"], np.full(len(kept), -1))
            parts["similarity"] = np.append(parts["similarity"], np.full(len(kept), np.nan))
        standing[:, len(reference) :] = [cover.kept for cover in covers]
        some_rule = np.flatnonzero(standing.any(axis=0))
        window = Window(ranks[some_rule], latents[some_rule], standing[:, some_rule])
        batch = arrow.record_batch(parts, tables.arrow_schema(REMOVALS))
        frame = self._work.run.spark.createDataFrame(pa.Table.from_batches([batch]), REMOVALS)
        return window, frame.coalesce(1)

    @contextmanager
    def _scanned(self, group: _Group, last: int, stays: Window) -> Iterator[DataFrame]:
        """What the images that stay remove of all that follow, to be used within."""
        later = group.undecided[last + 1 :]
        spark = self._work.run.spark
        if not len(stays.ranks) or not later.any():
            yield tables.frame(spark, [], REMOVALS)
            return
        window = spark.sparkContext.broadcast(stays)
        try:
            rows = self._placed(group.name, F.col("rank") > last)
            rows = _where(rows, later, last + 1, self._bytes)
            scan = Scan(self._rules, group.name, window)
            columns = rows.select("rank", "open", "latent")
            found = tables.mapped(columns, scan.removals, REMOVALS)
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
