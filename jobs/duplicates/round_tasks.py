"""The comparison of a settled window with all images that follow it, as tasks on the executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import types as T

from jobs.duplicates import alignments
from jobs.duplicates.groups import space_of
from jobs.duplicates.pictures import PictureAligner, PictureRows
from jobs.duplicates.proof_tasks import EVIDENCE
from jobs.duplicates.rules import Proofs, Rules
from jobs.warehouse import arrow_frames, tables
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.cover_search import Cover, Flags
from udfs.duplicates.pair_alignments import PairAlignments
from udfs.duplicates.proof_cover import ProofCovers, ProofReference
from udfs.vectors.cosine import Matrix

# What is decided by a rule. An image that is kept has the similarity NaN and the kept_rank -1.
DECISIONS = arrow_frames.struct("rule string, rank bigint, kept_rank bigint, similarity double")
# With rules that ask for a proof there are three kinds of rows: decisions; rules and images that
# have used up their tries in a window, in which `exhausted` is true; and rows of `alignments`, in
# which `other_id` is not null.
OUTCOMES = T.StructType(
    [
        *DECISIONS,
        *arrow_frames.struct(tables.EVIDENCE),
        *arrow_frames.struct("exhausted boolean"),
        *(
            column
            for column in alignments.PAIRS
            if column.name not in (*DECISIONS.names, *EVIDENCE)
        ),
    ]
)


@dataclass(frozen=True)
class WindowOfKept:
    """The images of a window that some rule keeps, on their way to the executors.

    ranks: (n,), of the images in their group, rising. vectors: (n, width).
    reference_mask: (rules, n), by which rules each is kept. places, pictures: where rules ask for a
    proof, the places (n,) and the pictures of the images.
    """

    ranks: NDArray[np.int64]
    vectors: Matrix
    reference_mask: Flags
    places: NDArray[np.int64] | None = None
    pictures: PictureRows | None = None


@dataclass(frozen=True)
class WindowScan:
    """Images of a group against the kept images of a window that comes before them."""

    rules: Rules
    group: str
    kept: Broadcast[WindowOfKept]

    def removals(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows with `rank`, `open` and `latent` to the rows of DECISIONS that remove.

        open: the bytes of the image's pending mask, the lowest first. Where rules ask for a proof,
        the rows also have the columns of the pictures and of known alignments, and the result has
        the rows of OUTCOMES.
        """
        kept, rules = self.kept.value, self.rules
        by_threshold: greedy.Reference | None = None
        by_proof: ProofReference | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            pending_mask = rules.flags(arrow.masks(batch.column("open")))
            if rules.by_threshold:
                by_threshold = by_threshold or greedy.Reference(
                    kept.vectors,
                    rules.thresholds(self.group),
                    kept.reference_mask[rules.by_threshold],
                    rules.task_device(),
                )
                covers = by_threshold.against(
                    arrow.float_matrix(batch.column("latent")),
                    pending_mask[rules.by_threshold],
                    block=rules.block,
                )
                columns = removals(
                    rules.threshold_names, batch.column("rank").to_numpy(), covers, kept.ranks
                )
                yield arrow.padded_batch(columns, len(columns["rule"]), schema)
            if rules.proofs and kept.pictures:
                by_proof = by_proof or ProofReference(
                    kept.vectors,
                    rules.proof_rules(rules.proofs, space_of(self.group)),
                    kept.reference_mask[rules.by_proof],
                    places=kept.places,
                    device=rules.task_device(),
                )
                yield from self._proved(
                    batch,
                    by_proof,
                    rules.proofs,
                    kept.pictures,
                    pending_mask[rules.by_proof],
                    schema,
                )

    def _proved(
        self,
        batch: pa.RecordBatch,
        reference: ProofReference,
        proofs: Proofs,
        kept: PictureRows,
        pending_mask: Flags,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """What the rules that ask for a proof decide; kept: the pictures of the window."""
        rows = pa.Table.from_batches([batch])
        pictures = kept.followed_by(PictureRows.of(rows))
        covers = reference.against(
            arrow.float_matrix(batch.column("latent")),
            PairAlignments(
                PictureAligner(pictures, proofs.orientations, self.rules.task_device()),
                pictures.content_numbers(),
                alignments.known_of(rows, pictures, len(kept)),
            ),
            pending_mask,
            block=self.rules.block,
        )
        ranks = batch.column("rank").to_numpy()
        yield from proved_rows(
            self.rules.proof_names,
            space_of(self.group),
            ranks,
            covers,
            self.kept.value.ranks,
            pictures,
            schema,
        )


def removals(
    names: Sequence[str],
    ranks: NDArray[np.int64],
    covers: Sequence[Cover],
    keepers: NDArray[np.int64],
) -> dict[str, Any]:
    """The columns of DECISIONS: what covers of images remove.

    names: of the rules. ranks: (n,), of the images. covers: one for each rule. keepers: the ranks
    of the images to which `Cover.keeper` points.
    """
    columns: dict[str, list[Any]] = {"rule": [], "rank": [], "kept_rank": [], "similarity": []}
    for rule, cover in zip(names, covers, strict=True):
        removed = np.flatnonzero(cover.keeper >= 0)
        columns["rule"].append(np.full(len(removed), rule))
        columns["rank"].append(ranks[removed])
        columns["kept_rank"].append(keepers[cover.keeper[removed]])
        columns["similarity"].append(cover.similarity[removed])
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def keeps(
    names: Sequence[str], ranks: NDArray[np.int64], kept: Sequence[Flags]
) -> dict[str, NDArray[Any]]:
    """The columns of DECISIONS: which images are kept.

    names: of the rules. ranks: (n,), of the images. kept: for each rule (n,), whether it keeps each
    image.
    """
    chosen = [ranks[mask] for mask in kept]
    count = sum(map(len, chosen))
    return {
        "rule": np.repeat(np.asarray(names, object), [len(part) for part in chosen]),
        "rank": np.concatenate([np.empty(0, np.int64), *chosen]),
        "kept_rank": np.full(count, -1),
        "similarity": np.full(count, np.nan),
    }


def proved_rows(
    names: Sequence[str],
    space: str,
    ranks: NDArray[np.int64],
    covers: ProofCovers,
    keepers: NDArray[np.int64],
    pictures: PictureRows,
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """Rows of OUTCOMES, but those of kept images: of what was decided with proofs.

    names: of the rules. ranks: (n,), of the images. keepers: the ranks of the images to which
    `ProofCover.keeper` points. pictures: of all images that were compared.
    """
    tried = covers.tried
    columns = alignments.evidence(tried, pictures)
    for rule, cover in zip(names, covers.covers, strict=True):
        removed = np.flatnonzero(cover.keeper >= 0)
        pair = cover.pair[removed]
        rows = {name: columns[name].take(pa.array(pair)) for name in EVIDENCE} | {
            "rule": [rule] * len(removed),
            "rank": ranks[removed],
            "kept_rank": keepers[cover.keeper[removed]],
            "similarity": tried.similarity[pair],
        }
        yield arrow.padded_batch(rows, len(removed), schema)
        exhausted = ranks[cover.exhausted]
        rows = {
            "rule": [rule] * len(exhausted),
            "rank": exhausted,
            "exhausted": [True] * len(exhausted),
        }
        yield arrow.padded_batch(rows, len(exhausted), schema)
    pairs, count = alignments.new_pairs(tried, pictures, columns, space)
    yield arrow.padded_batch(pairs, count, schema)
