"""What executors do with the latents of a group: greedy covers, and scans of a large one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import Accumulator, Broadcast
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.duplicates.groups import space_of
from jobs.runtime import console
from jobs.settings.load import Prune
from jobs.warehouse import tables
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.greedy import Cover, Flags

Masks = NDArray[np.int64]
ROWS = 16_384  # of small groups' results that leave a task together


@dataclass(frozen=True)
class Rules:
    """The rules of a run, what T each has in a group, and how many images are compared at once.

    own: the thresholds of groups that do not have the `common` ones, in the order of `names`.
    """

    names: tuple[str, ...]
    common: tuple[float, ...]
    own: Mapping[str, tuple[float, ...]]
    block: int
    device: str = "cpu"

    @classmethod
    def fixed(cls, settings: Prune) -> Self:
        """The rules whose threshold is given."""
        given = settings.fixed
        return cls(tuple(given), tuple(given.values()), {}, settings.block, settings.device)

    def here(self) -> str:
        """The device that this task computes on; torch is loaded for a GPU alone."""
        if self.device == "cpu":
            return self.device
        from jobs.autoencoder.encoder_udf import task_device  # it loads torch: two seconds a worker

        return task_device(self.device)

    def on_driver(self) -> str:
        """The device for what is computed on the driver, which may have none of the tasks'."""
        if self.device == "cpu":
            return self.device
        from jobs.autoencoder.encoder_udf import task_device

        return task_device("auto")

    def flags(self, masks: Masks) -> Flags:
        """Masks with a bit for each rule, (n,), as (rules, n)."""
        levels = np.arange(len(self.names))[:, None]
        return np.asarray((masks >> levels) & 1, np.bool_)

    def values(self, group: str = "") -> tuple[float, ...]:
        """The thresholds of a group in the rules' order."""
        return self.own.get(group, self.common)


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

    def now(self, groups: Mapping[str, int]) -> console.Progress:
        """For the console, of groups with so many images each."""
        images = self.images.value
        return console.Progress(
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
            standing=self.rules.flags(standing[:first]),
            undecided=open_,
            device=self.rules.here(),
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
        return tables.struct(f"image_id string, label string, {self.column} array<float>")

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
                    self.rules.here(),
                )
            masks = arrow.masks(batch.column("open"))
            covers = reference.against(
                arrow.float_matrix(batch.column("latent")),
                self.rules.flags(masks),
                block=self.rules.block,
            )
            ranks = batch.column("rank").to_numpy()
            yield arrow.record_batch(outcome(self.rules, ranks, covers, window.ranks), schema)
