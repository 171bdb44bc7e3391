"""All images with all others, window by window: what `leaks` and `conflicts` look for.

A window of latents is collected and sent to the executors, which compare it with every image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.duplicates.rules import Rules
from jobs.settings.duplicates import RAW
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy
from udfs.vectors.pairs import SearchableRows

COLUMNS = ("image_id", "label", "split", "latent")
HITS = arrow_frames.struct(
    "image_id string, label string, split string, rule string, reference_id string, "
    "reference_label string, reference_split string, similarity double"
)
PAIRS = arrow_frames.struct(
    "image_id string, label string, other_id string, other_label string, similarity double"
)
Batches = Iterable[pa.RecordBatch]


def asked(settings: Settings) -> list[Any]:
    """What decides which leaks are found, as JSON has it."""
    leaks = settings.leaks
    thresholds = [list(rule) for rule in settings.prune.fixed.items()]
    space = settings.prune.space[0]
    more = [] if space == RAW else [space]  # what was asked for before there was a choice: raw
    return [thresholds, list(leaks.split), leaks.warehouse, leaks.scope, *more]


@dataclass(frozen=True)
class ReferenceWindow:
    """The images that are broadcast as one window, sorted by the UTF-8 bytes of their ids."""

    names: pa.Table  # image_id, label, split
    rows: NDArray[np.float32]

    def at(self, places: NDArray[np.int64], column: str) -> pa.ChunkedArray:
        """Return a column of the images with these indices."""
        return self.names.column(column).take(pa.array(places))

    def labels(self) -> NDArray[Any]:
        """Return the labels of all images, as text."""
        return np.asarray(self.names.column("label").to_pylist(), dtype=object)


def buckets(number: int) -> Column:
    """Which of so many windows an image belongs to: by a hash of its id."""
    return F.pmod(F.xxhash64("image_id"), F.lit(number)).cast("int")


def each_window(
    latents: DataFrame,
    images: int,
    window: int,
    found: Callable[[Column, Broadcast[ReferenceWindow]], pa.Table],
) -> Iterator[pa.Table]:
    """What is found with each window of about `window` images at most, one after the other.

    found: is given whether an image belongs to this window or a later one, and the window.
    """
    number = max(1, -(-images // window))
    context = latents.sparkSession.sparkContext
    for bucket in range(number):
        rows = latents.where(buckets(number) == bucket).select(*COLUMNS).toArrow()
        if not rows.num_rows:
            continue
        # Ids in the order of their UTF-8 bytes, as Spark compares them.
        order = np.argsort([name.encode() for name in rows.column("image_id").to_pylist()])
        rows = rows.take(pa.array(order))
        latent = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        held = context.broadcast(ReferenceWindow(rows.drop_columns(["latent"]), latent))
        try:
            yield found(buckets(number) >= bucket, held)
        finally:
            held.destroy()


@dataclass(frozen=True)
class LeakScan:
    """A window of a reference against all candidates."""

    rules: Rules
    by_label: bool
    window: Broadcast[ReferenceWindow]

    def table(self, candidates: DataFrame) -> pa.Table:
        """Rows of HITS: each candidate's first reference image of the window, by rule."""
        return _collected(candidates, self.hits, HITS)

    def hits(self, batches: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of HITS."""
        held = self.window.value
        labels = held.labels()
        ready: dict[str | None, tuple[NDArray[np.int64], greedy.Reference]] = {}
        for batch in batches:
            for label, rows in self._parts(batch):
                if label not in ready:
                    wanted = labels == label if self.by_label else np.ones(len(labels), np.bool_)
                    places = np.flatnonzero(wanted)
                    reference = greedy.Reference(
                        held.rows[places], self.rules.values(), device=self.rules.task_device()
                    )
                    ready[label] = places, reference
                yield from self._of(rows, *ready[label], held, schema)

    def _parts(self, batch: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        if not self.by_label:
            yield None, batch
            return
        labels = batch.column("label")
        for label in labels.unique().to_pylist():
            yield label, batch.filter(pa.compute.equal(labels, label))

    def _of(
        self,
        rows: pa.RecordBatch,
        places: NDArray[np.int64],
        reference: greedy.Reference,
        held: ReferenceWindow,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        if not rows.num_rows or not len(places):
            return
        latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        covers = reference.against(latents, block=self.rules.block)
        for rule, cover in zip(self.rules.names, covers, strict=True):
            hit = np.flatnonzero(cover.keeper >= 0)
            columns: dict[str, Any] = {
                name: rows.column(name).take(pa.array(hit))
                for name in ("image_id", "label", "split")
            }
            columns |= {
                f"reference_{short}": held.at(places[cover.keeper[hit]], name)
                for short, name in (("id", "image_id"), ("label", "label"), ("split", "split"))
            }
            columns |= {"rule": [rule] * len(hit), "similarity": cover.similarity[hit]}
            yield arrow.record_batch(columns, schema)


@dataclass(frozen=True)
class ConflictScan:
    """A window against all images of its own and of later windows."""

    threshold: float
    most: int
    window: Broadcast[ReferenceWindow]

    def table(self, latents: DataFrame) -> pa.Table:
        """Rows of PAIRS: two images above the threshold with unlike labels.

        A task ends once it has found more than `most`, for then there are too many anyway.
        """
        return _collected(latents, self.pairs, PAIRS)

    def pairs(self, batches: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Images to rows of PAIRS, the image of the smaller id first."""
        held = self.window.value
        labels = held.labels()
        ids = np.asarray(held.names.column("image_id").to_pylist(), dtype=object)
        place = {name: i for i, name in enumerate(ids.tolist())}
        ready: SearchableRows | None = None
        count = 0
        for batch in batches:
            if not batch.num_rows or count > self.most:
                continue
            if ready is None:
                ready = SearchableRows(held.rows, self.threshold)
            names = np.asarray(batch.column("image_id").to_pylist(), dtype=object)
            classes = np.asarray(batch.column("label").to_pylist(), dtype=object)
            own = np.asarray([place.get(name, len(ids)) for name in names])
            wanted = partial(_unlike, labels, classes, own)
            latents = np.ascontiguousarray(arrow.matrix(batch.column("latent")))
            i, j, similarity = ready.pairs(latents, wanted)
            count += len(i)
            one = zip(ids[i], labels[i], strict=True)
            other = zip(names[j], classes[j], strict=True)
            ordered = [
                sorted(both, key=lambda image: image[0].encode())
                for both in zip(one, other, strict=True)
            ]
            columns = {
                "image_id": [first[0] for first, _ in ordered],
                "label": [first[1] for first, _ in ordered],
                "other_id": [second[0] for _, second in ordered],
                "other_label": [second[1] for _, second in ordered],
                "similarity": similarity,
            }
            yield arrow.record_batch(columns, schema)


def _collected(latents: DataFrame, rows: Callable[..., Any], schema: T.StructType) -> pa.Table:
    found = arrow_frames.mapped(latents.select(*COLUMNS), rows, schema)
    return found.toArrow().cast(arrow_frames.arrow_schema(schema))


def _unlike(
    labels: NDArray[Any],
    classes: NDArray[Any],
    own: NDArray[np.int64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Pairs of unlike labels; own: places in the window, so that none of its pairs comes twice."""
    return np.asarray((labels[i] != classes[j]) & (i < own[j]), np.bool_)
