"""A class's histograms, heat maps and densities, as the page draws them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report import class_plots
from udfs.report import charts


@given(st.lists(st.integers(0, 9), min_size=1, max_size=900))
def test_a_shown_histogram_keeps_all_counts(counts: list[int]) -> None:
    row = {"label": "a", "space": "raw", "sampled": 5, "origin": -1.0, "step": 0.125}
    row |= {"counts": counts, "heat_ids": [], "heat": b""}
    shown = class_plots.similarity_rows([row], {"a": 0})[0]
    assert sum(shown["counts"]) == sum(counts)
    assert len(shown["counts"]) <= class_plots.BINS
    filled = np.flatnonzero(counts)
    if len(filled):
        end = shown["origin"] + shown["step"] * len(shown["counts"])
        assert shown["origin"] == -1.0 + 0.125 * filled[0]
        assert end >= -1.0 + 0.125 * (filled[-1] + 1)


def test_a_heat_map_shows_the_first_images_dark_to_bright() -> None:
    levels = np.arange(155, 255, dtype=np.uint8).reshape(10, 10)
    row = {"heat_ids": ["x"] * 10, "heat": levels.tobytes(), "space": "whitened"}
    shown = class_plots.heat_map(row, 4)
    assert (shown["side"], shown["of"]) == (4, 10)
    assert shown["low"] == pytest.approx(2 * 155 / 255 - 1)
    assert class_plots.heat_map(row | {"heat": b"odd"}, 4)["map"] == ""
    assert charts.heat_map(levels)[:4] == b"\x89PNG"
    assert class_plots.map_side(8) == class_plots.LARGEST
    assert class_plots.SMALLEST <= class_plots.map_side(2000) < 50


def test_histograms_after_removal_share_the_cells_of_those_before() -> None:
    key = {"label": "a", "component": 1, "step": 0.5}
    rows = [
        key | {"rule": "none", "space": None, "origin": -1.0, "counts": [1, 2, 3]},
        key | {"rule": "fixed:0.9", "space": "raw", "origin": 0.0, "counts": [2]},
        key | {"rule": "fixed:0.8", "space": "raw", "origin": 0.0, "counts": [1]},
    ]
    densities = class_plots.density_rows(rows, {"a": 4}, {("fixed:0.9", "raw"): 7})
    assert densities == [[4, 1, -1.0, 0.5, [1, 2, 3], {7: [2, [2]]}]]
