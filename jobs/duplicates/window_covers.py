"""The cover of one window of a large group, on the driver.

Use `settle` for a window of a round; `round_tasks` compares what it keeps with later images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.duplicates import alignments
from jobs.duplicates.groups import space_of
from jobs.duplicates.pictures import PictureAligner, PictureRows
from jobs.duplicates.round_tasks import WindowOfKept, keeps, proved_rows, removals
from jobs.duplicates.rules import Proofs, Rules
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.cover_search import Flags
from udfs.duplicates.pair_alignments import PairAlignments
from udfs.duplicates.proof_cover import proof_covers
from udfs.vectors.cosine import Matrix


@dataclass(frozen=True)
class Window:
    """The images of a window that are references or pending, the references first.

    group: the name of their group. ranks, places: (n,), of the images in the group, rising. rows:
    their vectors in the column `latent`, and where rules ask for a proof the columns of PICTURES
    and those of `alignments.with_known`. reference_mask, pending_mask: (rules, n).
    """

    group: str
    ranks: NDArray[np.int64]
    places: NDArray[np.int64]
    rows: pa.Table
    reference_mask: Flags
    pending_mask: Flags

    @property
    def references(self) -> int:
        """How many of the images are references by some rule."""
        return int(np.count_nonzero(self.reference_mask.any(axis=0)))


def settle(
    rules: Rules, window: Window, schema: pa.Schema, threads: int = 1
) -> tuple[WindowOfKept, pa.Table]:
    """Decide the images of a window.

    schema: of DECISIONS, or of OUTCOMES where rules ask for a proof. threads: how many register
    pictures. Returns the images that some rule keeps, and what was decided.
    """
    vectors = arrow.float_matrix(window.rows.column("latent"))
    first = window.references
    kept = window.reference_mask.copy()
    batches: list[pa.RecordBatch] = []
    if rules.by_threshold:
        covered, batch = _by_threshold(rules, window, vectors, schema)
        kept[rules.by_threshold, first:] = covered
        batches.append(batch)
    pictures = PictureRows.of(window.rows) if rules.proofs else None
    if rules.proofs and pictures:
        covered, proved = _by_proof(rules, rules.proofs, window, vectors, pictures, schema, threads)
        kept[rules.by_proof, first:] = covered
        batches += proved
    columns = keeps(rules.names, window.ranks[first:], list(kept[:, first:]))
    batches.append(arrow.padded_batch(columns, len(columns["rule"]), schema))
    by_any = np.flatnonzero(kept.any(axis=0))
    stays = WindowOfKept(
        window.ranks[by_any],
        vectors[by_any],
        kept[:, by_any],
        window.places[by_any],
        pictures and pictures.take(by_any),
    )
    # In one piece: of several, Spark would read none that follow an empty one.
    return stays, pa.Table.from_batches(batches).combine_chunks()


def _by_threshold(
    rules: Rules, window: Window, vectors: Matrix, schema: pa.Schema
) -> tuple[list[Flags], pa.RecordBatch]:
    """What the rules with a threshold keep, and rows of what they remove."""
    levels, first = rules.by_threshold, window.references
    covers = greedy.covers(
        vectors[:first],
        vectors[first:],
        rules.thresholds(window.group),
        block=rules.block,
        reference_mask=window.reference_mask[levels, :first],
        pending_mask=window.pending_mask[levels, first:],
        device=rules.driver_device(),
    )
    columns = removals(rules.threshold_names, window.ranks[first:], covers, window.ranks)
    batch = arrow.padded_batch(columns, len(columns["rule"]), schema)
    return [cover.kept for cover in covers], batch


def _by_proof(
    rules: Rules,
    proofs: Proofs,
    window: Window,
    vectors: Matrix,
    pictures: PictureRows,
    schema: pa.Schema,
    threads: int,
) -> tuple[list[Flags], list[pa.RecordBatch]]:
    """What the rules that ask for a proof keep, and rows of what they remove and tried."""
    levels, first = rules.by_proof, window.references
    device = rules.driver_device()
    proved = proof_covers(
        vectors[:first],
        vectors[first:],
        rules.proof_rules(proofs, space_of(window.group)),
        PairAlignments(
            PictureAligner(pictures, proofs.orientations, device, threads),
            pictures.content_numbers(),
            alignments.known_of(window.rows, pictures),
        ),
        block=rules.block,
        places=window.places,
        reference_mask=window.reference_mask[levels, :first],
        pending_mask=window.pending_mask[levels, first:],
        device=device,
    )
    batches = proved_rows(
        rules.proof_names,
        space_of(window.group),
        window.ranks[first:],
        proved,
        window.ranks,
        pictures,
        schema,
    )
    return [cover.kept for cover in proved.covers], list(batches)
