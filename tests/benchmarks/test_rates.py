"""The measurement of proofs: crops of known overlap, false pairs, thresholds at a rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import proofs, rates, truth
from benchmarks.proofs import OTHER, SAME_PHOTOGRAPH, SAME_PLACE
from benchmarks.registration import near_and_far
from benchmarks.spaces import cosines
from benchmarks.truth import Pool
from udfs.acquisition.decode import SIDE
from udfs.registration import Alignments
from udfs.vectors.cosine import Matrix

CORNERS = np.array([(x, y, 1) for x in (-32, 32) for y in (-32, 32)]).T


def textured(seed: int) -> Image.Image:
    """A picture of 256 px with structures of some pixels."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return coarse.resize((256, 256), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve photographs in two classes."""
    root = tmp_path_factory.mktemp("data")
    for number in range(12):
        target = root / "ucmerced" / f"{'field' if number % 2 else 'town'}/{number:02}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        textured(number).save(target, quality=95)
    return root


def test_crops_overlap_as_they_say_and_registration_finds_them(data: Path) -> None:
    crops, again = (truth.crops(data, truth.FIGURES, 5, 6) for _ in range(2))
    assert np.array_equal(crops.copies, again.copies)
    assert crops.overlaps.min() > truth.LEAST_OVERLAP - 0.03
    assert crops.overlaps.max() < truth.MOST_OVERLAP + 0.03
    found = proofs.of_copies(crops.originals, crops.copies, 1)
    wide = np.flatnonzero((crops.overlaps > 0.6) & (found.registration > 0.8))
    assert len(wide) > 0.8 * (crops.overlaps > 0.6).sum()
    apart = (found.matrices(np.ones(len(found)), np.ones(len(found))) - crops.matrices) @ CORNERS
    assert np.median(np.abs(apart[wide])) < 0.3
    assert np.median(np.abs(found.overlap - crops.overlaps)[wide]) < 0.02


def test_overlap_of_plain_shifts_and_scales() -> None:
    assert truth.overlap_of(np.array([[1.0, 0, 16], [0, 1, 0]])) == pytest.approx(0.75)
    assert truth.overlap_of(np.array([[0.5, 0, 0], [0, 0.5, 0]])) == 1
    assert truth.overlap_of(np.array([[2.0, 0, 0], [0, 2, 0]])) == pytest.approx(0.25)


def test_a_pool_holds_each_tile_where_it_says(data: Path) -> None:
    pool = truth.pool(data, truth.CHOOSE, 64)
    files = truth.photographs(data, truth.TILES, truth.CHOOSE)
    assert len(pool) == 16 * len(files)
    for row in (0, 5, len(pool) - 1):
        x, y = pool.corners[row].tolist()
        image = truth.open_image(files[pool.photographs[row]][1])
        assert np.array_equal(pool.pixels[row], np.asarray(image.crop((x, y, x + SIDE, y + SIDE))))


def small_pool(seed: int) -> tuple[Pool, Matrix]:
    draw = np.random.default_rng(seed)
    photographs = draw.integers(0, 6, 40)
    corners = draw.integers(0, 3, (40, 2)) * 32
    names = [f"{number}.jpg" for number in range(6)]
    pixels = np.zeros((40, 1, 1, 1), np.uint8)
    vectors = draw.normal(size=(40, 3)).astype(np.float32)
    return Pool(pixels, photographs // 3, photographs, corners, names), vectors


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(-0.9, 0.9))
def test_pairs_and_their_kinds_are_those_of_the_definition(seed: int, threshold: float) -> None:
    pool, vectors = small_pool(seed)
    same = proofs.places(pool, frozenset({frozenset({"0.jpg", "2.jpg"})}))
    likeness = cosines(vectors, vectors)
    wanted: dict[bool, set[tuple[int, int]]] = {False: set(), True: set()}
    counts = np.zeros(3, int)
    for i in range(40):
        for j in range(i + 1, 40):
            across = bool(pool.labels[i] != pool.labels[j])
            if likeness[i, j] > threshold:
                wanted[across].add((i, j))
            if not across:
                photographs = {pool.photographs[i], pool.photographs[j]}
                kind = SAME_PLACE if photographs == {0, 2} else OTHER
                counts[SAME_PHOTOGRAPH if len(photographs) == 1 else kind] += 1
    for across, pairs in wanted.items():
        found = proofs.proposed(vectors, pool, threshold, across=across)
        assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == pairs
        assert len(found) == len(pairs)
    assert rates.same_class(vectors, pool, same).sum(axis=1).tolist() == counts.tolist()


def test_the_nearest_tile_shows_another_place() -> None:
    pool, vectors = small_pool(3)
    same = proofs.places(pool, frozenset({frozenset({"0.jpg", "2.jpg"})}))
    found = proofs.nearest(vectors, pool, 40, same)
    likeness = cosines(vectors, vectors)
    assert sorted(found.first) == list(range(40))
    for i, j, similarity in zip(found.first, found.second, found.similarity, strict=True):
        kind = proofs.kinds(pool, np.full(40, i), np.arange(40), same)
        wanted = (kind == OTHER) & (pool.labels == pool.labels[i])
        assert wanted[j]
        assert similarity == pytest.approx(likeness[i, wanted].max(), abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(0, 1))
def test_at_a_rate_at_most_that_share_is_flagged_and_one_more_bin_is_too_much(
    scores: list[float], rate: float
) -> None:
    false = rates.tally(np.array(scores)).astype(float)
    end = rates.end_at(false, rate)
    assert false[:end].sum() <= rate * len(scores)
    if end < len(false):
        assert false[: end + 1].sum() > rate * len(scores)


def test_a_score_is_the_agreement_of_what_is_proved_but_for_it() -> None:
    found = Alignments.identical(4)
    found.agreement[:] = (0.9, 0.2, 0.8, 0.7)
    found.registration[2] = 0.1
    found.overlap[3] = 0.4
    found.shift_x[:] = 9.0  # what lies in place counts for more
    assert proofs.score(found, 0.4).tolist() == [0.9, 0.2, -1, 0.7]
    assert proofs.score(found, 0.4, 0.5).tolist() == [0.9, 0.2, -1, -1]


def test_pairs_that_were_kept_are_read_again(tmp_path: Path) -> None:
    pairs = proofs.Pairs(np.arange(3), np.arange(3) + 1, np.ones(3, np.float32))
    proofs.save(tmp_path / "some.npz", pairs, Alignments.identical(3))
    read, found = proofs.load(tmp_path / "some.npz")
    assert np.array_equal(read.second, pairs.second)
    assert np.array_equal(found.agreement, np.ones(3))


def test_pairs_to_time_are_neighbours_or_of_one_class() -> None:
    pool, _ = small_pool(5)
    first, second = near_and_far(pool, 40)
    assert len(first) > 0
    assert (pool.labels[first] == pool.labels[second]).all()
    same = pool.photographs[first] == pool.photographs[second]
    apart = np.abs(pool.corners[first] - pool.corners[second]).sum(axis=1)
    assert (apart[same] == 32).all()
