"""The search with bounds and in blocks of any size, through the covers that use it."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vectors import Case, assert_same, cases, record, sim
from udfs.duplicates.greedy import Reference, cover, covers
from udfs.vectors import axes, screen
from udfs.vectors.axes import leading_axes
from udfs.vectors.byte_bound import ByteBound
from udfs.vectors.cosine import PAIRS_AT_ONCE, Matrix, margin, squared_norms, unit_rows
from udfs.vectors.gpu import DeviceProducts
from udfs.vectors.kernels import vnni
from udfs.vectors.screen import Screen


@settings(deadline=None, max_examples=80)
@given(
    cases(),
    st.sampled_from([2, 7, 1024]),
    st.integers(0, 40),
    st.integers(1, 40),
    st.sampled_from([None, DeviceProducts("cpu"), 0.003, 0.02, 0.3]),
)
def test_covers_are_their_definition_with_bounds(
    case: Case, block: int, count: int, lead: int, how: DeviceProducts | float | None
) -> None:
    """Of floats here and on a device, and of bytes in such steps."""
    rows = np.concatenate([case.reference, case.candidates])
    directed = rows[np.any(rows != 0, axis=1)]
    basis = leading_axes(unit_rows(directed, squared_norms(directed)), min(count, rows.shape[1]))
    lead, byte_bound = min(lead, len(basis)), None
    device = how if isinstance(how, DeviceProducts) else None
    if isinstance(how, float) and vnni.has_byte_products():
        byte_bound = ByteBound(how, (True,) + (False,) * ((lead or rows.shape[1]) - 1))
    given_screen = Screen(case.thresholds, basis, lead, device, byte_bound)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Screen, "fitted", lambda *_: given_screen)
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
        patch.setattr(axes, "FEWEST", 1000)
        prepared: list[Any] = []
        patch.setattr(Screen, "prepare", record(prepared, Screen.prepare))
        found = covers(None, rows, thresholds)
    assert prepared[-1].full.shape[1] > 1, "no bound was chosen"
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


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
        patch.setattr(screen, "products", worst)
        found = covers(*arguments, block=block)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_similarities_of_more_removals_than_are_gathered_at_a_time() -> None:
    rows = np.random.default_rng(7).random((2 * PAIRS_AT_ONCE + 9, 3), np.float32)
    found = cover(None, rows, 0.5)
    removed = np.flatnonzero(~found.kept)
    assert len(removed) > 2 * PAIRS_AT_ONCE - 100
    expected = [sim(rows[i], rows[found.keeper[i]]) for i in removed]
    assert found.similarity[removed].tolist() == expected


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
    with pytest.raises(ValueError, match=r"reference_mask has shape \(1, 3\); .* \(1, 4\)"):
        covers(ROWS, ROWS, [0.9], reference_mask=np.ones((1, 3), np.bool_))
    with pytest.raises(ValueError, match=r"pending_mask has shape \(4,\)"):
        Reference(ROWS, [0.9]).against(ROWS, np.ones(4, np.bool_))
