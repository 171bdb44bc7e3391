"""Figures as files, and what the page embeds of them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.report import figures
from jobs.report.summary import Summary
from jobs.warehouse.files import LocalFiles
from tests.support import example_report
from tests.support.pictures import encoded
from udfs.evaluation import regression
from udfs.report import charts

LINE = {"slope": 0.5, "intercept": 0.25, "control_low": None, "control_high": None}


def summary() -> Summary:
    """Lines of two components in the raw space and one in the whitened; one class is too small."""
    keys = [
        {"rule": "fixed:0.9", "space": "raw", "component": 2, "title": "T = 0.9"},
        {"rule": "fixed:0.9", "space": "raw", "component": 1, "title": "T = 0.9"},
        {"rule": "keep_share:0.5", "space": "whitened", "component": 1, "title": "half"},
    ]
    least = regression.MINIMUM_IMAGES
    points: list[dict[str, Any]] = [
        key
        | {"label": label, "kurtosis_before": before, "kurtosis_after": before / 2}
        | {"n_before": 100, "n_after": least - (label == "small")}
        for key in keys
        for label, before in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("small", 4.0))
    ]
    points[0]["kurtosis_after"] = None
    lines = [key | LINE for key in keys]
    lines[2]["slope"] = None
    return replace(example_report.summary(), lines=lines, points=points)


def test_each_line_has_its_files_and_says_what_it_shows(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "kurtosis_component1_T0.5.png").touch()  # of a threshold no longer computed
    (folder / "report.html").touch()
    drawn = figures.draw(summary(), LocalFiles(tmp_path), "report")
    names = ("component2_T0.9", "component1_T0.9", "component1_keep_share0.5_whitened")
    expected = {f"kurtosis_{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == expected | {"report.html"}
    assert [figure["component"] for figure in drawn] == [2, 1, 1]
    assert [figure["alt"].split(",")[0].split(" of ")[1] for figure in drawn] == [
        "2 classes before and after removal",
        "3 classes before and after removal",
        "3 classes before and after removal",
    ]
    assert drawn[0]["alt"].endswith("component 2, T = 0.9: slope 0.50, intercept 0.25")
    assert drawn[2]["alt"].endswith("component 1, half: no line")
    for figure, name in zip(drawn, names, strict=True):
        coded = figure["uri"].removeprefix("data:image/svg+xml;base64,")
        assert base64.b64decode(coded) == (folder / f"kurtosis_{name}.svg").read_bytes()


def test_where_room_is_short_the_first_component_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [
        len(figure["uri"]) for figure in figures.draw(summary(), LocalFiles(tmp_path), "report")
    ]
    monkeypatch.setattr(figures, "MOST_EMBEDDED", sizes[1] + sizes[2] + 10)
    drawn = figures.draw(summary(), LocalFiles(tmp_path), "report")
    assert [bool(figure["uri"]) for figure in drawn] == [False, True, True]
    assert len(list((tmp_path / "report").glob("*.svg"))) == 3


def test_a_long_contact_sheet_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "SHEET_ROWS", 2)
    levels = np.zeros((charts.GAP + 3 * figures.ROW, 100, 3), np.uint8)
    levels[charts.GAP + 2 * figures.ROW :] = 255
    drawn = figures.contact_sheet(encoded(Image.fromarray(levels), "PNG"))
    assert (drawn["width"], drawn["height"]) == (100, charts.GAP + 2 * figures.ROW)
    assert (drawn["rows"], drawn["cut"]) == (2, True)
    shown = Image.open(io.BytesIO(base64.b64decode(drawn["uri"].partition(",")[2])))
    assert np.asarray(shown).max() < 20
    short = Image.fromarray(levels[: charts.GAP + 2 * figures.ROW])
    assert not figures.contact_sheet(encoded(short, "PNG"))["cut"]
