"""The cover with proof: an image is removed only where registration lays it over a kept image.

Use `proof_covers` for a group that one task holds, and `ProofReference` to compare images that are
kept already with batches of later images. Section "Proof by registration" of docs/method.md defines
what is computed. The search for pairs with Sim > c is that of `udfs.duplicates.cover_search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from udfs.duplicates.cover_search import (
    Flags,
    ImageVectors,
    KeptImages,
    blocks,
    check_search,
    checked_mask,
)
from udfs.duplicates.pair_alignments import PairAlignments, TriedPairs
from udfs.duplicates.proof_attempts import KEPT, OPEN, REMOVED, Attempts, SimilarPairs, States
from udfs.registration import Alignments, proved, shares
from udfs.registration.alignment import least_at_half_size
from udfs.vectors.axes import SAMPLE, fitting_sample, spread
from udfs.vectors.cosine import Indices, Matrix, Vector, decision_bounds
from udfs.vectors.gpu import DeviceProducts
from udfs.vectors.screen import AXES, BoundedVectors, Screen

PLACES = 16_384  # consecutive places of a group's order, in each of which an image has its tries
TRIES = 8
CPU = "cpu"
_FEW = 4 * AXES  # with fewer reference images, to compare costs less than to compute bounds


@dataclass(frozen=True)
class ProofRules:
    """When a picture counts as a near-copy of another one, for a list of rules.

    overlaps: for each rule the least share of the image that the kept image must show.
    candidates: c. Only pairs with Sim > c are registered.
    proof, agreement: as in `udfs.registration.proved`.
    tries: how many kept images are tried, for each rule and block of places.
    places: how many consecutive places of the order form a block.
    """

    overlaps: tuple[float, ...]
    candidates: float
    proof: float
    agreement: float
    tries: int = TRIES
    places: int = PLACES

    def __post_init__(self) -> None:
        if self.tries < 1 or self.places < 1:
            raise ValueError(f"tries is {self.tries}, places {self.places}; both must be above 0")

    def proves(self, alignments: Alignments, identical: Flags) -> Flags:
        """Whether alignments are a proof for each rule: (rules, p).

        Identical pictures always are: their overlap of 1 suffices for all rules.
        """
        proof = identical | proved(alignments, self.proof, self.agreement)
        return np.array([proof & shares(alignments, overlap) for overlap in self.overlaps])


@dataclass(frozen=True)
class ProofCover:
    """What one rule decided for each of n candidates, in the order in which they were passed.

    kept: (n,), whether the candidate is kept. A candidate that was not pending is not kept.
    keeper: (n,), the row of the kept image that proves it a near-copy, in the reference images
        followed by the candidates; −1 where there is none.
    pair: (n,), the row of the pair with the keeper in `ProofCovers.tried`; −1 where there is none.
    exhausted: (n,), whether the candidate is kept, or open still, though in some block of places
        there are more kept images with Sim > c than it was allowed to try.
    """

    kept: Flags
    keeper: Indices
    pair: Indices
    exhausted: Flags


@dataclass(frozen=True)
class ProofCovers:
    """The covers of all rules, and the pairs that were tried for them, each once."""

    covers: list[ProofCover]
    tried: TriedPairs


def proof_covers(
    reference: Matrix | None,
    candidates: Matrix,
    rules: ProofRules,
    alignments: PairAlignments,
    *,
    block: int = 1024,
    places: Indices | None = None,
    reference_mask: Flags | None = None,
    pending_mask: Flags | None = None,
    device: str = CPU,
) -> ProofCovers:
    """The cover with proof for each rule: (m, width), (n, width) → `ProofCovers`.

    The reference images come first in the order; they are never removed. For each candidate in
    turn, the images that the rule keeps before it are taken in blocks of `rules.places` consecutive
    places. Of a block those with Sim > c are tried in falling Sim (equal ones in their order), at
    most `rules.tries`. The first whose alignment is a proof, with an overlap of at least the
    rule's, is the keeper, and the candidate is removed. Else it is kept. A zero vector has no Sim.

    The result depends on the vectors, pictures, places and masks of the rule alone: not on `block`,
    on the device of the products, or on the other rules.

    Args:
        reference: float32, or None for no reference images.
        candidates: float32, in their order.
        rules: what counts as proof.
        alignments: of pairs of images, an index being a row of both matrices together.
        block: candidates that are decided at a time.
        places: (m + n,), rising, the place of each image in the order of its group; None for
            0, 1, 2 …
        reference_mask: (rules, m), by which rules each reference image may be a keeper; None: all.
        pending_mask: (rules, n), by which rules each candidate is to be decided; None for all.
        device: where products are computed, a name that torch knows.

    Raises TypeError and ValueError as `greedy.covers` does.

    Cost: the products that a cover at T = c takes, and one registration a pair that is tried.
    Memory: another copy of the vectors of kept images, the pairs that were tried, and for `block`
    candidates at a time their pairs with each other and `rules.tries` pairs with kept images.
    """
    vectors = ImageVectors.checked(reference, candidates)
    images = vectors.with_direction(np.arange(len(vectors.squared)))
    sample = vectors.units(fitting_sample(images))
    screen = Screen.fitted(sample, [rules.candidates], _products_on(device))
    kept = KeptImages(len(rules.overlaps), len(vectors.squared), screen, vectors.width)
    reference_mask = checked_mask(
        "reference_mask", reference_mask, rules.overlaps, vectors.first_candidate
    )
    kept.add_references(vectors, reference_mask)
    pending = checked_mask("pending_mask", pending_mask, rules.overlaps, len(candidates))
    search = _Search(
        vectors, rules, screen, kept, alignments, block, reference_mask, pending, places
    )
    for part in search.parts():
        search.settle(part)
    return search.result()


class ProofReference:
    """Kept images that are prepared once, to be compared with many batches of later images."""

    def __init__(
        self,
        rows: Matrix,
        rules: ProofRules,
        reference_mask: Flags | None = None,
        *,
        places: Indices | None = None,
        device: str = CPU,
    ) -> None:
        """Prepare kept images (m, width) float32.

        reference_mask: (rules, m), which rules keep each; None: all. places: (m,), rising; None for
        0, 1, 2 … Raises TypeError and ValueError as `proof_covers` does.
        """
        self._vectors = ImageVectors.checked(rows, rows[:0])
        self._rules = rules
        self._places = np.arange(len(rows)) if places is None else places
        images = self._vectors.with_direction(np.arange(len(rows)))
        sample = self._vectors.units(spread(images, SAMPLE if len(images) >= _FEW else 0))
        self._screen = Screen.fitted(sample, [rules.candidates], _products_on(device))
        self._mask = checked_mask("reference_mask", reference_mask, rules.overlaps, len(rows))
        self._kept = KeptImages(len(rules.overlaps), len(rows), self._screen, self._vectors.width)
        self._kept.add_references(self._vectors, self._mask)

    def against(
        self,
        candidates: Matrix,
        alignments: PairAlignments,
        pending_mask: Flags | None = None,
        *,
        block: int = 1024,
    ) -> ProofCovers:
        """Which candidates the kept images remove: (n, width) → `ProofCovers`.

        As in `proof_covers`, except that the candidates, which come after all kept images, are not
        compared with each other: `kept` says that no kept image was proved. alignments: of pairs of
        a candidate and a kept image, by their rows in the kept images followed by the candidates.
        """
        vectors = self._vectors.followed_by(candidates)
        rules = self._rules
        mask = checked_mask("pending_mask", pending_mask, rules.overlaps, len(candidates))
        end = self._places[-1] + 1 if len(self._places) else 0
        places = np.concatenate([self._places, end + np.arange(len(candidates))])
        search = _Search(
            vectors, rules, self._screen, self._kept, alignments, block, self._mask, mask, places
        )
        for part in search.parts():
            search.compare(part)
        return search.result()


def _products_on(device: str) -> DeviceProducts | None:
    """None for the CPU, where NumPy's products need no torch."""
    return None if device == CPU else DeviceProducts(device)


class _Search:
    """A search for the keepers of candidates by several rules; it decides block by block.

    state: (rules, m + n), OPEN, KEPT or REMOVED. keeper, pair: (rules, m + n), −1 for none.
    exhausted: (rules, m + n).
    """

    def __init__(
        self,
        vectors: ImageVectors,
        rules: ProofRules,
        screen: Screen,
        kept: KeptImages,
        alignments: PairAlignments,
        block: int,
        reference_mask: Flags,
        pending_mask: Flags,
        places: Indices | None,
    ) -> None:
        check_search([rules.candidates], block)
        count = len(vectors.squared)
        self.vectors = vectors
        self.rules = rules
        self.low = decision_bounds(rules.candidates, vectors.width)[0]
        self.screen = screen
        self.kept = kept
        self.alignments = alignments
        self.block = block
        self.place_block = _place_blocks(places, count, rules.places)
        mask = np.concatenate([reference_mask, pending_mask], axis=1)
        self.state: States = np.where(mask, OPEN, REMOVED).astype(np.int8)
        self.state[:, : vectors.first_candidate][reference_mask] = KEPT
        self.keeper = np.full(self.state.shape, -1)
        self.pair = np.full(self.state.shape, -1)
        self.exhausted = np.zeros(self.state.shape, np.bool_)
        self.tried: list[TriedPairs] = []
        self.tried_count = 0

    def parts(self) -> Iterator[Indices]:
        """The candidates that have a direction, in blocks that lie in one block of places."""
        first = self.vectors.first_candidate
        images = self.vectors.with_direction(np.arange(first, len(self.vectors.squared)))
        ends = np.flatnonzero(np.diff(self.place_block[images])) + 1
        for part in np.split(images, ends):
            yield from blocks(part, self.block)

    def settle(self, images: Indices) -> None:
        """Decide the next candidates, and append those that some rule keeps."""
        prepared, own = self._prepared(images), self.place_block[images[0]]
        for block in self._kept_blocks():
            if self.place_block[self.kept.images[block.start]] < own:
                self._try_pairs(images, self._pairs_with_kept(images, prepared, block))
        first = np.searchsorted(self.place_block[self.kept.images[: self.kept.count]], own)
        pairs = self._pairs_with_kept(images, prepared, slice(int(first), self.kept.count))
        pairs = pairs.followed_by(self._pairs_within(images, prepared))
        self._try_pairs(images, pairs, last=True)
        kept = self.state[:, images] == KEPT
        somewhere = kept.any(axis=0)
        self.kept.append(
            images[somewhere], prepared.at(np.flatnonzero(somewhere)), kept[:, somewhere]
        )

    def compare(self, images: Indices) -> None:
        """Decide candidates by the images kept so far alone, not by each other."""
        prepared = self._prepared(images)
        for block in self._kept_blocks():
            self._try_pairs(images, self._pairs_with_kept(images, prepared, block))

    def result(self) -> ProofCovers:
        """The covers of all rules; what is open by now is kept."""
        first = self.vectors.first_candidate
        state = self.state[:, first:]
        covers = [
            ProofCover(
                state[level] != REMOVED,
                self.keeper[level, first:],
                self.pair[level, first:],
                self.exhausted[level, first:] & (state[level] != REMOVED),
            )
            for level in range(len(state))
        ]
        return ProofCovers(covers, TriedPairs.concatenate(self.tried))

    def _prepared(self, images: Indices) -> BoundedVectors:
        return self.screen.prepare(self.vectors.rows(images), self.vectors.squared[images])

    def _kept_blocks(self) -> list[slice]:
        """The positions in `kept` of each block of places."""
        of_kept = self.place_block[self.kept.images[: self.kept.count]]
        starts = np.flatnonzero(np.diff(of_kept, prepend=-1)).tolist()
        ends = [*starts[1:], self.kept.count] if starts else []
        return [slice(first, end) for first, end in zip(starts, ends, strict=True)]

    def _open_rows(self, images: Indices) -> Indices:
        """The positions of the images that some rule has still to decide."""
        return np.flatnonzero((self.state[:, images] == OPEN).any(axis=0))

    def _pairs_with_kept(
        self, images: Indices, prepared: BoundedVectors, kept: slice
    ) -> SimilarPairs:
        """The first pairs, as many as the tries may need, with some of the kept images."""
        pairs = SimilarPairs.none()
        open_rows = self._open_rows(images)
        if not len(open_rows):
            return pairs
        left = prepared if len(open_rows) == len(images) else prepared.at(open_rows)
        for first in range(kept.start, kept.stop, self.block):
            tile = slice(first, min(first + self.block, kept.stop))
            row, column, value = self.screen.candidates(left, self.kept.vectors.at(tile))
            possible = value > self.low
            row, other = open_rows[row[possible]], self.kept.images[tile][column[possible]]
            if len(row):
                found = self._similar(images, row, other)
                pairs = self._needed(images, pairs.followed_by(found))
        return pairs

    def _pairs_within(self, images: Indices, prepared: BoundedVectors) -> SimilarPairs:
        """The pairs of images of the block with images before them in the block."""
        open_rows = self._open_rows(images)
        left = prepared if len(open_rows) == len(images) else prepared.at(open_rows)
        row, column, value = self.screen.candidates(left, left)
        possible = (value > self.low) & (column < row)
        return self._similar(images, open_rows[row[possible]], images[open_rows[column[possible]]])

    def _similar(self, images: Indices, row: Indices, other: Indices) -> SimilarPairs:
        """Of possible pairs those with Sim > c that some rule can use."""
        usable = np.zeros(len(row), np.bool_)
        for state in self.state:
            usable |= (state[images[row]] == OPEN) & (state[other] != REMOVED)
        row, other = row[usable], other[usable]
        similarity = self.vectors.similarities(images[row], other)
        above = similarity > self.rules.candidates
        return SimilarPairs(row[above], other[above], similarity[above])

    def _needed(self, images: Indices, pairs: SimilarPairs) -> SimilarPairs:
        """Of pairs with kept images those that may be tried, and one that shows if any is left."""
        needed = np.zeros(len(pairs.row), np.bool_)
        for state in self.state:
            usable = (state[images[pairs.row]] == OPEN) & (state[pairs.other] == KEPT)
            needed |= usable & (pairs.ranks(usable) <= self.rules.tries)
        return pairs.at(needed)

    def _try_pairs(self, images: Indices, pairs: SimilarPairs, *, last: bool = False) -> None:
        """Decide images of a block by their pairs with the images of one block of places.

        last: whether there are no further places, so that an image that is not proved is kept.

        Every image that is open names the next pair that its rule lets it try. It waits while the
        other image is open itself, which can only be one of its own block. The pairs that are named
        are registered together. The first open image never waits, so this ends.
        """
        attempts = [
            Attempts(state, images, pairs, self.rules.tries, last=last) for state in self.state
        ]
        pair_of = np.full(len(pairs.row), -1)  # rows of `self.tried`, for pairs that were tried
        proofs = np.zeros((len(self.state), len(pairs.row)), np.bool_)
        while any(attempt.active.any() for attempt in attempts):
            for attempt in attempts:
                attempt.advance()
            named = [attempt.named() for attempt in attempts]
            new = np.unique(np.concatenate([chosen for _, chosen in named]))
            new = new[pair_of[new] < 0]
            if len(new):
                pair_of[new], proofs[:, new] = self._tried(images, pairs.at(new))
            for level, (attempt, (rows, chosen)) in enumerate(zip(attempts, named, strict=True)):
                proof = proofs[level, chosen]
                attempt.apply(rows, proof)
                removed = images[rows[proof]]
                self.keeper[level, removed] = pairs.other[chosen[proof]]
                self.pair[level, removed] = pair_of[chosen[proof]]
        for level, attempt in enumerate(attempts):
            self.exhausted[level, images] |= attempt.exhausted()

    def _tried(self, images: Indices, pairs: SimilarPairs) -> tuple[Indices, Flags]:
        """Align pairs: their rows in `tried`, and whether they are proved for each rule."""
        own, others = images[pairs.row], pairs.other
        least = self._least_overlaps(own, others)
        tried = self.alignments.tried(own, others, pairs.similarity, least)
        rows = self.tried_count + np.arange(len(pairs.row))
        self.tried.append(tried)
        self.tried_count += len(rows)
        return rows, self.rules.proves(tried.alignments, tried.identical)

    def _least_overlaps(self, images: Indices, others: Indices) -> Vector:
        """The overlap at half size below which pairs are given up: (p,).

        It is what the rule of the smallest overlap needs that may try the pair, now or later.
        """
        least = np.full(len(images), np.inf)
        for state, overlap in zip(self.state, self.rules.overlaps, strict=True):
            usable = (state[images] == OPEN) & (state[others] != REMOVED)
            least[usable] = np.minimum(least[usable], least_at_half_size(overlap))
        return least


def _place_blocks(places: Indices | None, count: int, size: int) -> Indices:
    """The block of places of each image; ValueError where the places do not rise."""
    given = np.arange(count) if places is None else np.asarray(places)
    if given.shape != (count,) or (np.diff(given) <= 0).any() or (given[:1] < 0).any():
        raise ValueError(f"places must be {count} rising numbers from 0 on, one for each image")
    return given.astype(np.int64) // size
