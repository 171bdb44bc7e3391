"""What the coarse search computes of spectra and planes, beside NumPy and SciPy."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from tests.support.registration import picture, places
from tests.support.scenes import similarity
from udfs.registration.kernels import grid
from udfs.registration.pictures import Prepared


def test_pictures_are_seen_through_matrices() -> None:
    values = Prepared.of(picture(3)).coarse[0]
    matrices = [np.eye(2), similarity(1.3, 12, (0, 0))[:, :2], np.diag([0.8, 1.25])]
    shown = np.empty((3, 32, 32), np.float32)
    grid.resampled(values, np.array(matrices, np.float32), shown)
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
    grid.multiplied(left, rows, right, others, out)
    np.testing.assert_allclose(out, left[rows] * right[others], rtol=1e-5, atol=1e-6)


def test_the_highest_entries_are_one_of_each_plane() -> None:
    random = np.random.default_rng(5)
    planes, weights = random.standard_normal((2, 7, 9, 9)).astype(np.float32)
    planes[3] += 10 * np.sign(weights[3])  # holds more than one of the largest
    values, found = np.empty(4, np.float32), np.empty((4, 2), np.int64)
    grid.highest(planes, weights, values, found)
    weighted = (planes * weights).reshape(7, -1)
    expected = sorted(range(7), key=lambda j: -weighted[j].max())[:4]
    assert found.tolist() == [[j, int(weighted[j].argmax())] for j in expected]
    np.testing.assert_array_equal(values, weighted.max(axis=1)[expected])
