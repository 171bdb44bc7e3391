"""The compiled loops beside their definitions in NumPy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from tests.support.scenes import composed, scene, similarity, view
from udfs.registration import kernels
from udfs.registration.limits import (
    FIRST_STEPS,
    HALF_STEPS,
    HOPELESS,
    HOPELESS_FIRST,
    LARGEST_STEP,
    LEAST_OVERLAP,
    SHIFTS,
    STEPS,
    UNPROVED,
)
from udfs.registration.pictures import (
    FLOOR,
    NEAR,
    Greys,
    Prepared,
    kernels_of_contrast,
    kernels_of_structure,
)

Floats = NDArray[np.float64]
OWN = similarity(1.2, 0, (0, 0))  # through which the scene is seen


def picture(seed: int) -> Greys:
    return view(scene(seed), OWN)


def blurred(values: Floats, deviation: float) -> Floats:
    return np.asarray(gaussian_filter(values, deviation, mode="mirror", truncate=3))


def normalised(values: Floats, deviation: float) -> tuple[Floats, Floats]:
    """The normalised picture h/√(G∗h² + floor²) with h = g − G∗g, and the contrast G∗h²."""
    high = values - blurred(values, deviation)
    contrast = blurred(high * high, 1.5 * deviation)
    return high / np.sqrt(contrast + float(FLOOR) ** 2), contrast


def gradients(values: Floats) -> tuple[Floats, Floats]:
    """Along x and y; NumPy's differences at the edges are replaced by 0."""
    gy, gx = (np.asarray(each) for each in np.gradient(values))
    gy[[0, -1]] = 0
    gx[:, [0, -1]] = 0
    return gx, gy


def places(matrix: Floats, side: int = 64) -> Floats:
    """Where the pixels go, in pixels from the other picture's centre: (2, side, side)."""
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - centre
    return np.asarray(np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)])))


@pytest.mark.parametrize("root", [1.0, 0.6])
def test_pictures_are_normalised_as_scipy_does(root: float) -> None:
    grey = picture(1)
    grey[40:, 40:] = 99  # and where the floor decides
    prepared = Prepared.of(grey, root**2)
    values = grey / 255
    halved = values.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    for level, size, deviation in (
        (prepared.fine, values, 1.5),
        (prepared.coarse, halved, 1.25),
    ):
        expected, contrast = normalised(size, deviation)
        gx, gy = gradients(expected)
        np.testing.assert_allclose(level[0], expected, atol=1e-4)
        np.testing.assert_allclose(level[1], gx / root, atol=1e-4)
        np.testing.assert_allclose(level[2], gy * root, atol=1e-4)
        if len(level) == 4:
            np.testing.assert_allclose(level[3], contrast, rtol=1e-3, atol=1e-8)


def test_the_structure_is_that_of_smoothed_derivatives() -> None:
    prepared = Prepared.of(picture(2))
    gx, gy = gradients(blurred(prepared.fine[0].astype(float), 1))
    expected = [gx, gy, *(blurred(each, 3) for each in (gx * gx, gx * gy, gy * gy))]
    np.testing.assert_allclose(prepared.structure, expected, atol=1e-5)


def test_pictures_are_seen_through_matrices() -> None:
    values = Prepared.of(picture(3)).coarse[0]
    matrices = [np.eye(2), similarity(1.3, 12, (0, 0))[:, :2], np.diag([0.8, 1.25])]
    shown = np.empty((3, 32, 32), np.float32)
    kernels.resampled(values, np.array(matrices, np.float32), shown)
    for matrix, found in zip(matrices, shown, strict=True):
        x, y = places(np.column_stack([matrix, np.zeros(2)]), 32)
        inside = (abs(x) <= 16) & (abs(y) <= 16)
        expected = map_coordinates(values, [y + 15.5, x + 15.5], order=1, mode="nearest") * inside
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(shown[0], values, atol=1e-6)
    assert not shown[1, 0, 0]  # outside


def test_spectra_are_multiplied_by_rows() -> None:
    random = np.random.default_rng(4)
    left, right = (
        (random.standard_normal((n, 5, 4)) + 1j * random.standard_normal((n, 5, 4))).astype(
            np.complex64
        )
        for n in (3, 2)
    )
    rows, others = np.array([2, 0, 2, 1]), np.array([1, 1, 0, 0])
    out = np.empty((4, 5, 4), np.complex64)
    kernels.multiplied(left, rows, right, others, out)
    np.testing.assert_allclose(out, left[rows] * right[others], rtol=1e-5, atol=1e-6)


def test_the_highest_entries_are_one_of_each_plane() -> None:
    random = np.random.default_rng(5)
    planes, weights = random.standard_normal((2, 7, 9, 9)).astype(np.float32)
    planes[3] += 10 * np.sign(weights[3])  # holds more than one of the largest
    values, found = np.empty(4, np.float32), np.empty((4, 2), np.int64)
    kernels.highest(planes, weights, values, found)
    weighted = (planes * weights).reshape(7, -1)
    expected = sorted(range(7), key=lambda j: -weighted[j].max())[:4]
    assert found.tolist() == [[j, int(weighted[j].argmax())] for j in expected]
    np.testing.assert_array_equal(values, weighted.max(axis=1)[expected])


def refined(own: Prepared, other: Prepared, starts: Floats) -> tuple[float, bool, Floats]:
    matrix = np.zeros((2, 3), np.float32)
    correlation, complete = kernels.refine(
        own.fine, own.coarse, own.root, other.fine[0], other.coarse[0], other.root, starts,
        FIRST_STEPS, HALF_STEPS, STEPS, LEAST_OVERLAP, LARGEST_STEP, HOPELESS_FIRST, HOPELESS,
        matrix,
    )  # fmt: skip
    return correlation, complete, matrix.astype(np.float64)


# A transform of the grid and what is found from it: the shifts are in pixels of half size.
NEAR_TRUTH = [1.0, 0.0, 2.0, -3.0]
TRUTH = similarity(1.06, 4, (5, -7))


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
    correlation, complete, found = refined(own, other, starts)
    assert complete
    assert correlation > 0.8
    np.testing.assert_allclose(found[:, :2], matrix[:, :2], atol=0.005)
    np.testing.assert_allclose(found[:, 2], matrix[:, 2], atol=0.1)
    np.testing.assert_array_equal(starts, before)


def test_a_hopeless_pair_is_not_refined_at_full_size() -> None:
    own, other = Prepared.of(picture(7)), Prepared.of(picture(8))
    correlation, complete, found = refined(own, other, np.array([NEAR_TRUTH]))
    assert not complete
    assert 0 <= correlation < HOPELESS
    assert not found.any()


@pytest.mark.parametrize("start", [[1, 0, 26, 0], [2.0, 0, 0, 0], [0.4, 0, 0, 0]])
def test_starts_with_too_little_overlap_or_too_far_a_scale_count_for_nothing(
    start: list[float],
) -> None:
    own = Prepared.of(picture(9))
    assert refined(own, own, np.array([start], np.float64))[:2] == (0.0, False)


def judged(own: Prepared, other: Prepared, matrix: Floats, unproved: float = UNPROVED) -> Floats:
    out = np.empty(5)
    kernels.judge(
        own.fine, own.structure, other.grey, matrix.astype(np.float32),
        *kernels_of_contrast(NEAR), FLOOR, *kernels_of_structure(), unproved, out,
    )  # fmt: skip
    return out


def test_the_score_is_the_correlation_over_the_overlap() -> None:
    grey = view(scene(10), composed(OWN, TRUTH))
    other = picture(10)
    grey[:, :20] = 80
    matrix = similarity(1.05, 5, (5, -7))  # some way off
    registration, _, blocks, overlap, share = judged(Prepared.of(grey), Prepared.of(other), matrix)
    x, y = places(matrix)
    inside = (abs(x) <= 32) & (abs(y) <= 32)
    warped = map_coordinates(other / 255, [y + 31.5, x + 31.5], order=1, mode="mirror")
    (t, t_contrast), (w, w_contrast) = normalised(grey / 255, 1.5), normalised(warped, 1.5)
    assert abs(registration - np.corrcoef(t[inside], w[inside])[0, 1]) < 1e-3
    assert overlap == inside.mean()
    limit = float(FLOOR) ** 2
    textured = inside & (t_contrast > limit) & (w_contrast > limit)
    assert abs(share - textured.sum() / inside.sum()) < 1e-3
    in_blocks = textured.reshape(8, 8, 8, 8).sum(axis=(1, 3))
    assert blocks == (in_blocks >= 32).sum()
    assert 20 < blocks < 50


def test_the_agreement_is_less_by_that_at_other_shifts() -> None:
    """Of a picture with itself: 1 less the largest autocorrelation along the weaker direction."""
    prepared = Prepared.of(picture(11))
    gx, gy, xx, xy, yy = prepared.structure.astype(float)
    tensor = np.moveaxis(np.array([[xx, xy], [xy, yy]]), (0, 1), (-2, -1))
    weaker = np.linalg.eigh(tensor)[1][..., 0]
    inner = np.zeros((64, 64), np.bool_)
    inner[2:-2, 2:-2] = True
    along = gx * weaker[..., 0] + gy * weaker[..., 1]
    correlations = []
    for dy, dx in SHIFTS:
        rows, columns = np.nonzero(inner)
        both = (rows + dy < 62) & (columns + dx >= 2) & (columns + dx < 62)
        here = rows[both], columns[both]
        there = rows[both] + dy, columns[both] + dx
        u = along[here]
        v = gx[there] * weaker[here][:, 0] + gy[there] * weaker[here][:, 1]
        correlations.append((u @ v) / math.sqrt((u @ u) * (v @ v)))
    registration, agreement, *_ = judged(prepared, prepared, np.eye(2, 3))
    assert abs(registration - 1) < 1e-5
    assert max(correlations) > 0.05
    assert abs(agreement - (1 - max(correlations))) < 1e-3


def test_without_a_registration_there_is_no_agreement() -> None:
    prepared = Prepared.of(picture(12))
    matrix = similarity(1, 0, (1, 0))
    registration, agreement, *_ = judged(prepared, prepared, matrix, -1.0)
    assert agreement > 0
    assert judged(prepared, prepared, matrix, registration + 0.01)[1] == 0


def test_the_shifts_are_those_that_are_documented() -> None:
    """By 3 to 9 pixels, none of them with its opposite, and every second one."""
    shifts = set(SHIFTS)
    assert len(shifts) == len(SHIFTS)
    assert all(3 <= math.hypot(*shift) <= 9 and sum(shift) % 2 == 0 for shift in shifts)
    ring = [
        (dy, dx)
        for dy in range(-9, 10)
        for dx in range(-9, 10)
        if 3 <= math.hypot(dy, dx) <= 9 and (dy + dx) % 2 == 0
    ]
    assert shifts | {(-dy, -dx) for dy, dx in shifts} == set(ring)
    assert 2 * len(shifts) == len(ring)
