"""Greedy covers of whole groups, as tasks on the executors, and how far these tasks are.

Use `GroupCovers` where Spark brings the groups to the tasks, and `ClassCovers` where tasks read
classes from the files of a table. What is decided is defined in udfs/duplicates/greedy.py, and for
rules that ask for a proof in proof_cover.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Accumulator
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.duplicates.groups import space_of
from jobs.duplicates.proof_tasks import group_proofs
from jobs.duplicates.rules import Rules
from jobs.runtime.progress import Progress
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.cover_search import Cover, Flags
from udfs.vectors.cosine import Matrix

ROWS = 16_384  # rows of small groups that leave a task as one batch


@dataclass(frozen=True)
class CoverProgress:
    """What the tasks that have ended did: groups and images decided, and images kept."""

    groups: Accumulator[int]
    images: Accumulator[int]
    kept: Accumulator[int]
    since: float

    @classmethod
    def begin(cls, spark: SparkSession) -> Self:
        """Nothing is done yet; the clock starts."""
        context = spark.sparkContext
        groups, images, kept = (context.accumulator(0) for _ in range(3))
        return cls(groups, images, kept, time.monotonic())

    def current(self, counts: Mapping[str, int]) -> Progress:
        """The progress to be shown; counts: images of each group."""
        images = self.images.value
        return Progress(
            time.monotonic() - self.since,
            images / max(1, sum(counts.values())),
            images,
            f"{self.groups.value:,} of {len(counts):,} groups, {self.kept.value:,} of "
            f"{images:,} images kept",
        )


@dataclass(frozen=True)
class GroupCovers:
    """The covers of whole groups, which a task decides one after the other."""

    rules: Rules
    progress: CoverProgress

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates, sorted by group and order, to rows of `selection`, or of OUTCOMES.

        An image has one row for each rule by which it is pending. Where rules ask for a proof, the
        candidates need the columns of `proof_tasks.group_proofs`, and OUTCOMES have the pairs that
        were tried.
        """
        waiting: list[pa.RecordBatch] = []
        for group, candidates in arrow.groups(batches, "group"):
            latents = np.ascontiguousarray(arrow.matrix(candidates.column("latent")))
            # The vectors would be held twice, as Arrow's and as the matrix, while kept ones are
            # copied once more.
            candidates = candidates.drop_columns("latent")
            if not self.rules.proofs:  # pictures are larger than what is won
                candidates = candidates.combine_chunks()  # copies: Spark's batches are one buffer
            waiting += self._group_rows(group, candidates, latents, schema)
            if sum(part.num_rows for part in waiting) >= ROWS:
                yield pa.concat_batches(waiting)
                waiting = []
        if waiting:
            yield pa.concat_batches(waiting)

    def _group_rows(
        self, group: str, candidates: pa.Table, latents: Matrix, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one group, a batch for each rule."""
        reference_mask = candidates.column("reference_mask").to_numpy()
        first = int(np.count_nonzero(reference_mask))  # references come before the others
        kept: list[Flags] = []
        if self.rules.by_threshold:
            covers = self._covers(group, candidates, latents, first)
            kept += [cover.kept for cover in covers]
            yield from self._cover_rows(group, candidates, first, covers, schema)
        if self.rules.proofs:
            proofs = group_proofs(self.rules, self.rules.proofs, group, candidates, latents, first)
            kept += proofs.kept
            yield from proofs.rows(schema)
        self.progress.groups.add(1)
        self.progress.images.add(len(latents) - first)
        self.progress.kept.add(int(np.count_nonzero(np.any(kept, axis=0))))

    def _covers(self, group: str, candidates: pa.Table, latents: Matrix, first: int) -> list[Cover]:
        """The covers of the rules with a threshold."""
        levels = self.rules.by_threshold
        reference_mask, pending_mask = (
            self.rules.flags(candidates.column(name).to_numpy())[levels]
            for name in ("reference_mask", "pending_mask")
        )
        return greedy.covers(
            latents[:first],
            latents[first:],
            self.rules.thresholds(group),
            block=self.rules.block,
            reference_mask=reference_mask[:, :first],
            pending_mask=pending_mask[:, first:],
            device=self.rules.task_device(),
        )

    def _cover_rows(
        self,
        group: str,
        candidates: pa.Table,
        first: int,
        covers: Sequence[Cover],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the rules with a threshold; first: the position of the first candidate."""
        pending = self.rules.flags(candidates.column("pending_mask").to_numpy()[first:])
        ids, labels = (candidates.column(name).combine_chunks() for name in ("image_id", "label"))
        for level, threshold, cover in zip(
            self.rules.by_threshold, self.rules.thresholds(group), covers, strict=True
        ):
            chosen = np.flatnonzero(pending[level])
            kept = cover.kept[chosen]
            columns = {
                "image_id": ids.take(pa.array(first + chosen)),
                "label": labels.take(pa.array(first + chosen)),
                "rule": [self.rules.names[level]] * len(chosen),
                "space": [space_of(group)] * len(chosen),
                "threshold": np.full(len(chosen), threshold),
                "kept": pa.array(kept),
                "kept_id": ids.take(pa.array(cover.keeper[chosen], mask=kept)),
                "similarity": pa.array(cover.similarity[chosen], mask=kept),
            }
            yield arrow.padded_batch(columns, len(chosen), schema)


@dataclass(frozen=True)
class ClassCovers:
    """The covers of whole classes of one space, in which every image is pending by every rule.

    column: of the space's table, which holds the vectors.
    """

    covers: GroupCovers
    space: str
    column: str

    @property
    def columns(self) -> T.StructType:
        """The columns of the space's table that the tasks read."""
        return arrow_frames.struct(f"image_id string, label string, {self.column} array<float>")

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of the space's table, sorted by class and id, to rows of `selection`."""
        return self.covers.rows(map(self._candidates, batches), schema)

    def _candidates(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        n = batch.num_rows
        every = (1 << len(self.covers.rules.names)) - 1
        columns = {
            "image_id": batch.column("image_id"),
            "label": batch.column("label"),
            "group": pc.binary_join_element_wise(self.space, batch.column("label"), "/"),
            "reference_mask": pa.array(np.zeros(n, np.int64)),
            "pending_mask": pa.array(np.full(n, every, np.int64)),
            "latent": batch.column(self.column),
        }
        return pa.RecordBatch.from_pydict(columns)
