from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.vectors import KINDS, images, sim
from udfs.duplicates.pair_alignments import (
    KnownAlignments,
    PairAlignments,
    TriedPairs,
)
from udfs.duplicates.proof_cover import (
    ProofCover,
    ProofCovers,
    ProofReference,
    ProofRules,
    proof_covers,
)
from udfs.registration import Alignments, Registrar, evidence
from udfs.registration.limits import OVERLAP_MARGIN
from udfs.vectors.cosine import Indices, Matrix, Vector

Flags = NDArray[np.bool_]
OVERLAPS = (0.9, 0.5, 0.5, 0.2)


@dataclass
class Table:
    """Alignments drawn by pair, and the pairs that were asked for.

    The overlap at half size is near that of the end, and at times too far below it.
    """

    seed: int
    asked: list[tuple[int, int]] = field(default_factory=list)
    first: Indices | None = None  # of each image, its number in the whole

    def align(self, images: Indices, others: Indices, least_overlap: Vector) -> Alignments:
        numbers = np.arange(1 << 20) if self.first is None else self.first
        self.asked += list(zip(numbers[images].tolist(), numbers[others].tolist(), strict=True))
        one = Alignments.identical(len(images))
        draws = [
            np.random.default_rng([self.seed, int(numbers[i]), int(numbers[k])]).random(4)
            for i, k in zip(images, others, strict=True)
        ]
        score, agreement, overlap, moved = np.array(draws).reshape(-1, 4).T
        flat = score < 0.1
        half = np.clip(overlap + 0.2 * (moved - 0.7), 0.01, 1)
        lost = half < least_overlap
        return Alignments(
            **(
                vars(one)
                | {"registration": np.where(flat | lost, np.nan, score)}
                | {"agreement": np.where(lost, 0, agreement**0.5), "flat": flat & ~lost}
                | {"overlap": np.where(lost, 0, overlap), "overlap_half": half}
            )
        )


@dataclass(frozen=True)
class Case:
    rows: Matrix
    references: int
    rules: ProofRules
    content: Indices
    mask: Flags  # (rules, n): references that are kept, candidates that are pending
    places: Indices
    seed: int

    @property
    def split(self) -> tuple[Matrix, Matrix]:
        return self.rows[: self.references], self.rows[self.references :]

    def covers(
        self,
        levels: list[int] | None = None,
        known: KnownAlignments | None = None,
        block: int = 1024,
    ) -> tuple[ProofCovers, Table]:
        table = Table(self.seed)
        chosen = list(range(len(self.rules.overlaps))) if levels is None else levels
        rules = ProofRules(
            tuple(self.rules.overlaps[level] for level in chosen),
            self.rules.candidates,
            self.rules.proof,
            self.rules.agreement,
            self.rules.tries,
            self.rules.places,
        )
        mask = self.mask[chosen]
        covers = proof_covers(
            *self.split,
            rules,
            PairAlignments(table, self.content, known),
            block=block,
            places=self.places,
            reference_mask=mask[:, : self.references],
            pending_mask=mask[:, self.references :],
        )
        return covers, table


@st.composite
def cases(draw: st.DrawFn, largest: int = 24) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, width = draw(st.integers(0, largest)), draw(st.integers(1, 40))
    rows = images(random, draw(st.sampled_from(KINDS)), count, width)
    rules = ProofRules(
        OVERLAPS[: draw(st.integers(1, 4))],
        draw(st.sampled_from([-1.5, -0.3, 0.0, 0.5, 0.9, 0.97])),
        proof=draw(st.sampled_from([0.2, 0.5, 0.8])),
        agreement=0.3,
        tries=draw(st.integers(1, 5)),
        places=draw(st.sampled_from([1, 3, 8, 16_384])),
    )
    share = draw(st.sampled_from([0.5, 1.0]))
    return Case(
        rows,
        draw(st.one_of(st.just(0), st.integers(0, count))),
        rules,
        random.integers(-1, max(1, count), count),
        random.random((len(rules.overlaps), count)) <= share,
        np.cumsum(random.integers(1, 3, count)) - 1,
        int(random.integers(2**32)),
    )


def definition(
    case: Case, level: int, align: Callable[[int, int], tuple[bool, float]]
) -> ProofCover:
    """One rule's cover with proof, as docs/method.md words it."""
    n, rules = len(case.rows), case.rules
    kept = [i for i in range(case.references) if case.mask[level, i]]
    keeper, exhausted = np.full(n, -1), np.zeros(n, np.bool_)
    for i in (i for i in range(case.references, n) if case.mask[level, i]):
        for block in range(case.places[-1] // rules.places + 1):
            places = [k for k in kept if case.places[k] // rules.places == block]
            sims = {k: sim(case.rows[i], case.rows[k]) for k in places}
            alike = sorted(
                (k for k in places if sims[k] > rules.candidates), key=lambda k: -sims[k]
            )
            proofs = [k for k in alike[: rules.tries] if align(i, k)[0]]
            proofs = [k for k in proofs if align(i, k)[1] >= rules.overlaps[level]]
            if proofs and keeper[i] < 0:
                keeper[i] = proofs[0]
            exhausted[i] |= not proofs and len(alike) > rules.tries
        kept += [i] if keeper[i] < 0 else []
    is_kept = (keeper < 0) & case.mask[level]
    rest = slice(case.references, None)
    return ProofCover(is_kept[rest], keeper[rest], keeper[rest], (exhausted & is_kept)[rest])


def by_table(case: Case) -> Callable[[int, int], tuple[bool, float]]:
    @cache
    def align(i: int, k: int) -> tuple[bool, float]:
        if case.content[i] == case.content[k] >= 0:
            return True, 1.0
        one = Table(case.seed).align(np.array([i]), np.array([k]), np.zeros(1))
        above = one.registration >= case.rules.proof and evidence(one) >= case.rules.agreement
        overlap = min(one.overlap[0], one.overlap_half[0] + OVERLAP_MARGIN)
        return bool(above and not one.flat[0]), float(overlap)

    return align


def assert_same(found: ProofCover, expected: ProofCover) -> None:
    for name in ("kept", "keeper", "exhausted"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@settings(deadline=None, max_examples=100)
@given(cases(), st.sampled_from([1, 2, 7, 1024]))
def test_covers_are_their_definition(case: Case, block: int) -> None:
    found, table = case.covers(block=block)
    align = by_table(case)
    for level, cover in enumerate(found.covers):
        expected = definition(case, level, align)
        event(f"removed: {not expected.kept.all()}, exhausted: {expected.exhausted.any()}")
        assert_same(cover, expected)
        removed = np.flatnonzero(cover.keeper >= 0)
        assert np.array_equal(cover.pair >= 0, cover.keeper >= 0)
        assert np.array_equal(found.tried.images[cover.pair[removed]], case.references + removed)
        assert np.array_equal(found.tried.others[cover.pair[removed]], cover.keeper[removed])
    pairs = list(zip(found.tried.images.tolist(), found.tried.others.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert len(set(table.asked)) == len(table.asked)
    for i, k, value in (
        zip(*zip(*pairs, strict=True), found.tried.similarity, strict=True) if pairs else ()
    ):
        assert value == sim(case.rows[i], case.rows[k])


@settings(deadline=None, max_examples=50)
@given(cases())
def test_a_rule_decides_alone_and_asks_for_no_more_than_all_together(case: Case) -> None:
    together, table = case.covers()
    asked: set[tuple[int, int]] = set()
    for level, cover in enumerate(together.covers):
        alone, its_table = case.covers([level])
        assert_same(alone.covers[0], cover)
        asked |= set(its_table.asked)
    assert asked == set(table.asked)


@settings(deadline=None, max_examples=50)
@given(cases(), st.integers(0, 2**32))
def test_known_alignments_are_not_computed_again(case: Case, seed: int) -> None:
    fresh, table = case.covers()
    drawn = np.random.default_rng(seed).random(len(fresh.tried.images)) < 0.6
    part = np.flatnonzero(drawn)
    known = KnownAlignments(
        fresh.tried.images[part], fresh.tried.others[part], fresh.tried.alignments.take(part)
    )
    again, others = case.covers(known=known)
    for cover, expected in zip(again.covers, fresh.covers, strict=True):
        assert_same(cover, expected)
    assert np.array_equal(again.tried.is_new, ~drawn)
    held = set(zip(known.images.tolist(), known.others.tolist(), strict=True))
    assert set(others.asked) == set(table.asked) - held


@settings(deadline=None, max_examples=50)
@given(cases(), st.integers(1, 3), st.integers(1, 30))
def test_windows_of_whole_place_blocks_are_one_run(case: Case, width: int, batch: int) -> None:
    n, rules = len(case.rows), case.rules
    whole, _ = case.covers()
    keeper = np.full((len(rules.overlaps), n), -1)
    exhausted = np.zeros(keeper.shape, np.bool_)
    pending = case.mask.copy()
    pending[:, : case.references] = False
    reference = case.mask & ~pending
    asked: list[tuple[int, int]] = []

    def enter(found: ProofCovers, table: Table, numbers: Indices, window: Indices) -> None:
        asked.extend(table.asked)
        for level, cover in enumerate(found.covers):
            hit = cover.keeper >= 0
            keeper[level, numbers[hit]] = window[cover.keeper[hit]]
            exhausted[level, numbers] |= cover.exhausted
            pending[level, numbers[hit]] = False

    def alignments(numbers: Indices) -> tuple[PairAlignments, Table]:
        table = Table(case.seed, first=numbers)
        return PairAlignments(table, case.content[numbers]), table

    window_of = case.places // rules.places // width
    for number in np.unique(window_of):
        window = np.flatnonzero(window_of == number)
        first = int(np.count_nonzero(window < case.references))
        pairs, table = alignments(window)
        found = proof_covers(
            case.rows[window[:first]],
            case.rows[window[first:]],
            rules,
            pairs,
            places=case.places[window],
            reference_mask=reference[:, window[:first]],
            pending_mask=pending[:, window[first:]],
        )
        enter(found, table, window[first:], window)
        kept = reference[:, window]
        kept[:, first:] = [cover.kept for cover in found.covers]
        stays = ProofReference(case.rows[window], rules, kept, places=case.places[window])
        later = np.arange(max(int(window[-1]) + 1, case.references), n)
        for start in range(0, len(later), batch):
            part = later[start : start + batch]
            numbers = np.concatenate([window, part])
            pairs, table = alignments(numbers)
            found = stays.against(case.rows[part], pairs, pending[:, part], block=7)
            enter(found, table, part, numbers)
    for level, cover in enumerate(whole.covers):
        is_kept = case.mask[level, case.references :] & (keeper[level, case.references :] < 0)
        assert np.array_equal(cover.keeper, keeper[level, case.references :])
        assert np.array_equal(cover.kept, is_kept)
        assert np.array_equal(cover.exhausted, exhausted[level, case.references :] & is_kept)
    assert len(set(asked)) == len(asked)
    assert set(asked) == set(case.covers()[1].asked)


def textured(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A grey picture with structure of some pixels' width."""
    noise = random.random((size, size))
    spectrum = np.fft.fft2(noise)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    smooth = np.fft.ifft2(spectrum * np.exp(-((frequency / 0.12) ** 2))).real
    smooth -= smooth.min()
    return np.asarray(255 * smooth / smooth.max())


def test_pictures_that_overlap_are_proved_and_look_alikes_are_not() -> None:
    random = np.random.default_rng(3)
    ground = textured(random, 160)
    crops = [ground[y : y + 64, x : x + 64] for y, x in [(40, 40), (40, 48), (48, 52), (40, 40)]]
    grey = np.rint([*crops, textured(random, 64), np.full((64, 64), 90), np.full((64, 64), 90)])
    grey = grey.astype(np.uint8)
    rows = np.ones((len(grey), 4), np.float32)  # all look alike
    rules = ProofRules((0.9, 0.7, 0.5), 0.5, proof=0.5, agreement=0.6)
    pairs = PairAlignments(Registrar(grey), np.array([0, 1, 2, 0, 3, 4, 5]))
    strict, middle, loose = proof_covers(None, rows, rules, pairs).covers
    assert strict.keeper.tolist() == [-1, -1, -1, 0, -1, -1, -1]
    assert middle.keeper.tolist() == [-1, 0, 0, 0, -1, -1, -1]  # 87 %, and 71 % of the third
    assert loose.keeper.tolist() == [-1, 0, 0, 0, -1, -1, -1]


def test_equal_content_proves_flat_pictures_without_registration() -> None:
    class Nothing:
        def align(self, images: Indices, others: Indices, _: Vector) -> Alignments:
            raise AssertionError("nothing is to be registered")

    rows = np.ones((3, 4), np.float32)
    rules = ProofRules((1.0,), 0.5, proof=1.0, agreement=1.0)
    content = np.array([7, 7, 7])
    found = proof_covers(None, rows, rules, PairAlignments(Nothing(), content))
    assert found.covers[0].keeper.tolist() == [-1, 0, 0]
    assert found.tried.alignments.overlap.tolist() == [1.0, 1.0]


def test_a_larger_set_whose_tries_are_used_up() -> None:
    rows = images(np.random.default_rng(11), "clustered", 160, 48)
    case = Case(
        rows,
        40,
        ProofRules((0.9, 0.5), 0.5, proof=0.3, agreement=0.3, tries=4, places=50),
        np.arange(160),
        np.ones((2, 160), np.bool_),
        np.arange(160),
        5,
    )
    found, _ = case.covers(block=64)
    for level, cover in enumerate(found.covers):
        assert 0 < np.count_nonzero(cover.kept) < 120
        assert cover.exhausted.any()
        assert_same(cover, definition(case, level, by_table(case)))


def test_what_cannot_be_used_is_refused() -> None:
    rows = np.ones((2, 4), np.float32)
    rules = ProofRules((0.5,), 0.5, proof=0.5, agreement=0.5)
    pairs = PairAlignments(Table(0), np.array([0, 1]))
    for places in ([1, 1], [1, 0], [-1, 0]):
        with pytest.raises(ValueError, match="rising"):
            proof_covers(None, rows, rules, pairs, places=np.array(places))
    with pytest.raises(ValueError, match="above 0"):
        ProofRules((0.5,), 0.5, proof=0.5, agreement=0.5, tries=0)
    with pytest.raises(ValueError, match="block"):
        proof_covers(None, rows, rules, pairs, block=0)
    none = TriedPairs.concatenate([])
    assert len(none.images) == len(none.alignments.overlap) == 0
