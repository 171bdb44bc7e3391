"""The audit of rules that ask for a proof: sampled proofs are computed again, by other code.

docs/method.md, "Proof by registration", makes two promises. (a) No two kept images that were tried
are near-copies: sampled kept images are registered anew with the kept images before them that they
resemble most. (b) For every removed image a kept one shows at least the stated share of it: for
sampled removed images the score and the overlap are computed again at the stored transform.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.duplicates.audit_tasks import SIMILAR, SampledLatents
from jobs.duplicates.pictures import PictureAligner, PictureRows
from jobs.duplicates.proving import Exhausted
from jobs.runtime.process import cores
from jobs.settings.duplicates import Prune
from jobs.warehouse import arrow_frames
from udfs.duplicates.pair_alignments import NO_CONTENT
from udfs.registration import Alignments, proved, turned
from udfs.registration.check import TOLERANCE, Score, rescored
from udfs.registration.limits import OVERLAP_MARGIN

Rows = list[dict[str, Any]]
PAIRS = 4  # kept images with which a sampled one is registered anew, by rule
SLACK = 1e-5  # how far scores may lie apart on different processors
COMPARED = ("registration", "agreement", "overlap")  # what must be what is computed again
IDENTICAL = Score(1.0, 1.0, 1.0, np.eye(2, 3))


@dataclass(frozen=True)
class ProofAudit:
    """What the audit of proofs needs.

    pictures: returns rows of PICTURES, of those images of the given ids that have pixels. ranks:
    for each image and group its `rank` in the order in which images were decided, and
    `decided_earlier`. exhausted: how many kept images used up their tries.
    """

    settings: Prune
    pictures: Callable[[Collection[str]], DataFrame]
    ranks: DataFrame
    exhausted: Exhausted

    def similar(
        self, selection: DataFrame, latents: DataFrame, sample: SampledLatents
    ) -> tuple[Rows, Counter[str]]:
        """Kept images that a kept image before them proves near-copies, and pairs by rule.

        sample: sampled kept images. Each is registered with the PAIRS most similar ones, or fewer
        where fewer may be tried: whatever else was tried when it was decided, these were.
        """
        rows = self._most_similar(selection, latents, sample)
        if not rows:
            return [], Counter()
        pairs = sorted({(row["sample_id"], row["image_id"]) for row in rows})
        pictures = self._pictures_of(name for pair in pairs for name in pair)
        position = _positions(pictures)
        pairs = [pair for pair in pairs if position.keys() >= set(pair)]
        images, others = (
            np.array([position[pair[side]] for pair in pairs], np.int64) for side in (0, 1)
        )
        aligner = PictureAligner(pictures, self.settings.orientations, "cpu", cores())
        found = aligner.align(images, others)
        proof = proved(found, self.settings.proof + SLACK, self.settings.agreement + SLACK)
        overlap = np.minimum(found.overlap, found.overlap_half + OVERLAP_MARGIN)
        overlaps = np.where(proof, overlap - SLACK, -np.inf)
        numbers = pictures.content_numbers()
        overlaps[(numbers[images] == numbers[others]) & (numbers[images] != NO_CONTENT)] = 1
        overlap_of = dict(zip(pairs, overlaps.tolist(), strict=True))
        near = [
            row
            for row in rows
            if overlap_of.get((row["sample_id"], row["image_id"]), -np.inf)
            >= self.settings.overlaps[row["rule"]]
        ]
        return near, Counter(row["rule"] for row in rows)

    def unproved(
        self, removed: Iterable[Mapping[str, Any]], references: Collection[str] = ()
    ) -> Rows:
        """Those removals whose stored evidence is no proof, or not what is computed again.

        removed: rows of `selection`. Keepers without a picture here, which lie in another
        warehouse, are left out. references: ids of images for which others were removed as leaks;
        there the larger of both overlaps counts.
        """
        rows = [dict(row) for row in removed]
        pictures = self._pictures_of(row[name] for row in rows for name in ("image_id", "kept_id"))
        position = _positions(pictures)
        numbers = pictures.content_numbers()
        scores: dict[tuple[Any, ...], Score] = {}  # several rules may have removed it by one pair
        unproved = []
        for row in rows:
            image, keeper = position.get(row["image_id"], -1), position.get(row["kept_id"], -1)
            if min(image, keeper) < 0:
                continue
            identical = numbers[image] == numbers[keeper] != NO_CONTENT
            stored = _stored(row)
            pair = image, keeper, *(row.get(field.name) for field in fields(Alignments))
            if pair not in scores:
                again = IDENTICAL if identical else _recomputed(stored, pictures, image, keeper)
                scores[pair] = again
            score = scores[pair]
            is_leak = row["kept_id"] in references
            if not self._is_proof(row, stored, score, is_leak=is_leak):
                unproved.append(row)
        return unproved

    def _is_proof(
        self, row: Mapping[str, Any], stored: Alignments, score: Score, *, is_leak: bool
    ) -> bool:
        """Whether the stored evidence is a proof, and equal to what was computed again."""
        if any(row[name] is None for name in COMPARED):
            return False
        asked = bool(proved(stored, self.settings.proof, self.settings.agreement)[0])
        # The share of the other image is scale² times as large: that is the ratio of their areas.
        larger = row["overlap"] * max(1, row["scale"] ** 2 if is_leak else 1)
        asked &= larger >= self.settings.overlaps[row["rule"]] - (TOLERANCE if is_leak else 0)
        equal = all(abs(getattr(score, name) - row[name]) <= TOLERANCE for name in COMPARED)
        return bool(asked and equal)

    def _most_similar(
        self, selection: DataFrame, latents: DataFrame, sample: SampledLatents
    ) -> Rows:
        """Pairs of a sampled image and a kept one before it, the most similar ones by rule."""
        images = latents.select("image_id", "group", "latent")
        similar = arrow_frames.mapped(images, sample.similar, SIMILAR)
        keys = ["image_id", "group"]
        by_proof = F.col("rule").isin([*self.settings.overlaps])
        kept = selection.where(by_proof & F.col("kept")).join(self.ranks, on=keys)
        drawn = arrow_frames.ids(similar.sparkSession, chain.from_iterable(sample.ids.values()))
        samples = kept.join(F.broadcast(drawn), on="image_id", how="left_semi")
        samples = samples.where("NOT fixed AND NOT decided_earlier").select(
            F.col("image_id").alias("sample_id"), "group", "rule", F.col("rank").alias("own")
        )
        others = kept.select(*keys, "rule", "rank")
        most = min(PAIRS, self.settings.tries)
        nearest = Window.partitionBy("sample_id", "rule").orderBy(F.desc("cosine"), "rank")
        pairs = (
            similar.join(samples, on=["sample_id", "group"])
            .join(others.hint("merge"), on=["image_id", "group", "rule"])  # not on one executor
            .where("rank < own")
            .withColumn("number", F.row_number().over(nearest))
            .where(F.col("number") <= most)
        )
        columns = ("rule", "group", "sample_id", "image_id", "cosine")
        return [row.asDict() for row in pairs.select(*columns).collect()]

    def _pictures_of(self, ids: Iterable[str]) -> PictureRows:
        """The pictures of some images; of ids that are none of this warehouse there are none."""
        return PictureRows.of(self.pictures(set(ids)).toArrow())


def _positions(pictures: PictureRows) -> dict[str, int]:
    """The position of each picture by its id."""
    return {name: i for i, name in enumerate(pictures.ids.to_pylist())}


def _stored(row: Mapping[str, Any]) -> Alignments:
    """The alignment that a row of `selection` stores, of one pair."""
    alignment = Alignments.identical(1)
    columns = vars(alignment)
    for field in fields(Alignments):
        if row.get(field.name) is not None:
            columns[field.name][:] = row[field.name]
    return alignment


def _recomputed(alignment: Alignments, pictures: PictureRows, image: int, keeper: int) -> Score:
    """The score at the transform that is stored, in float64."""
    grey = pictures.grey_at(np.array([image, keeper]))
    orientation = int(alignment.orientation[0])
    aspects = pictures.width[[image, keeper]] / pictures.height[[image, keeper]]
    own = aspects[:1] if orientation % 2 == 0 else 1 / aspects[:1]
    (matrix,) = alignment.matrices(own, aspects[1:])
    return rescored(turned(grey[0], orientation), grey[1], matrix)
