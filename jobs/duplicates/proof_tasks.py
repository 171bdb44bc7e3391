"""Covers with proof, as tasks on the executors: their decisions, and the pairs that they tried.

Use `group_proofs` for the rules of a whole group that ask for a proof. What is decided is defined
in udfs/duplicates/proof_cover.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import types as T

from jobs.duplicates import alignments
from jobs.duplicates.groups import space_of
from jobs.duplicates.pictures import PictureAligner, PictureRows
from jobs.duplicates.rules import Proofs, Rules
from jobs.warehouse import arrow_frames, tables
from udfs import arrow
from udfs.duplicates.cover_search import Flags
from udfs.duplicates.pair_alignments import PairAlignments
from udfs.duplicates.proof_cover import ProofCover, ProofCovers, proof_covers
from udfs.vectors.cosine import Indices, Matrix

_SELECTION = tables.TABLES["selection"].schema
# Rows of `selection`, in which `kept` is not null, with `exhausted`: the image is kept, and there
# are kept images that it did not try. And rows of `alignments`, in which `other_id` is not null.
OUTCOMES = T.StructType(
    [
        *_SELECTION,
        *arrow_frames.struct("exhausted boolean"),
        *(column for column in alignments.PAIRS if column.name not in _SELECTION.names),
    ]
)
EVIDENCE = arrow_frames.struct(tables.EVIDENCE).names


@dataclass(frozen=True)
class GroupProofs:
    """What the rules that ask for a proof decided in a group.

    pictures: of the reference images and the candidates. pending: (rules, candidates), what was to
    be decided. names: of the rules.
    """

    space: str
    names: list[str]
    pictures: PictureRows
    labels: pa.Array
    references: int
    pending: Flags
    proofs: ProofCovers

    @property
    def kept(self) -> list[Flags]:
        """For each rule which candidates it keeps."""
        return [cover.kept for cover in self.proofs.covers]

    def rows(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Rows of OUTCOMES: a batch for each rule, and one of the pairs that were not known."""
        columns = alignments.evidence(self.proofs.tried, self.pictures)
        for name, cover, pending in zip(self.names, self.proofs.covers, self.pending, strict=True):
            yield self._decisions(name, cover, np.flatnonzero(pending), columns, schema)
        pairs, count = alignments.new_pairs(self.proofs.tried, self.pictures, columns, self.space)
        yield arrow.padded_batch(pairs, count, schema)

    def _decisions(
        self,
        rule: str,
        cover: ProofCover,
        chosen: Indices,
        columns: dict[str, pa.Array],
        schema: pa.Schema,
    ) -> pa.RecordBatch:
        """The rows of one rule; chosen: its candidates that were pending."""
        kept = cover.kept[chosen]
        pair = pa.array(cover.pair[chosen], mask=kept)
        images = pa.array(self.references + chosen)
        rows = {name: columns[name].take(pair) for name in EVIDENCE} | {
            "image_id": self.pictures.ids.take(images),
            "label": self.labels.take(images),
            "rule": [rule] * len(chosen),
            "space": [self.space] * len(chosen),
            "kept": pa.array(kept),
            "kept_id": self.pictures.ids.take(pa.array(cover.keeper[chosen], mask=kept)),
            "similarity": pa.array(self.proofs.tried.similarity).take(pair),
            "exhausted": pa.array(cover.exhausted[chosen]),
        }
        return arrow.padded_batch(rows, len(chosen), schema)


def group_proofs(
    rules: Rules,
    proofs: Proofs,
    group: str,
    candidates: pa.Table,
    latents: Matrix,
    references: int,
) -> GroupProofs:
    """Decide a group by the rules that ask for a proof.

    candidates: the group in its order, the references first, with the columns of PICTURES, `place`
    and what `alignments.with_known` gives. latents: their vectors.
    """
    pictures = PictureRows.of(candidates)
    levels = rules.by_proof
    reference_mask, pending_mask = (
        rules.flags(candidates.column(name).to_numpy())[levels]
        for name in ("reference_mask", "pending_mask")
    )
    covers = proof_covers(
        latents[:references],
        latents[references:],
        rules.proof_rules(proofs, space_of(group)),
        PairAlignments(
            PictureAligner(pictures, proofs.orientations, rules.task_device()),
            pictures.content_numbers(),
            alignments.known_of(candidates, pictures),
        ),
        block=rules.block,
        places=places(candidates),
        reference_mask=reference_mask[:, :references],
        pending_mask=pending_mask[:, references:],
        device=rules.task_device(),
    )
    return GroupProofs(
        space_of(group),
        rules.proof_names,
        pictures,
        candidates.column("label").combine_chunks(),
        references,
        pending_mask[:, references:],
        covers,
    )


def places(candidates: pa.Table) -> NDArray[np.int64] | None:
    """The places of images in the order of their group; None where they follow each other."""
    column = candidates.column("place")
    return None if column.null_count else np.asarray(column.to_numpy(), np.int64)
