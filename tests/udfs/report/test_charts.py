"""The figures: the same bytes for the same numbers, and what they show."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

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
