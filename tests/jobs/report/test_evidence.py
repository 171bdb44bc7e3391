"""The evidence of a removal: read from rows, and drawn where the pictures show the same."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from jobs.report.evidence import COLUMNS, Evidence
from jobs.warehouse import arrow_frames, tables
from tests.support import overlaps
from tests.support.overlaps import KEPT, LABELS, REMOVED, image
from udfs.registration import Registrar, grey_of

EXACT = Evidence(1.0, 1.0, 0.875, 0.5, 90.0, 16.0, -8.0, 40.123, -20.0, 0)
LEAST_SCALE = 0.7  # that registration looks for


def test_the_columns_are_those_of_the_table() -> None:
    assert list(COLUMNS) == arrow_frames.struct(tables.EVIDENCE).names


def test_a_pair_that_was_not_registered_has_no_evidence() -> None:
    row = asdict(EXACT)
    assert Evidence.of(row | {"other": 1}) == EXACT
    assert Evidence.of(row | {"registration": None}) is None
    assert Evidence.of(row | {"registration": math.nan}) is None  # flat


@pytest.mark.parametrize("label", LABELS)
def test_registration_gives_the_matrix_of_the_photographs(label: str) -> None:
    """Of any aspect and orientation: the corners are less than a pixel of 64 away.

    One of the photographs may be missed; what is found lies where it belongs.
    """
    views = {n: view for n, view in enumerate(REMOVED, 1) if view.unit / KEPT.unit > LEAST_SCALE}
    names = [image(label, number) for number in (0, *views)]
    pictures, sizes = overlaps.pictures(), overlaps.aspects()
    aspects = np.array([sizes[name] for name in names])
    grey = grey_of(np.stack([pictures[name] for name in names]))
    images = np.arange(1, len(names))
    found = Registrar(grey, aspects, orientations=8).align(images, np.zeros_like(images))
    assert (found.registration > 0.5).sum() >= len(views) - 1
    corners = np.array([(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)], float)
    for place, view in enumerate(views.values()):
        columns = {name: getattr(found, name)[place] for name in COLUMNS if "source" not in name}
        evidence = Evidence(**columns, shift_x_source=0.0, shift_y_source=0.0)
        true = overlaps.evidence(view, KEPT, 1.0)
        if evidence.registration < 0.5:
            continue
        matrices = [
            np.array(each.matrix(aspects[place + 1], aspects[0])).reshape(2, 3)
            for each in (evidence, true)
        ]
        there, expected = (corners @ matrix.T for matrix in matrices)
        assert 32 * np.abs(there - expected).max() < 1.0
