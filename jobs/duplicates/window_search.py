"""Comparison of all images with all others, window by window, for the stages leaks and conflicts.

The images are divided into windows by a hash of their ids. The driver collects one window after the
other and sends it to the executors, which compare it with their images: `each_window` does so, and
`LeakScan` and `ConflictScan` are the comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.duplicates.alignments import evidence
from jobs.duplicates.pictures import PICTURES, PictureAligner, PictureRows
from jobs.duplicates.rules import Rules
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.broadcasts import broadcast
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.pair_alignments import LargerOverlaps, PairAlignments
from udfs.duplicates.proof_cover import ProofReference
from udfs.registration import proved, shares
from udfs.registration.alignment import least_at_half_size
from udfs.vectors.cosine import Indices, Matrix
from udfs.vectors.pairs import SearchableRows

COLUMNS = ("image_id", "label", "split", "latent")
PICTURE = tuple(name for name in PICTURES.names if name not in COLUMNS)
HITS = arrow_frames.struct(
    "image_id string, label string, split string, rule string, reference_id string, "
    "reference_label string, reference_split string, similarity double, "
    f"{tables.EVIDENCE_BOTH_WAYS}"
)
PAIRS = arrow_frames.struct(
    "image_id string, label string, other_id string, other_label string, similarity double, "
    f"{tables.EVIDENCE_BOTH_WAYS}"
)
Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class ReferenceWindow:
    """The images of a window, by their ids, on their way to the executors.

    images: image_id, label and split. vectors: (n, width), in the same order. pictures: of the
    same images; None where no rule asks for a proof.
    """

    images: pa.Table
    vectors: Matrix
    pictures: PictureRows | None = None

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
        latents: the images that are divided into windows, with the columns COLUMNS, and those of
            PICTURES where rules ask for a proof.
        images: how many they are.
        window: about how many images a window holds at most.
        compare: it is given a condition, that an image belongs to this window or a later one, and
            the window. A window without images is passed over.
    """
    windows = max(1, -(-images // window))
    context = latents.sparkSession.sparkContext
    for number in range(windows):
        rows = _selected(latents.where(bucket(windows) == number)).toArrow()
        if not rows.num_rows:
            continue
        # Ids in the order of their UTF-8 bytes, as Spark compares them.
        order = np.argsort([name.encode() for name in rows.column("image_id").to_pylist()])
        rows = rows.take(pa.array(order))
        vectors = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        pictures = PictureRows.of(rows) if "grey" in rows.column_names else None
        images = rows.select(["image_id", "label", "split"])
        sent = broadcast(context, ReferenceWindow(images, vectors, pictures))
        try:
            yield compare(bucket(windows) >= number, sent)
        finally:
            sent.destroy()


@dataclass(frozen=True)
class _References:
    """Some images of a window, prepared for both kinds of rules.

    indices: of the images in the window. by_threshold, by_proof, pictures: None where there are no
    such rules.
    """

    indices: Indices
    by_threshold: greedy.Reference | None
    by_proof: ProofReference | None
    pictures: PictureRows | None


@dataclass(frozen=True)
class LeakScan:
    """Candidates against a window of reference images; by_label: only within a label.

    space: of the vectors.
    """

    rules: Rules
    space: str
    by_label: bool
    window: Broadcast[ReferenceWindow]

    def table(self, candidates: DataFrame) -> pa.Table:
        """Rows of HITS: each candidate's first reference image of the window, by rule."""
        return _collected(candidates, self.hits, HITS)

    def hits(self, batches: Batches, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of HITS."""
        window = self.window.value
        labels = window.texts("label")
        prepared: dict[str | None, _References] = {}
        for batch in batches:
            for label, rows in self._by_label(batch):
                if label not in prepared:
                    mask = labels == label if self.by_label else np.ones(len(labels), np.bool_)
                    prepared[label] = self._prepared(np.flatnonzero(mask))
                references = prepared[label]
                if rows.num_rows and len(references.indices):
                    latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
                    yield from self._hits_by_threshold(rows, latents, references, schema)
                    yield from self._hits_by_proof(rows, latents, references, schema)

    def _prepared(self, indices: Indices) -> _References:
        """The images of the window with these indices."""
        window, device = self.window.value, self.rules.task_device()
        vectors, thresholds = window.vectors[indices], self.rules.thresholds("")
        by_threshold, by_proof, pictures = None, None, None
        if thresholds:
            by_threshold = greedy.Reference(vectors, thresholds, device=device)
        if self.rules.proofs and window.pictures:
            rules = self.rules.proof_rules(self.rules.proofs, self.space)
            whole = replace(rules, places=max(1, len(indices)))  # the most similar ones come first
            by_proof = ProofReference(vectors, whole, device=device)
            pictures = window.pictures.take(indices)
        return _References(indices, by_threshold, by_proof, pictures)

    def _by_label(self, batch: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        """A batch in parts of one label; whole, under None, where labels do not matter."""
        if not self.by_label:
            yield None, batch
            return
        labels = batch.column("label")
        for label in labels.unique().to_pylist():
            yield label, batch.filter(pa.compute.equal(labels, label))

    def _hits_by_threshold(
        self, rows: pa.RecordBatch, latents: Matrix, references: _References, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of HITS by the rules that compare with a threshold, a batch for each."""
        if references.by_threshold is None:
            return
        covers = references.by_threshold.against(latents, block=self.rules.block)
        for rule, cover in zip(self.rules.threshold_names, covers, strict=True):
            hit = np.flatnonzero(cover.keeper >= 0)
            columns = self._columns(rule, rows, hit, references.indices[cover.keeper[hit]])
            columns["similarity"] = cover.similarity[hit]
            yield arrow.padded_batch(columns, len(hit), schema)

    def _hits_by_proof(
        self, rows: pa.RecordBatch, latents: Matrix, references: _References, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of HITS by the rules that ask for a proof, a batch for each."""
        proofs = self.rules.proofs
        if proofs is None or references.by_proof is None or references.pictures is None:
            return
        pictures = references.pictures.followed_by(PictureRows.of(pa.Table.from_batches([rows])))
        aligner = PictureAligner(pictures, proofs.orientations, self.rules.task_device())
        alignments = LargerOverlaps(aligner, pictures.content_numbers())
        found = references.by_proof.against(latents, alignments, block=self.rules.block)
        tried = alignments.both_ways()
        evidence_columns = evidence(tried, pictures)
        for rule, cover in zip(self.rules.proof_names, found.covers, strict=True):
            hit = np.flatnonzero(cover.keeper >= 0)
            pair = pa.array(cover.pair[hit])
            columns = self._columns(rule, rows, hit, references.indices[cover.keeper[hit]])
            columns |= {name: column.take(pair) for name, column in evidence_columns.items()}
            columns["similarity"] = tried.similarity[cover.pair[hit]]
            yield arrow.padded_batch(columns, len(hit), schema)

    def _columns(
        self, rule: str, rows: pa.RecordBatch, hit: Indices, keeper: Indices
    ) -> dict[str, Any]:
        """The columns of HITS that name the images.

        hit: rows of the candidates. keeper: the index in the window of each one's reference image.
        """
        window = self.window.value
        columns: dict[str, Any] = {
            name: rows.column(name).take(pa.array(hit)) for name in ("image_id", "label", "split")
        }
        return columns | {
            "reference_id": window.take(keeper, "image_id"),
            "reference_label": window.take(keeper, "label"),
            "reference_split": window.take(keeper, "split"),
            "rule": [rule] * len(hit),
        }


@dataclass(frozen=True)
class ConflictScan:
    """Images of a window and of later windows against this window.

    threshold: the similarity above which pairs are listed; or registered, where there is a `proof`.
    A task ends once it has more than `most` pairs, for then there are too many in any case.
    """

    threshold: float
    most: int
    window: Broadcast[ReferenceWindow]
    proof: PairProof | None = None

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
            columns = _ordered(window_ids[i], window_labels[i], ids[j], labels[j])
            columns["similarity"] = similarity
            if self.proof and window.pictures:
                later = PictureRows.of(pa.Table.from_batches([batch]))
                own = len(window_ids) + j
                first = columns["image_id"] == window_ids[i]
                images, others = np.where(first, i, own), np.where(first, own, i)
                pictures = window.pictures.followed_by(later)
                columns = self.proof.proved(columns, pictures, images, others)
            count += len(columns["similarity"])
            yield arrow.padded_batch(columns, len(columns["similarity"]), schema)


@dataclass(frozen=True)
class PairProof:
    """What proves that two images show the same: the larger of both overlaps is at least `overlap`.

    proof, agreement, orientations: as in the section [prune]. device: where it registers.
    """

    overlap: float
    proof: float
    agreement: float
    orientations: int
    device: str

    def proved(
        self, columns: dict[str, Any], pictures: PictureRows, images: Indices, others: Indices
    ) -> dict[str, Any]:
        """Of columns of PAIRS those of the pairs that are proved, and their evidence.

        images, others: the pictures of each pair.
        """
        aligner = PictureAligner(pictures, self.orientations, self.device)
        alignments = PairAlignments(aligner, pictures.content_numbers())
        least = np.full(len(images), least_at_half_size(self.overlap))
        tried = alignments.tried(images, others, columns["similarity"], least)
        found = tried.alignments
        proof = tried.identical | proved(found, self.proof, self.agreement)
        rows = np.flatnonzero(proof & shares(found, self.overlap, either=True))
        chosen = evidence(tried, pictures)
        kept = {name: column[rows] for name, column in columns.items()}
        return kept | {name: column.take(pa.array(rows)) for name, column in chosen.items()}


def _ordered(
    ids: NDArray[Any], labels: NDArray[Any], other_ids: NDArray[Any], other_labels: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """The columns of PAIRS that name the images, that of the smaller id first: (p,) each."""
    keys, others = ([name.encode() for name in side] for side in (ids, other_ids))
    first = np.array([key < other for key, other in zip(keys, others, strict=True)], np.bool_)
    return {
        "image_id": np.where(first, ids, other_ids),
        "label": np.where(first, labels, other_labels),
        "other_id": np.where(first, other_ids, ids),
        "other_label": np.where(first, other_labels, labels),
    }


def _selected(images: DataFrame) -> DataFrame:
    """The columns that the scans read: COLUMNS, and those of PICTURES where there are any."""
    pictures = PICTURE if "grey" in images.columns else ()
    return images.select(*COLUMNS, *pictures)


def _collected(latents: DataFrame, rows: Callable[..., Any], schema: T.StructType) -> pa.Table:
    frame = arrow_frames.mapped(_selected(latents), rows, schema)
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
