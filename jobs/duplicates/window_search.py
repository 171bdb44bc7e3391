"""Comparison of all images with all others, window by window, for the stages leaks and conflicts.

The images are divided into windows by a hash of their ids. The driver collects one window after the
other and sends it to the executors, which compare it with their images: `each_window` does so, and
`LeakScan` and `ConflictScan` are the comparisons.
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
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy
from udfs.vectors.cosine import Indices, Matrix
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


@dataclass(frozen=True)
class ReferenceWindow:
    """The images of a window, by their ids, on their way to the executors.

    images: image_id, label and split. vectors: (n, width), in the same order.
    """

    images: pa.Table
    vectors: Matrix

    def take(self, indices: Indices, column: str) -> pa.ChunkedArray:
        """A column of the images with these indices."""
        return self.images.column(column).take(pa.array(indices))

    def texts(self, column: str) -> NDArray[Any]:
        """A column of all images: (n,) of str or None."""
        return _texts(self.images, column)


def _texts(rows: pa.Table | pa.RecordBatch, column: str) -> NDArray[Any]:
    return np.asarray(rows.column(column).to_pylist(), dtype=object)


def bucket(windows: int) -> Column:
    """The number of the window, of so many, to which an image belongs."""
    return F.pmod(F.xxhash64("image_id"), F.lit(windows)).cast("int")


def each_window(
    latents: DataFrame,
    images: int,
    window: int,
    compare: Callable[[Column, Broadcast[ReferenceWindow]], pa.Table],
) -> Iterator[pa.Table]:
    """The results of `compare` for one window after the other.

    Args:
        latents: the images that are divided into windows, with the columns COLUMNS.
        images: how many they are.
        window: about how many images a window holds at most.
        compare: it is given a condition, that an image belongs to this window or a later one, and
            the window. A window without images is passed over.
    """
    windows = max(1, -(-images // window))
    context = latents.sparkSession.sparkContext
    for number in range(windows):
        rows = latents.where(bucket(windows) == number).select(*COLUMNS).toArrow()
        if not rows.num_rows:
            continue
        # Ids in the order of their UTF-8 bytes, as Spark compares them.
        order = np.argsort([name.encode() for name in rows.column("image_id").to_pylist()])
        rows = rows.take(pa.array(order))
        vectors = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        sent = context.broadcast(ReferenceWindow(rows.drop_columns(["latent"]), vectors))
        try:
            yield compare(bucket(windows) >= number, sent)
        finally:
            sent.destroy()


@dataclass(frozen=True)
class LeakScan:
    """Candidates against a window of reference images; by_label: only within a label."""

    rules: Rules
    by_label: bool
    window: Broadcast[ReferenceWindow]

    def table(self, candidates: DataFrame) -> pa.Table:
        """Rows of HITS: each candidate's first reference image of the window, by rule."""
        return _collected(candidates, self.hits, HITS)

    def hits(self, batches: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of HITS."""
        window = self.window.value
        labels = window.texts("label")
        prepared: dict[str | None, tuple[Indices, greedy.Reference]] = {}
        for batch in batches:
            for label, rows in self._by_label(batch):
                if label not in prepared:
                    mask = labels == label if self.by_label else np.ones(len(labels), np.bool_)
                    indices = np.flatnonzero(mask)
                    reference = greedy.Reference(
                        window.vectors[indices],
                        self.rules.values(),
                        device=self.rules.task_device(),
                    )
                    prepared[label] = indices, reference
                indices, reference = prepared[label]
                if rows.num_rows and len(indices):
                    yield from self._hits(rows, indices, reference, schema)

    def _by_label(self, batch: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        """A batch in parts of one label; whole, under None, where labels do not matter."""
        if not self.by_label:
            yield None, batch
            return
        labels = batch.column("label")
        for label in labels.unique().to_pylist():
            yield label, batch.filter(pa.compute.equal(labels, label))

    def _hits(
        self,
        rows: pa.RecordBatch,
        indices: Indices,
        reference: greedy.Reference,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """Rows of HITS, a batch for each rule; indices: of the reference images in the window."""
        window = self.window.value
        latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        covers = reference.against(latents, block=self.rules.block)
        for rule, cover in zip(self.rules.names, covers, strict=True):
            hit = np.flatnonzero(cover.keeper >= 0)
            keeper = indices[cover.keeper[hit]]
            columns: dict[str, Any] = {
                name: rows.column(name).take(pa.array(hit))
                for name in ("image_id", "label", "split")
            }
            columns |= {
                "reference_id": window.take(keeper, "image_id"),
                "reference_label": window.take(keeper, "label"),
                "reference_split": window.take(keeper, "split"),
                "rule": [rule] * len(hit),
                "similarity": cover.similarity[hit],
            }
            yield arrow.record_batch(columns, schema)


@dataclass(frozen=True)
class ConflictScan:
    """Images of a window and of later windows against this window.

    A task ends once it has more than `most` pairs, for then there are too many in any case.
    """

    threshold: float
    most: int
    window: Broadcast[ReferenceWindow]

    def table(self, latents: DataFrame) -> pa.Table:
        """Rows of PAIRS: two images above the threshold with unlike labels."""
        return _collected(latents, self.pairs, PAIRS)

    def pairs(self, batches: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Images to rows of PAIRS, the image of the smaller id first."""
        window = self.window.value
        window_ids, window_labels = window.texts("image_id"), window.texts("label")
        index_of = {name: i for i, name in enumerate(window_ids.tolist())}
        searchable: SearchableRows | None = None
        count = 0
        for batch in batches:
            if not batch.num_rows or count > self.most:
                continue
            if searchable is None:
                searchable = SearchableRows(window.vectors, self.threshold)
            ids, labels = _texts(batch, "image_id"), _texts(batch, "label")
            own_index = np.asarray([index_of.get(name, len(window_ids)) for name in ids])
            condition = partial(_is_conflict, window_labels, labels, own_index)
            latents = np.ascontiguousarray(arrow.matrix(batch.column("latent")))
            i, j, similarity = searchable.pairs(latents, condition)
            count += len(i)
            left = zip(window_ids[i], window_labels[i], strict=True)
            right = zip(ids[j], labels[j], strict=True)
            ordered = [
                sorted(pair, key=lambda image: image[0].encode())
                for pair in zip(left, right, strict=True)
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
    frame = arrow_frames.mapped(latents.select(*COLUMNS), rows, schema)
    return frame.toArrow().cast(arrow_frames.arrow_schema(schema))


def _is_conflict(
    window_labels: NDArray[Any],
    labels: NDArray[Any],
    own_index: Indices,
    i: Indices,
    j: Indices,
) -> NDArray[np.bool_]:
    """Whether pairs of the window's image i and the batch's image j have unlike labels.

    own_index: of each image of the batch in the window, or the window's size. A pair within the
    window occurs twice, and counts only where i is the smaller index.
    """
    return np.asarray((window_labels[i] != labels[j]) & (i < own_index[j]), np.bool_)
