"""Steps lead to the transform, and give up where they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.registration import OWN, Floats, picture
from tests.support.scenes import composed, scene, similarity, view
from udfs.registration.kernels import refinement
from udfs.registration.limits import (
    FIRST_STEPS,
    HALF_STEPS,
    HOPELESS,
    HOPELESS_FIRST,
    LARGEST_STEP,
    LEAST_OVERLAP,
    STEPS,
)
from udfs.registration.pictures import Prepared

# A transform of the grid and what is found from it: the shifts are in pixels of half size.
NEAR_TRUTH = [1.0, 0.0, 2.0, -3.0]
TRUTH = similarity(1.06, 4, (5, -7))


def refined(
    own: Prepared, other: Prepared, starts: Floats, least: float = 0.0
) -> tuple[float, float, bool, Floats]:
    matrix = np.zeros((2, 3), np.float32)
    correlation, half, complete = refinement.refine(
        own.fine, own.coarse, own.root, other.fine[0], other.coarse[0], other.root, starts,
        FIRST_STEPS, HALF_STEPS, STEPS, LEAST_OVERLAP, LARGEST_STEP, HOPELESS_FIRST, HOPELESS,
        least, matrix,
    )  # fmt: skip
    return correlation, half, complete, matrix.astype(np.float64)


@pytest.mark.parametrize("aspect", [1.0, 1.7])
def test_steps_lead_from_a_start_to_the_transform(aspect: float) -> None:
    """Also where another start, which is hopeless, comes first."""
    root = math.sqrt(aspect)
    units = np.diag([root, 1 / root])
    matrix = TRUTH.copy()
    matrix[:, :2] = np.linalg.inv(units) @ TRUTH[:, :2] @ units
    own = Prepared.of(view(scene(6), composed(OWN, matrix)), aspect)
    other = Prepared.of(view(scene(6), OWN), aspect)
    start = np.array(NEAR_TRUTH) * [1, 1, root, 1 / root]
    starts = np.array([[0.8, 0.1, -6, 6], start])
    before = starts.copy()
    correlation, half, complete, found = refined(own, other, starts)
    assert complete
    assert abs(half - larger_overlap(found)) < 0.02
    assert correlation > 0.8
    np.testing.assert_allclose(found[:, :2], matrix[:, :2], atol=0.005)
    np.testing.assert_allclose(found[:, 2], matrix[:, 2], atol=0.1)
    np.testing.assert_array_equal(starts, before)


def test_a_hopeless_pair_is_not_refined_at_full_size() -> None:
    own, other = Prepared.of(picture(7)), Prepared.of(picture(8))
    correlation, half, complete, found = refined(own, other, np.array([NEAR_TRUTH]))
    assert not complete
    assert half == 0
    assert 0 <= correlation < HOPELESS
    assert not found.any()


@pytest.mark.parametrize("start", [[1, 0, 26, 0], [2.0, 0, 0, 0], [0.4, 0, 0, 0]])
def test_starts_with_too_little_overlap_or_too_far_a_scale_count_for_nothing(
    start: list[float],
) -> None:
    own = Prepared.of(picture(9))
    assert refined(own, own, np.array([start], np.float64))[:3] == (0.0, 0.0, False)


def larger_overlap(matrix: Floats) -> float:
    """The larger of both pictures' overlaps, counted in pixels."""
    y, x = np.mgrid[:64, :64].reshape(2, -1) - 31.5
    there = (np.abs(matrix @ np.stack([x, y, np.ones_like(x)])) <= 32).all(axis=0).mean()
    return float(max(there, min(1.0, there * np.linalg.det(matrix[:, :2]))))


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_a_pair_that_overlaps_too_little_at_half_size_is_given_up(scale: float) -> None:
    """Exactly below its overlap there, which is nearly that of the end."""
    truth = similarity(scale, 0, (22, 0))
    own, other = Prepared.of(view(scene(6), composed(OWN, truth))), Prepared.of(view(scene(6), OWN))
    starts = np.array([[scale, 0, 11.4, 0.5]])
    correlation, half, complete, found = refined(own, other, starts)
    assert complete
    assert abs(half - larger_overlap(found)) < 0.02
    at_half, same, given_up, _ = refined(own, other, starts, np.nextafter(half, 1))
    assert not given_up
    assert same == half
    assert HOPELESS <= at_half < 1
    assert refined(own, other, starts, half)[:3] == (correlation, half, True)
