"""What executors do with the latents of a group: greedy covers, and scans of a large one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Accumulator
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.duplicates.groups import space_of
from jobs.duplicates.rules import Rules
from jobs.runtime import progress as console_progress
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy

ROWS = 16_384  # of small groups' results that leave a task together


@dataclass(frozen=True)
class Progress:
    """What tasks have done so far, as far as they have ended."""

    groups: Accumulator[int]
    images: Accumulator[int]
    kept: Accumulator[int]
    since: float

    @classmethod
    def begun(cls, spark: SparkSession) -> Self:
        """Nothing done yet."""
        context = spark.sparkContext
        groups, images, kept = (context.accumulator(0) for _ in range(3))
        return cls(groups, images, kept, time.monotonic())

    def now(self, groups: Mapping[str, int]) -> console_progress.Progress:
        """For the console, of groups with so many images each."""
        images = self.images.value
        return console_progress.Progress(
            time.monotonic() - self.since,
            images / max(1, sum(groups.values())),
            images,
            f"{self.groups.value:,} of {len(groups):,} groups, {self.kept.value:,} of "
            f"{images:,} images kept",
        )


@dataclass(frozen=True)
class Pruning:
    """Whole groups, one after the other."""

    rules: Rules
    progress: Progress

    def selection_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by group and order, to rows of `selection`: one an image and rule.

        An image that is not to be decided at a rule has no row there.
        """
        held: list[pa.RecordBatch] = []
        for group, rows in arrow.groups(batches, "group"):
            held += self._group_rows(group, rows, schema)
            if sum(part.num_rows for part in held) >= ROWS:
                yield pa.concat_batches(held)
                held = []
        if held:
            yield pa.concat_batches(held)

    def _group_rows(
        self, group: str, rows: pa.Table, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        standing, undecided = (rows.column(name).to_numpy() for name in ("standing", "undecided"))
        ids, labels = (rows.column(name).combine_chunks() for name in ("image_id", "label"))
        first = int(np.count_nonzero(standing))  # those that stand come first
        open_ = self.rules.flags(undecided[first:])
        thresholds = self.rules.values(group)
        covers = greedy.covers(
            latents[:first],
            latents[first:],
            thresholds,
            block=self.rules.block,
            reference_mask=self.rules.flags(standing[:first]),
            pending_mask=open_,
            device=self.rules.task_device(),
        )
        for rule, threshold, cover, decided in zip(
            self.rules.names, thresholds, covers, open_, strict=True
        ):
            chosen = np.flatnonzero(decided)
            kept = cover.kept[chosen]
            n = len(chosen)
            columns = {
                "image_id": ids.take(pa.array(first + chosen)),
                "label": labels.take(pa.array(first + chosen)),
                "rule": [rule] * n,
                "space": [space_of(group)] * n,
                "threshold": np.full(n, threshold),
                "kept": pa.array(kept),
                "kept_id": ids.take(pa.array(cover.keeper[chosen], mask=kept)),
                "similarity": pa.array(cover.similarity[chosen], mask=kept),
            }
            yield arrow.record_batch(columns, schema)
        self.progress.groups.add(1)
        self.progress.images.add(len(latents) - first)
        stays = np.any([cover.kept for cover in covers], axis=0)
        self.progress.kept.add(int(np.count_nonzero(stays)))


@dataclass(frozen=True)
class Plain:
    """Whole classes of one space, of which every image is to be decided by every rule."""

    pruning: Pruning
    space: str
    column: str  # of the vectors

    @property
    def columns(self) -> T.StructType:
        """What of the space's table is wanted."""
        return arrow_frames.struct(f"image_id string, label string, {self.column} array<float>")

    def selection_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of the table, sorted by class and id, to rows of `selection`."""
        return self.pruning.selection_rows(map(self._marked, batches), schema)

    def _marked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        n = batch.num_rows
        every = (1 << len(self.pruning.rules.names)) - 1
        columns = {
            "image_id": batch.column("image_id"),
            "label": batch.column("label"),
            "group": pc.binary_join_element_wise(self.space, batch.column("label"), "/"),
            "standing": pa.array(np.zeros(n, np.int64)),
            "undecided": pa.array(np.full(n, every, np.int64)),
            "latent": batch.column(self.column),
        }
        return pa.RecordBatch.from_pydict(columns)
