"""Random removals, the control of every effect, beside their definition."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from udfs.density import histogram
from udfs.density.marginal import Marginal
from udfs.evaluation import random_removal
from udfs.evaluation.random_removal import band, drawn, removal_order, slope_band

IDS = [f"class/{i:03}ü.png" for i in range(60)]


def values(seed: int = 0, components: int = 2) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).gamma(2.0, 3.0, (len(IDS), components))
    return np.asarray(rows - rows.mean(axis=0))


def test_a_draw_removes_the_images_smallest_in_their_hash() -> None:
    names = [name.encode() for name in IDS]
    order = [IDS[i] for i in removal_order(names, 7, 3)]
    assert order == sorted(IDS, key=lambda name: hashlib.sha256(f"7|3|{name}".encode()).digest())
    assert order != [IDS[i] for i in removal_order(names, 7, 4)]
    twice = removal_order(names + names, 7, 3)  # equal hashes: the first comes first
    assert [IDS[i % 60] for i in twice[::2]] == order
    assert (twice[1::2] == twice[::2] + 60).all()


@pytest.mark.parametrize("removed", [[0], [20], [45, 5, 30], [56, 57, 59]])
def test_what_is_left_is_measured_as_it_is_defined(removed: list[int]) -> None:
    points, steps = values(), [2.0, 0.5]
    found = drawn(IDS, points, steps, removed, 4, 1)
    for draw in range(4):
        order = removal_order([name.encode() for name in IDS], 1, draw)
        for size, count in enumerate(removed):
            for k, step in enumerate(steps):
                left = points[order[count:], k]
                expected = scipy.stats.kurtosis(left) if len(left) >= 4 else np.nan
                assert found.kurtosis[draw, size, k] == pytest.approx(expected, nan_ok=True)
                cells, counts = np.unique(histogram.cell(left, step), return_counts=True)
                model = Marginal(histogram.from_cells(cells, counts, step))
                assert found.entropy[draw, size, k] == pytest.approx(model.entropy())
                free = model.scale_free_entropy()
                assert found.scale_free[draw, size, k] == pytest.approx(free)


def test_images_that_are_all_equal_have_no_kurtosis() -> None:
    found = drawn(IDS, np.zeros((60, 1)), [1.0], [10], 3, 0)
    assert np.isnan(found.kurtosis).all()
    assert np.isfinite(found.entropy).all()


def test_the_band_holds_95_of_100_draws() -> None:
    assert band(np.arange(101.0)) == (2.5, 97.5)
    assert np.isnan(band(np.array([1.0, np.nan]))).all()
    assert np.isnan(band(np.array([]))).all()


def test_the_band_of_slopes_is_that_of_the_lines_of_the_draws() -> None:
    random = np.random.default_rng(0)
    before = random.normal(size=12)
    after = before * random.uniform(0.5, 1.5, (40, 1)) + 0.01 * random.normal(size=(40, 12))
    slopes = [scipy.stats.theilslopes(row, before, 0.95, method="separate").slope for row in after]
    assert slope_band(before, after) == tuple(np.quantile(slopes, [0.025, 0.975]))


def test_the_slopes_of_very_many_classes_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_removal, "MOST_CLASSES", 3)
    assert np.isnan(slope_band(np.arange(4.0), np.ones((2, 4)))).all()
