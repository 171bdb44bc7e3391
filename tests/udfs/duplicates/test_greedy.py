from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from udfs.duplicates.cover_search import Cover, Flags, Indices
from udfs.duplicates.greedy import Reference, cover, covers
from udfs.vectors import axes as leading
from udfs.vectors import cosine, gpu
from udfs.vectors import screen as screens
from udfs.vectors.byte_bound import Coarse
from udfs.vectors.cosine import Matrix, margin, squared_norms, unit_rows
from udfs.vectors.kernels import loops


def dot(a: Matrix, b: Matrix) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def sim(a: Matrix, b: Matrix) -> float:
    scale = math.sqrt(dot(a, a) * dot(b, b))
    return min(1.0, max(-1.0, dot(a, b) / scale)) if scale else math.nan


def definition(
    reference: Matrix,
    candidates: Matrix,
    threshold: float,
    order: Indices,
    standing: Flags | None = None,
    undecided: Flags | None = None,
) -> Cover:
    """Spec, section 3: in order, kept unless a kept one has Sim > T; the first such is named."""
    images = np.concatenate([reference, candidates])
    open_ = np.ones(len(candidates), np.bool_) if undecided is None else undecided
    kept = [i for i in range(len(reference)) if standing is None or standing[i]]
    keeper, similarity = {}, {}
    for image in (len(reference) + order[open_[order]]).tolist():
        for earlier in kept:
            if (found := sim(images[image], images[earlier])) > threshold:
                keeper[image], similarity[image] = earlier, found
                break
        else:
            kept.append(image)
    wanted = range(len(reference), len(images))
    return Cover(
        np.array([i not in keeper for i in wanted], np.bool_) & open_,
        np.array([keeper.get(i, -1) for i in wanted], np.int64),
        np.array([similarity.get(i, math.nan) for i in wanted], np.float64),
    )


def assert_same(found: Cover, expected: Cover) -> None:
    for name in ("kept", "keeper", "similarity"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert np.array_equal(a, b, equal_nan=name == "similarity"), (name, a, b)


@dataclass(frozen=True)
class Case:
    reference: Matrix
    candidates: Matrix
    thresholds: list[float]
    order: Indices

    def definitions(self) -> list[Cover]:
        return [definition(self.reference, self.candidates, t, self.order) for t in self.thresholds]


def images(random: np.random.Generator, kind: str, count: int, width: int) -> Matrix:
    """Rows of one of the shapes that a greedy cover may stumble over."""
    if kind == "random":
        rows = random.standard_normal((count, width))
    elif kind == "clustered":
        centres = random.random((max(1, count // 4), width))
        rows = centres[random.integers(0, len(centres), count)]
        rows = rows + random.choice([0, 1e-8, 1e-6, 1e-3, 0.1]) * random.random(rows.shape)
    elif kind == "integers":  # many equal cosines, many zero rows at small widths
        rows = random.integers(-1, 2, (count, width)).astype(np.float64)
    elif kind == "chain":  # each resembles its neighbours
        turn = random.random() * np.arange(count)[:, None] / 4
        rows = np.cos(turn + np.arange(width) * np.pi / 2) + 0.2
    else:
        rows = random.random((count, width)) * 10.0 ** random.uniform(-44, 37, (count, 1))
    rounded: Matrix = rows.astype(np.float32)
    rounded[random.random(count) < 0.1] = 0
    copied = random.random(count) < 0.2
    rounded[copied] = rounded[random.integers(0, max(1, count), copied.sum())]
    rounded[random.random(count) < 0.1] *= np.float32(0.5)
    return rounded


KINDS = ["random", "clustered", "integers", "chain", "scales"]


@st.composite
def cases(draw: st.DrawFn, largest: int = 22) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    width, count = draw(st.integers(1, 40)), draw(st.integers(0, largest))
    rows = images(random, draw(st.sampled_from(KINDS)), count, width)
    first = draw(st.one_of(st.just(0), st.integers(0, count)))
    thresholds = [float(draw(st.sampled_from([-1.5, -1, -0.3, 0, 0.5, 0.9, 0.97, 1, 1.5])))]
    for _ in range(draw(st.integers(0, 3)) if count else 0):
        near = sim(*rows[random.integers(0, count, 2)])
        if not math.isnan(near):
            thresholds += [near, np.nextafter(near, -9), np.nextafter(near, 9), near]
    order = random.permutation(count - first) if draw(st.booleans()) else np.arange(count - first)
    return Case(rows[:first], rows[first:], [float(t) for t in thresholds], order)


@settings(deadline=None, max_examples=150)
@given(cases(), st.sampled_from([1, 2, 7, 22, 1024]))
def test_covers_are_their_definition(case: Case, block: int) -> None:
    found = covers(case.reference, case.candidates, case.thresholds, case.order, block=block)
    assert len(found) == len(case.thresholds)
    for one, expected in zip(found, case.definitions(), strict=True):
        event(f"removed: {not expected.kept.all()}")
        assert_same(one, expected)


@settings(deadline=None, max_examples=80)
@given(cases(), st.integers(0, 2**32), st.sampled_from([1, 2, 7, 1024]))
def test_covers_with_flags_are_their_definition(case: Case, seed: int, block: int) -> None:
    random = np.random.default_rng(seed)
    shape = len(case.thresholds), len(case.reference)
    standing = random.random(shape) < 0.6
    undecided = random.random((shape[0], len(case.candidates))) < 0.7
    found = covers(
        case.reference,
        case.candidates,
        case.thresholds,
        case.order,
        block=block,
        standing=standing,
        undecided=undecided,
    )
    for level, one in enumerate(found):
        threshold, flags = case.thresholds[level], (standing[level], undecided[level])
        assert_same(one, definition(case.reference, case.candidates, threshold, case.order, *flags))


@settings(deadline=None, max_examples=80)
@given(cases(largest=40), st.integers(1, 50), st.integers(1, 50))
def test_windows_one_after_the_other_are_one_run(case: Case, window: int, batch: int) -> None:
    """A window is settled, what stays of it is compared with all that follow, and so on."""
    rows = case.candidates[case.order]
    n, levels = len(rows), len(case.thresholds)
    undecided = np.ones((levels, n), np.bool_)
    decided = [
        Cover(np.ones(n, np.bool_), np.full(n, -1), np.full(n, np.nan)) for _ in range(levels)
    ]

    def enter(found: list[Cover], places: Indices, names: Indices) -> Flags:
        for whole, part, still in zip(decided, found, undecided, strict=True):
            hit = np.flatnonzero(part.keeper >= 0)
            whole.kept[places[hit]] = False
            whole.keeper[places[hit]] = names[part.keeper[hit]]
            whole.similarity[places[hit]] = part.similarity[hit]
            still[places[hit]] = False
        return np.array([part.kept for part in found], np.bool_).reshape(levels, -1)

    for first in range(0, n, window):
        places = np.arange(first, min(first + window, n))
        open_ = undecided[:, places]
        kept = enter(covers(None, rows[places], case.thresholds, undecided=open_), places, places)
        stays = Reference(rows[places], case.thresholds, kept)
        for start in range(first + window, n, batch):
            later = np.arange(start, min(start + batch, n))
            found = stays.against(rows[later], undecided[:, later], block=7)
            enter(found, later, np.concatenate([places, later]))
    for whole, expected in zip(decided, covers(None, rows, case.thresholds), strict=True):
        assert_same(whole, expected)


@settings(deadline=None, max_examples=80)
@given(
    cases(),
    st.sampled_from([2, 7, 1024]),
    st.integers(0, 40),
    st.integers(1, 40),
    st.sampled_from([None, gpu.OnDevice("cpu"), 0.003, 0.02, 0.3]),
)
def test_covers_are_their_definition_with_bounds(
    case: Case, block: int, count: int, lead: int, how: gpu.OnDevice | float | None
) -> None:
    """Of floats here and on a device, and of bytes in such steps."""
    rows = np.concatenate([case.reference, case.candidates])
    directed = rows[np.any(rows != 0, axis=1)]
    axes = leading.leading_axes(
        unit_rows(directed, squared_norms(directed)), min(count, rows.shape[1])
    )
    lead, coarse = min(lead, len(axes)), None
    device = how if isinstance(how, gpu.OnDevice) else None
    if isinstance(how, float) and loops.has_byte_products():
        coarse = Coarse(how, (True,) + (False,) * ((lead or rows.shape[1]) - 1))
    screen = screens.Screen(case.thresholds, axes, lead, device, coarse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens.Screen, "fitted", lambda *_: screen)
        found = covers(case.reference, case.candidates, case.thresholds, case.order, block=block)
    for one, expected in zip(found, case.definitions(), strict=True):
        assert_same(one, expected)


def test_covers_of_many_are_the_same_with_and_without_bounds() -> None:
    random = np.random.default_rng(8)
    scale = 0.9 ** np.arange(512)
    rows = (random.standard_normal((3000, 512)) * scale + scale).astype(np.float32)
    thresholds = [0.99, 0.97, 0.9]
    expected = covers(None, rows, thresholds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "LEAST", 1000)
        fitted: list[Any] = []
        patch.setattr(screens.Screen, "sides", record(fitted, screens.Screen.sides))
        found = covers(None, rows, thresholds)
    assert fitted[-1].far.shape[1] > 1, "no bound was chosen"
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def record(results: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its results noted."""

    def recorded(*arguments: Any) -> Any:
        results.append(function(*arguments))
        return results[-1]

    return recorded


@settings(deadline=None, max_examples=60)
@given(cases(largest=60))
def test_every_block_size_gives_the_same(case: Case) -> None:
    expected = covers(case.reference, case.candidates, case.thresholds, case.order)
    for block in (1, 2, 7, 31, max(1, len(case.candidates))):
        found = covers(case.reference, case.candidates, case.thresholds, case.order, block=block)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


@settings(deadline=None, max_examples=60)
@given(cases(largest=40), st.integers(0, 2**32), st.sampled_from([3, 1024]))
def test_only_the_margin_is_asked_of_the_products(case: Case, seed: int, block: int) -> None:
    """Whatever device, library or thread count: products anywhere within the margin will do."""
    random = np.random.default_rng(seed)

    def worst(left: Matrix, right: Matrix, _: Matrix | None = None) -> Matrix:
        true = left.astype(np.float64) @ right.T.astype(np.float64)
        # Not ours to spend: 2u + u² of the unit vectors, u of the cast, u = 2^-24.
        error = margin(left.shape[1]) - 3.1 * 2.0**-24
        return np.asarray(true + error * random.choice([-1, 1], true.shape), np.float32)

    arguments = (case.reference, case.candidates, case.thresholds, case.order)
    expected = covers(*arguments, block=block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "products", worst)
        found = covers(*arguments, block=block)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@settings(deadline=None, max_examples=60)
@given(cases(largest=40), st.data())
def test_a_batch_after_what_was_kept_is_one_run_on_all(case: Case, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(case.candidates)))
    ordered = case.candidates[case.order]
    ids = np.arange(len(case.reference) + len(ordered))
    early, late = ids[: len(case.reference) + cut], ids[len(case.reference) + cut :]
    for threshold in case.thresholds:
        whole = cover(case.reference, ordered, threshold)
        begun = cover(case.reference, ordered[:cut], threshold)
        kept = np.concatenate([np.ones(len(case.reference), np.bool_), begun.kept])
        held = np.concatenate([case.reference, ordered[:cut]])[kept]
        ended = cover(held, ordered[cut:], threshold)
        named = np.concatenate([early[kept], late])
        both = Cover(
            np.concatenate([begun.kept, ended.kept]),
            np.concatenate([begun.keeper, np.where(ended.kept, -1, named[ended.keeper])]),
            np.concatenate([begun.similarity, ended.similarity]),
        )
        assert_same(both, whole)


def test_both_promises_on_a_larger_set() -> None:
    random = np.random.default_rng(5)
    rows = images(random, "clustered", 260, 16)
    rows += images(random, "random", 260, 16) / np.float32(20)
    reference, candidates = rows[:60], rows[60:]
    thresholds = [0.999, 0.99, 0.97, 0.9]
    for threshold, found in zip(thresholds, covers(reference, candidates, thresholds), strict=True):
        assert 0 < found.kept.sum() < len(candidates)
        kept = candidates[found.kept]
        for i, image in enumerate(kept):  # (a)
            assert not any(sim(image, other) > threshold for other in [*reference, *kept[:i]])
        for i in np.flatnonzero(~found.kept).tolist():  # (b)
            keeper = int(found.keeper[i])
            assert keeper < 60 or found.kept[keeper - 60]
            assert sim(candidates[i], rows[keeper]) == found.similarity[i] > threshold


EAST, NORTH_EAST, NORTH = [1, 0], [1, 1], [0, 1]


def test_a_chain_by_hand() -> None:
    rows = np.array([EAST, NORTH_EAST, NORTH], np.float32)
    found = cover(None, rows, 0.7)
    assert found.kept.tolist() == [True, False, True]
    assert found.keeper.tolist() == [-1, 0, -1]
    assert found.similarity[1] == 1 / math.sqrt(2)
    found = cover(None, rows, 0.7, np.array([1, 2, 0]))
    assert found.kept.tolist() == [False, True, False]
    assert found.keeper.tolist() == [1, -1, 1]


def test_references_come_first_and_stay_by_hand() -> None:
    reference = np.array([NORTH, [0, 0], NORTH_EAST, NORTH_EAST], np.float32)
    candidates = np.array([[2, 1], [0, 0], [0, 5], [1, -1], [2, -2]], np.float32)
    found = cover(reference, candidates, 0.7)
    assert found.kept.tolist() == [False, True, False, True, False]
    assert found.keeper.tolist() == [2, -1, 0, -1, 7]


def test_a_dropped_image_drops_nothing_at_its_threshold() -> None:
    # b is dropped at 0.7 and kept at 0.8: only there may it drop c.
    rows = np.array([EAST, NORTH_EAST, [9, 10]], np.float32)
    low, high = covers(None, rows, [0.7, 0.8])
    assert low.keeper.tolist() == [-1, 0, -1]
    assert high.keeper.tolist() == [-1, -1, 1]


def test_identical_images_have_similarity_one() -> None:
    rows = np.random.default_rng(3).random((1, 1024), np.float32).repeat(9, axis=0)
    just_below, one = covers(None, rows, [np.nextafter(1, 0), 1.0])
    assert just_below.kept.tolist() == [True] + 8 * [False]
    assert just_below.similarity[1:].tolist() == 8 * [1.0]
    assert one.kept.all()


def test_similarities_of_more_removals_than_are_gathered_at_a_time() -> None:
    rows = np.random.default_rng(7).random((2 * cosine._PAIRS + 9, 3), np.float32)
    found = cover(None, rows, 0.5)
    removed = np.flatnonzero(~found.kept)
    assert len(removed) > 2 * cosine._PAIRS - 100
    expected = [sim(rows[i], rows[found.keeper[i]]) for i in removed]
    assert found.similarity[removed].tolist() == expected


def test_zero_vectors_stay_whatever_the_threshold() -> None:
    rows = np.array([[0, 0], EAST, [0, 0], [-1, 0]], np.float32)
    found = cover(rows[:1], rows, -7.0)
    assert found.kept.tolist() == [True, True, True, False]
    assert found.keeper.tolist() == [-1, -1, -1, 2]
    assert found.similarity[3] == -1


def test_nothing_to_do() -> None:
    rows = np.ones((3, 2), np.float32)
    assert covers(rows, rows, []) == []
    assert cover(rows, rows[:0], 0.9).kept.shape == (0,)
    assert cover(None, rows[:, :0], 0.9).kept.all()


def test_the_arguments_stay_as_they_were() -> None:
    rows = np.random.default_rng(4).random((20, 3), np.float32)
    order = np.arange(20)[::-1].copy()
    before = rows.copy(), order.copy()
    cover(rows[:5], rows, 0.9, order)
    assert np.array_equal(rows, before[0])
    assert np.array_equal(order, before[1])


def test_memory_grows_with_images_not_pairs() -> None:
    rows = np.random.default_rng(6).standard_normal((4000, 4)).astype(np.float32)
    tracemalloc.start()
    cover(None, rows, 0.9999, block=128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # a bit for each pair would be 2 MB, a byte 16 MB


ROWS = np.ones((4, 3), np.float32)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["reference", "candidates"])
def test_numbers_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    wrong = ROWS.copy()
    wrong[2, 0] = bad
    with pytest.raises(ValueError, match=f"{name}: row 2 holds NaN or infinity"):
        cover(wrong if name == "reference" else ROWS, wrong if name == "candidates" else ROWS, 0.9)


@pytest.mark.parametrize(
    "order", [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [[0, 1], [2, 3]], [-1, 0, 1, 2]]
)
def test_orders_that_are_no_permutation_are_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"each of 0\.\.3 once"):
        cover(None, ROWS, 0.9, np.array(order))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="reference has width 2, candidates 3"):
        cover(ROWS[:, :2], ROWS, 0.9)
    with pytest.raises(ValueError, match=r"candidates has shape \(3,\)"):
        cover(None, ROWS[0], 0.9)
    with pytest.raises(TypeError, match="candidates holds float64"):
        cover(None, ROWS.astype(np.float64), 0.9)
    with pytest.raises(ValueError, match="NaN is not allowed"):
        covers(None, ROWS, [0.9, math.nan])
    with pytest.raises(ValueError, match="block is 0"):
        cover(None, ROWS, 0.9, block=0)
    with pytest.raises(ValueError, match=r"standing has shape \(1, 3\); .* \(1, 4\)"):
        covers(ROWS, ROWS, [0.9], standing=np.ones((1, 3), np.bool_))
    with pytest.raises(ValueError, match=r"undecided has shape \(4,\)"):
        Reference(ROWS, [0.9]).against(ROWS, np.ones(4, np.bool_))
