"""Theil and Sen's line: by hand, through exact points, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.evaluation import regression


def test_line_by_hand() -> None:
    """Slopes 1, 2, 1.5 of three points: their median; the intercept is median(y) − a·median(x)."""
    line = regression.line([0.0, 1.0, 2.0], [0.0, 1.0, 3.0])
    assert line is not None
    assert (line.slope, line.intercept, line.classes) == (1.5, 1.0 - 1.5 * 1.0, 3)
    assert line.slope_low <= line.slope <= line.slope_high


@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(3, 15))
def test_line_of_exact_points(slope: float, intercept: float, n: int) -> None:
    x = np.arange(n, dtype=float)
    line = regression.line(x.tolist(), (slope * x + intercept).tolist())
    assert line is not None
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.intercept == pytest.approx(intercept, abs=1e-9)


def test_no_line_through_too_little() -> None:
    assert regression.line([1.0, 2.0], [1.0, 2.0]) is None
    assert regression.line([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(ValueError, match="must be equal"):
        regression.line([1.0], [1.0, 2.0])
