"""The figures: the same bytes for the same numbers, and what they show."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from PIL import Image

from udfs.density.histogram import Histogram
from udfs.density.marginal import Marginal
from udfs.report import charts


def test_a_sheet_shows_each_picture_in_the_row_of_its_class() -> None:
    rows = [
        ("sand", np.full((2, 64, 64, 3), (200, 150, 60), np.uint8)),
        ("поле $5 " + "x" * 90, np.full((3, 64, 64, 3), (10, 120, 30), np.uint8)),
    ]
    data = charts.contact_sheet(rows)
    assert data == charts.contact_sheet(rows)
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    step = 64 + charts.GAP
    assert sheet.shape[0] == charts.GAP + 2 * step
    for place, (_, pictures) in enumerate(rows):
        line = sheet[charts.GAP + place * step + 32]
        colour = (line == pictures[0, 0, 0]).all(axis=1)
        assert colour.sum() == 64 * len(pictures)
        assert (line[: np.flatnonzero(colour)[0]] < 128).any()  # the label's strokes


KURTOSIS: dict[str, Any] = {
    "before": [1.0, 2.0, 4.0, 9.0],
    "after": [1.0, 1.5, 3.0, 6.0],
    "labels": ["sea", "town", "field", "$5 <forest>"],
    "line": (0.625, 0.375),
    "control": (0.9, 1.1),
    "title": "component 1",
}


def regression(**changes: Any) -> Figure:
    return charts.kurtosis_regression(**(KURTOSIS | changes))


def test_a_regression_shows_the_classes_their_line_and_the_control() -> None:
    text = charts.svg(regression())
    assert "y = 0.62x + 0.38" in text
    assert "random removal: slope 0.90 … 1.10" in text
    assert all(name in text for name in ("town", "field", "$5 &lt;forest&gt;"))
    assert "sea" not in text  # the three with the largest kurtosis are named
    (axes,) = regression().axes
    offsets = np.asarray(axes.collections[0].get_offsets())
    assert offsets.tolist() == [[1, 1], [2, 1.5], [4, 3], [9, 6]]
    line = axes.lines[-1]
    assert np.allclose(line.get_ydata(), 0.625 * np.asarray(line.get_xdata()) + 0.375)


def test_a_regression_without_a_line_or_classes_is_drawn() -> None:
    text = charts.svg(regression(line=None, control=None))
    assert "y = " not in text
    assert "random removal" not in text
    empty = charts.svg(regression(before=[], after=[], labels=[], line=None))
    assert "a class" not in empty


def test_many_classes_are_pixels_and_few_are_shapes() -> None:
    def size(n: int) -> int:
        values = np.linspace(0, 9, n)
        return len(charts.svg(regression(before=values, after=values, labels=["x"] * n)))

    assert size(charts.MANY) > 20_000
    assert size(5 * charts.MANY) < 3 * size(charts.MANY)


def test_marginals_are_the_spline_before_and_after_on_one_axis() -> None:
    counts, after = [1, 5, 3], (1, [4, 2])
    panels = [("town", 1, -0.5, 0.5, counts, after), ("x" * 99, 2, 0.0, 1.0, [2], None)]
    figure = charts.marginals(panels)
    first, second = figure.axes[:2]
    assert first.get_title() == "town, component 1"
    assert second.get_title() == f"{'x' * 29}…, component 2"
    (line,) = first.lines
    model = Marginal(Histogram(0.0, 0.5, np.array(after[1])))
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert np.allclose(y, model.density(x))
    assert (x[0], x[-1]) == model.support
    assert not second.lines  # nothing is known of it after removal
    assert not figure.axes[2].axison


def test_similarities_are_bars_at_their_bins() -> None:
    (panel,) = charts.similarities([("town", "raw", 0.25, 0.125, [3, 0, 40])]).axes[:1]
    (bars,) = panel.patches
    assert isinstance(bars, StepPatch)
    values, edges, _ = bars.get_data()
    assert values.tolist() == [3, 0, 40]
    assert edges.tolist() == [0.25, 0.375, 0.5, 0.625]


def test_equal_figures_give_equal_bytes() -> None:
    assert charts.svg(regression()) == charts.svg(regression())
    assert charts.png(regression(), 60) == charts.png(regression(), 60)
    small, large = (Image.open(io.BytesIO(charts.png(regression(), dpi))) for dpi in (50, 100))
    assert (2 * small.width, 2 * small.height) == large.size


def test_scripts_that_the_font_lacks_are_no_warning() -> None:
    """Warnings are errors in the tests."""
    assert charts.png(regression(title="図"), 40).startswith(b"\x89PNG")


def test_a_heat_map_rises_from_dark_to_bright() -> None:
    levels = np.arange(156, 256).astype(np.uint8).reshape(10, 10)
    data = charts.heat_map(levels)
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (10, 10)
    grey = np.asarray(picture.convert("L")).astype(int)
    assert (np.diff(grey.ravel()) >= -1).all()
    assert grey[9, 9] > 200 > 60 > grey[0, 0]
    assert len(np.unique(np.asarray(picture))) == charts.HEAT_COLOURS
