"""The measurement of copies: changes, known truth, and pairs flagged, beside their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import quality, truth
from benchmarks.changes import FAMILIES, TRAINED, TURNED
from benchmarks.intervals import interval
from benchmarks.spaces import SmallAxes, Sums, cosines, nearness, shares, similarity
from benchmarks.truth import SHARES
from tests.support.pictures import picture
from udfs.acquisition.decode import SIDE
from udfs.vectors.cosine import Matrix


def photograph(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    return Image.fromarray(picture(seed, max(size))).crop((0, 0, *size))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(64, 64), (160, 120)])
def test_a_change_leaves_size_and_source_and_is_repeatable(
    family: str, size: tuple[int, int]
) -> None:
    image = photograph(0, size)
    before = image.tobytes()
    one, again = (FAMILIES[family](image, np.random.default_rng(3)) for _ in range(2))
    assert image.tobytes() == before
    assert one.tobytes() == again.tobytes() != before
    assert one.mode == "RGB"
    if family not in TURNED:
        assert one.size == size
        alike = np.corrcoef(np.asarray(one).ravel(), np.asarray(image).ravel())[0, 1]
        assert alike > 0.3


def test_mirrors_and_turns_are_exact() -> None:
    pixels = np.asarray(photograph(1, (64, 64)))
    draw = np.random.default_rng(0)
    mirrored = FAMILIES["mirror"](Image.fromarray(pixels), draw)
    assert np.array_equal(np.asarray(mirrored), pixels[:, ::-1])
    turns = [np.rot90(pixels, k).tobytes() for k in (1, 2, 3)]
    found = {FAMILIES["turned by 90°"](Image.fromarray(pixels), draw).tobytes() for _ in range(30)}
    assert found == set(turns)


def test_a_shift_moves_as_far_as_it_says() -> None:
    row, column = np.mgrid[:64, :64]
    place = np.stack([column, row, row], axis=2).astype(np.uint8)
    draw = np.random.default_rng(0)
    far = []
    for _ in range(100):
        moved = np.asarray(FAMILIES["shift"](Image.fromarray(place), draw)).astype(int)
        far.append(moved[32, 32, :2] - 32)
        assert (moved[20:44, 20:44, 0] == column[20:44, 20:44] + far[-1][0]).all()
    distance = np.hypot(*np.transpose(far))
    assert 1.5 < distance.min() < 3
    assert 6.5 < distance.max() < 8.5


def test_families_are_named_once() -> None:
    assert set(TRAINED) | set(TURNED) < set(FAMILIES)


def save(root: Path, name: str, image: Image.Image) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(root / name, quality=95)


def test_halves_share_no_photograph_and_truth_is_repeatable(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "ucmerced", f"field/{number:02}.jpg", photograph(number, (256, 250)))
        save(tmp_path / "clothing", f"train/hat/{number:02}.jpg", photograph(number))
    halves = [
        {name for name, _ in truth.photographs(tmp_path, truth.TILES, half)}
        for half in (truth.CHOOSE, truth.FIGURES)
    ]
    assert halves[0].isdisjoint(halves[1])
    assert len(halves[0] | halves[1]) == 40
    assert min(map(len, halves)) > 10
    for what in (truth.TILES, truth.CLOTHING, truth.OVERLAP):
        one, again = (truth.planted(tmp_path, what, truth.FIGURES, 5) for _ in range(2))
        assert one.originals.shape == (5, SIDE, SIDE, 3)
        assert np.array_equal(one.originals, again.originals)
        assert list(one.copies) == list(SHARES if what == truth.OVERLAP else FAMILIES)
        for name, copies in one.copies.items():
            assert np.array_equal(copies, again.copies[name])
            assert not np.array_equal(copies, one.originals)
        assert len(one.others) == (0 if what == truth.CLOTHING else 5 * 4 * 3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from(list(SHARES.values())))
def test_overlapping_tiles_share_the_area_they_say(seed: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (256, 240))
    place = draw.integers(0, np.array(image.size) - SIDE + 1)
    moved = truth._moved(place, share, image, draw)
    assert (moved >= 0).all()
    assert (moved + SIDE <= image.size).all()
    common = np.clip(SIDE - np.abs(moved - place), 0, SIDE).prod() / SIDE**2
    assert common == pytest.approx(share, abs=0.01)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(2, 7), st.integers(1, 3), st.integers(1, 4))
def test_so_many_pairs_are_flagged_and_those_the_most_alike(
    seed: int, n: int, families: int, values: int
) -> None:
    """Beside its definition: the mean over all orders in which equal pairs could be taken."""
    draw = np.random.default_rng(seed)
    likeness = draw.integers(0, values, (families, n, n)).astype(np.float32)
    flagged = int(draw.integers(1, likeness.size + 1))
    found = quality.flag(likeness, flagged)
    assert found.shares.shape == (n, families)
    assert found.shares.sum() + found.false == pytest.approx(flagged)
    chosen = np.zeros(likeness.shape)
    for _ in range(400):
        order = np.lexsort((draw.random(likeness.size), -likeness.ravel()))
        chosen.ravel()[order[:flagged]] += 1 / 400
    true = np.diagonal(chosen, axis1=1, axis2=2).T
    assert np.abs(found.shares - true).max() < 0.15


def test_a_perfect_method_finds_all_and_flags_nothing_else() -> None:
    likeness = np.stack([np.eye(5, dtype=np.float32)] * 2)
    found = quality.flag(likeness, 10)
    assert found.shares.min() == 1
    assert found.false == 0
    assert interval(found.shares.mean(axis=1)) == (1, 1)


def test_intervals_hold_the_mean_and_narrow_with_more_photographs() -> None:
    draw = np.random.default_rng(0)
    widths = []
    for n in (50, 5000):
        values = (draw.random(n) < 0.7).astype(float)
        low, high = interval(values)
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 5000), rel=0.15)
    assert widths[0] > 5 * widths[1]


def test_what_lies_below_is_told_and_what_only_differs_by_chance_is_not() -> None:
    ours = (np.random.default_rng(0).random((500, 2)) < [0.5, 0.9]).astype(float)
    ahead, alike = ours.copy(), ours.copy()
    ahead[:150, 0] = 1
    alike[:, 1] = np.roll(ours[:, 1], 1)  # as many, of other photographs
    shares = {"ours": ours, "ahead": ahead, "alike": alike, "behind": ours * [[0.5, 0.5]]}
    found = {name: quality.Found(0.5, rows, 0.0) for name, rows in shares.items()}
    told = quality.below(found, "ours", ["shift", "tone"])
    assert [line.split(" by ")[0] for line in told] == [
        "- all: below ahead",
        "- shift: below ahead",
    ]


def test_bits_are_as_alike_as_they_are_equal() -> None:
    class Bits:
        def __init__(self, image: Image.Image) -> None:
            self.hash = np.asarray(image)[0, :8, 0].reshape(2, 4) > 100

    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[1, 0, :2] = 255
    rows = quality.hashed(Bits)(pixels)
    assert cosines(rows, rows) == pytest.approx(np.array([[1, 0.5], [0.5, 1]]))


def pictures(n: int, first: int = 0) -> quality.Pixels:
    return np.stack([picture(first + i, SIDE) for i in range(n)])


def test_distances_and_cosines_are_those_of_each_pair() -> None:
    one, other = shares(pictures(4)), shares(pictures(3, 10))

    def near(a: Matrix, b: Matrix) -> float:
        return float(1 - 2 * np.sqrt(np.square(a.astype(float) - b).mean()))

    def cosine(a: Matrix, b: Matrix) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    for function, pair in ((nearness, near), (cosines, cosine)):
        wanted = [[pair(a, b) for b in other] for a in one]
        assert function(one, other) == pytest.approx(np.array(wanted), abs=1e-4)
    assert similarity("raw", one).diagonal() == pytest.approx(np.ones(4))
    assert similarity("pixel distance", one).diagonal() == pytest.approx(np.ones(4), abs=1e-3)


def test_small_axes_are_uncorrelated_and_of_unit_deviation() -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (300, SIDE, SIDE, 3), dtype=np.uint8)
    sums = Sums.of(pixels[:100]) + Sums.of(pixels[100:])
    found = SmallAxes.fitted(sums)(pixels)
    assert np.cov(found.T, bias=True) == pytest.approx(np.eye(found.shape[1]), abs=1e-2)
