"""The benchmark of trainings: its classifier, arms, splits and intervals, beside their promises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import arms, classifier, intervals, subsets, training, truth
from benchmarks.arms import Indices, Pixels, Shown, Tiles
from benchmarks.classifier import BATCH, Array, Labelled
from benchmarks.outcomes import Arm, Judged, Outcome, Side, apart
from tests.support.pictures import picture
from udfs.acquisition.decode import SIDE
from udfs.vectors.cosine import Matrix, similarities, squared_norms

LABELS = np.repeat([0, 1, 2], [30, 50, 20])
CLASSES = ("field", "town")


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


def clustered(seed: int = 0) -> Matrix:
    """Directions of 100 images, some of which lie close together."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(25, 8))
    rows = centres[draw.integers(0, 25, 100)] + 0.2 * draw.normal(size=(100, 8))
    return rows.astype(np.float32)


def coloured(n: int) -> tuple[Pixels, Indices]:
    """Noise, of one class red and of the other blue."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, n)
    pixels = draw.integers(0, 128, (n, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[np.arange(n), :, :, 2 * labels] += 100
    return pixels.reshape(n, -1), labels


def parameters(classes: int) -> int:
    return sum(each.numel() for each in classifier.network(classes).parameters())


def test_the_classifier_is_as_large_as_it_says() -> None:
    assert parameters(21) == 277_805
    assert f"{parameters(21):,} parameters" in (classifier.network.__doc__ or "")


def test_training_learns_and_is_repeatable() -> None:
    images = Labelled.placed(*coloured(400), "cpu")
    learnt, others = np.arange(300), np.arange(300, 400)
    losses = []
    for steps, seed in ((1, 0), (12, 0), (12, 0), (12, 1)):
        model = classifier.trained(images, lambda _: learnt, steps, 2, seed)
        right, loss = classifier.judged(model, images, others)
        losses.append(loss.mean())
    assert losses[1] < 0.5 * losses[0]
    assert losses[1] == losses[2] != losses[3]
    assert right.mean() == 1


def test_weights_decide_what_is_learnt() -> None:
    pixels, labels = coloured(200)
    wrong = np.concatenate([labels, 1 - labels])  # the second half tells the opposite
    images = Labelled.placed(np.concatenate([pixels, pixels]), wrong, "cpu")
    for half in (0, 1):
        weights = torch.zeros(400)
        weights[200 * half : 200 * half + 200] = 2
        model = classifier.trained(images, lambda _: np.arange(400), 12, 2, 0, weights)
        right, _ = classifier.judged(model, images, np.arange(200))
        assert right.mean() == 1 - half


def test_flips_move_pixels_and_change_none() -> None:
    squares = torch.arange(SIDE * SIDE * 3).reshape(1, SIDE, SIDE, 3).repeat(200, 1, 1, 1)
    one = squares[0].clone()
    ways = [one, one.flip(0), one.flip(1), one.flip(0).flip(1)]
    found = classifier._flipped(squares, np.random.default_rng(0))
    counts = [sum(bool((each == way).all()) for each in found) for way in ways]
    assert sum(counts) == 200
    assert min(counts) > 25


def test_an_epoch_shows_each_of_its_images_once() -> None:
    shown = [np.arange(0, 300), np.arange(300, 600), np.arange(600, 900)]
    draw = np.random.default_rng(0)
    found = list(classifier.batches(lambda epoch: shown[epoch], 7, draw))
    assert {len(batch) for batch in found} == {BATCH}
    order = np.concatenate(found)
    assert set(order[:300]) == set(shown[0])
    assert set(order[300:600]) == set(shown[1])
    assert (order[:300] != shown[0]).any()
    rates = [classifier.rate(step, 100) for step in range(100)]
    assert 0 < min(rates) < 0.02 * classifier.RATE
    assert max(rates) == pytest.approx(classifier.RATE, rel=0.02)
    assert np.argmax(rates) == 9


def definition(rows: Matrix, threshold: float) -> list[int]:
    """The keeper of each row, itself where it is kept: pair by pair."""
    squared = squared_norms(rows)
    keeper: list[int] = []
    for row in range(len(rows)):
        kept = np.array([k for k in range(row) if keeper[k] == k], np.int64)
        each = np.full(len(kept), row)
        above = similarities(rows[each], rows[kept], squared[each], squared[kept]) > threshold
        keeper.append(int(kept[above][0]) if above.any() else row)
    return keeper


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_ours_is_the_greedy_cover_of_each_class_at_one_threshold(share: float) -> None:
    rows = clustered()
    removal = subsets.at_share(rows.__getitem__, LABELS, share, -1.0)
    (threshold,) = set(removal.thresholds.values())
    for label in range(3):
        places = np.flatnonzero(label == LABELS)
        group = places[definition(rows[places], threshold)]
        assert removal.group[places].tolist() == group.tolist()
    assert np.array_equal(removal.kept, removal.group == np.arange(100))
    assert np.ceil(share * 100) <= removal.kept.sum() <= np.ceil(share * 100) + 3
    lower = subsets.removed(rows.__getitem__, LABELS, dict.fromkeys(range(3), threshold - 1e-5))
    assert lower.kept.sum() < np.ceil(share * 100)


def test_weights_are_one_on_average_and_alike_in_a_group() -> None:
    removal = subsets.at_share(clustered().__getitem__, LABELS, 0.5, -1.0)
    weights = subsets.loss_weights(removal)
    assert weights.mean() == pytest.approx(1)
    assert len(np.unique(weights)) > 2
    totals = [weights[removal.group == one].sum() for one in np.unique(removal.group)]
    assert totals == pytest.approx([totals[0]] * int(removal.kept.sum()))
    assert all(np.ptp(weights[removal.group == one]) == 0 for one in np.unique(removal.group))


def test_arms_show_as_many_as_they_promise() -> None:
    rows = clustered()
    ours = subsets.at_share(rows.__getitem__, LABELS, 0.5, -1.0)
    plain = subsets.at_share(clustered(1).__getitem__, LABELS, 0.5, -1.0)
    made = training.arms_of("50%", ours, plain, LABELS)
    shown = {name.removeprefix("50%: "): made[name](0).epochs for name in made}
    count = int(ours.kept.sum())

    def counts(places: Indices) -> list[int]:
        return [int((LABELS[places] == label).sum()) for label in range(3)]

    assert np.array_equal(shown[training.OURS](0), np.flatnonzero(ours.kept))
    assert np.array_equal(shown[training.PIXELS](0), np.flatnonzero(plain.kept))
    assert counts(shown[training.ALIKE](0)) == counts(np.flatnonzero(ours.kept))
    assert not np.array_equal(shown[training.ALIKE](0), np.flatnonzero(ours.kept))
    assert counts(shown[training.RANDOM](0)) != counts(np.flatnonzero(ours.kept))
    assert shown[training.WEIGHTED](0).tolist() == list(range(100))
    for name in (training.ALIKE, training.RANDOM, training.FRESH):
        first, next_, again = (shown[name](epoch) for epoch in (0, 1, 0))
        assert len(set(first)) == len(first) == count
        assert np.array_equal(first, again)
        assert np.array_equal(first, next_) == (name != training.FRESH)
        assert not np.array_equal(first, made[f"50%: {name}"](1).epochs(0))


def test_what_an_arm_has_seen_is_what_its_steps_show() -> None:
    one = Shown(lambda epoch: np.arange(BATCH) + BATCH * epoch, BATCH)
    assert one.own(3).tolist() == list(range(3 * BATCH))
    assert Shown.fixed(np.array([5, 2])).own(9).tolist() == [2, 5]


def test_a_rate_of_pairs_lies_above_its_threshold_and_few_pairs_take_that_of_all() -> None:
    rows = np.random.default_rng(0).normal(size=(460, 16)).astype(np.float32)
    labels = np.repeat([0, 1, 2], [225, 225, 10])
    ids = [f"{place}" for place in range(460)]
    at = subsets.at_rate(rows.__getitem__, labels, ids, 0.01)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for label in (0, 1):
        mine = units[labels == label]
        above = (mine @ mine.T)[np.triu_indices(225, 1)] > at[label]
        assert above.mean() == pytest.approx(0.01, rel=0.3)
    assert at[0] != at[1]
    assert min(at[0], at[1]) - 0.02 < at[2] < max(at[0], at[1]) + 0.02


def test_leaks_are_what_resembles_a_test_image_of_the_class() -> None:
    rows = clustered()
    learnt, tested = np.arange(0, 100, 2), np.arange(1, 100, 2)
    at = {0: 0.7, 1: 0.8, 2: 0.9}
    found = subsets.leaking(rows.__getitem__, LABELS, learnt, tested, at)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = [
        any(units[i] @ units[j] > at[LABELS[i]] for j in tested if LABELS[j] == LABELS[i])
        for i in learnt.tolist()
    ]
    assert found.tolist() == wanted
    assert 0 < found.sum() < len(found)


def arm(right: Array, labels: Indices, draw: int = 0) -> Arm:
    sides = [{"x": Judged(row, 2.0 - row)} for row in right]
    return Arm([Outcome(1, 1, 1.0, 0.5, one) for one in sides], "x", Side(labels, draw))


def test_differences_are_paired_and_classes_count_alike() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, 10])
    right = draw.random((5, 100))
    ours, same, better = (arm(right + far, labels) for far in (0, 0, 0.01))
    means = [right[:, :90].mean(), right[:, 90:].mean()]
    assert ours.accuracy().value == pytest.approx(np.mean(means))
    assert ours.accuracy(classes=[1]).value == pytest.approx(means[1])
    assert (ours.accuracy(same).low, ours.accuracy(same).high) == (0, 0)
    assert better.accuracy(ours).low == pytest.approx(0.01)  # of two wide intervals
    assert (better.accuracy(ours).sign, ours.accuracy(better).sign, ours.accuracy(same).sign) == (
        1,
        -1,
        0,
    )
    assert ours.accuracy().high - ours.accuracy().low > 0.05
    assert ours.overfitting().value == pytest.approx(2 - 0.5 - np.mean(means))
    other = arm(right, labels, 1)
    assert apart(ours, other).value == 0
    assert apart(ours, other).high > 0.03  # of other photographs nothing is paired


def test_intervals_tell_of_photographs_and_of_seeds() -> None:
    labels = np.zeros(50, np.int64)
    by_photograph = np.tile(np.linspace(0, 1, 50), (5, 1))
    by_seed = np.tile(np.linspace(0, 1, 5)[:, None], (1, 50))
    for values, spread in ((by_photograph, 0.289 / 50**0.5), (by_seed, 0.354 / 5**0.5)):
        low, high = intervals.middle(intervals.macro(values, labels))
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_photographs_count_alike_however_many_tiles_they_have() -> None:
    right = np.array([True, False, True, True])
    found = Judged.of(right, np.array([1.0, 3.0, 5.0, 6.0]), np.array([0, 0, 0, 1]))
    assert found.right == pytest.approx([2 / 3, 1])
    assert found.loss == pytest.approx([3, 6])


def test_the_worst_class_is_each_seeds_own() -> None:
    right = np.array([[0.2, 0.9], [0.8, 0.4]])
    assert arm(right, np.array([0, 1])).worst == pytest.approx(0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photographs of a class in each half."""
    root = tmp_path_factory.mktemp("data")
    for label, name in enumerate(CLASSES):
        (root / "ucmerced" / name).mkdir(parents=True)
        for number in range(18):
            levels = picture(100 * label + number, 128) // (1 + label)
            Image.fromarray(levels).save(root / "ucmerced" / name / f"{number}.jpg", quality=90)
    return root


def known(data: Path, half: str = truth.CHOOSE, stride: int = 32) -> Tiles:
    return arms.tiles(data, half, 12, stride, CLASSES)


def test_tiles_are_what_their_ids_say(data: Path) -> None:
    found = known(data)
    assert len(found.ids) == 9 * len(set(found.photographs.tolist()))
    names = [name.split("#")[0] for name in found.ids]
    assert names == sorted(names)
    for place in (0, 5, 8, 40):
        name, _, corner = found.ids[place].partition("#")
        x, y = map(int, corner.split(","))
        with Image.open(data / "ucmerced" / name) as image:
            tile = np.asarray(image.convert("RGB"))[y : y + SIDE, x : x + SIDE]
        assert np.array_equal(found.pixels[place].reshape(SIDE, SIDE, 3), tile)
        assert found.corners[place].tolist() == [x, y]
        assert CLASSES[found.labels[place]] == name.split("/")[0]
    assert found.ids[1].endswith("#32,0")  # row by row


def test_training_and_test_share_no_photograph(data: Path) -> None:
    halves = [
        {name.split("#")[0] for name in known(data, half).ids}
        for half in (truth.CHOOSE, truth.FIGURES)
    ]
    assert halves[0].isdisjoint(halves[1])
    found = known(data)
    for by_photograph in (False, True):
        learnt, tested = training.dealt(found, by_photograph)
        assert sorted([*learnt, *tested]) == list(range(len(found.ids)))
        assert len(tested) == pytest.approx(0.2 * len(found.ids), rel=0.3)
        common = set(found.photographs[learnt]) & set(found.photographs[tested])
        assert bool(common) != by_photograph
        if by_photograph:
            assert set(found.labels[tested]) == {0, 1}


def test_tiles_that_share_pixels_are_known(data: Path) -> None:
    found = known(data)
    learnt, tested = training.dealt(found, False)
    for place, over in zip(learnt, training.overlapping(found, learnt, tested), strict=True):
        (x, y), mine = found.corners[place], found.photographs[place]
        near = [
            abs(x - a) < SIDE and abs(y - b) < SIDE
            for (a, b), theirs in zip(found.corners[tested], found.photographs[tested], strict=True)
            if mine == theirs
        ]
        assert over == any(near)


def test_copies_follow_the_originals_of_the_inflated_classes(data: Path) -> None:
    clean = known(data, stride=SIDE)
    found, copies = training.inflate(clean, [1])
    again, _ = training.inflate(clean, [1])
    assert np.array_equal(found.pixels, again.pixels)
    assert [name for name, copy in zip(found.ids, copies, strict=True) if not copy] == clean.ids
    assert np.array_equal(found.pixels[copies == 0], clean.pixels)
    assert set(found.labels[copies > 0].tolist()) == {1}
    assert (copies > 0).sum() == training.COPIES * (clean.labels == 1).sum()
    first = int(np.flatnonzero(copies == 1)[0]) - 1
    group = found.pixels[first : first + 1 + training.COPIES].astype(float)
    assert len({row.tobytes() for row in group}) == 1 + training.COPIES
    assert all(np.corrcoef(group[0], row)[0, 1] > 0.3 for row in group)
    assert all(name.startswith(found.ids[first]) for name in found.ids[first : first + 6])
    assert len(training.inflated_classes([f"{i}" for i in range(9)])) == training.INFLATED


def cells(said: str) -> list[list[str]]:
    """The rows of all tables of a text."""
    return [line.split(" | ") for line in said.splitlines() if line.startswith("| ")]


def test_all_experiments_from_photographs_to_tables(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--photographs", "12", "--seeds", "1", "--epochs", "1", "--axes", "16"]
    monkeypatch.setattr(arms, "PASSES", 1)
    monkeypatch.setattr(sys, "argv", ["training", str(data), *flags, "--threads", "1"])
    training.main()
    said = capsys.readouterr().out
    everything, fourth = cells(said), cells(said[said.index("## Experiment 4") :])
    rows = everything[: -len(fourth)]
    for name in (training.OURS, training.ALIKE, training.ALL):
        assert sum(row[0] == f"| {name}" for row in fourth) == 2
    for name in (training.OURS, training.ALIKE, training.RANDOM, training.PIXELS, training.FRESH):
        assert sum(row[0] == f"| {name}" for row in rows) == 4
    n = len(known(data).ids)
    (half,) = {row[1] for row in rows if row[0] == f"| {training.OURS}"} - {f"{-(-n // 4)}"}
    assert int(half) == pytest.approx(n / 2, abs=2)
    assert {row[1] for row in rows if row[0] == f"| {training.WEIGHTED}"} == {f"{n:,}"}
    assert sum(row[0].startswith("| pruned, ") for row in rows) == 4
    split = {row[0].strip("| "): row for row in everything}
    assert split[training.BY_PHOTOGRAPH][2] == "0.0%"
    assert split[f"{training.BY_TILE}"][2] != "0.0%"
    assert "A gain of ours over “random, our counts”: " in said
    assert "nan" not in said
    for part in (
        "encoder",
        "experiment 1",
        "experiment 2",
        "experiment 3",
        "experiment 4",
        "**all**",
    ):
        assert part in split


def test_sentences_follow_from_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros(100, np.int64)
    level: Callable[[float], Arm] = lambda value: arm(np.full((3, 100), value), labels)  # noqa: E731
    names = (training.ALIKE, training.RANDOM, training.PIXELS, training.ALL)
    beside = {name: level(0.5) for name in names}
    ahead, behind = beside | {training.OURS: level(0.6)}, beside | {training.OURS: level(0.4)}
    training._conclude([("50%, equal epochs", ahead), ("25%, equal epochs", behind)])
    said = capsys.readouterr().out
    assert said.count("above") == 4 + 1  # the gap is that of another half
    assert "A gain of ours over “random, our counts”: 50%, equal epochs.\n" in said
    assert "Less overfitting than “random, our counts”: 50%, equal epochs; more: 25%" in said
    assert "all images: 50%, equal epochs (100% of the time)." in said
