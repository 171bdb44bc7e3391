from __future__ import annotations

import math

import numpy as np

from tests.support.vectors import spectral, units
from udfs.vectors.axes import FEWEST, SAMPLE, fitting_sample, leading_axes, spread


def test_leading_axes_are_eigenvectors() -> None:
    rows = units(spectral(500, 100, 5))
    axes = leading_axes(rows, 6)
    assert np.allclose(axes @ axes.T, np.eye(6), atol=1e-6)
    values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    captured = np.linalg.norm(rows @ axes.T) ** 2
    assert math.isclose(captured, values[::-1][:6].sum(), rel_tol=1e-3)
    assert abs(axes[0] @ vectors[:, -1]) > 0.9999


def test_spread_takes_rows_from_end_to_end() -> None:
    assert spread(np.arange(100), 3).tolist() == [0, 49, 99]
    assert spread(np.arange(2), 3).tolist() == [0, 1]
    assert spread(np.arange(9), 0).tolist() == []
    assert spread(np.arange(0), 4).tolist() == []


def test_axes_are_fitted_on_a_sample_of_many_rows_alone() -> None:
    assert len(fitting_sample(np.arange(FEWEST - 1))) == 0
    sample = fitting_sample(np.arange(10, 10 + FEWEST))
    assert len(sample) == SAMPLE
    assert (sample[0], sample[-1]) == (10, 9 + FEWEST)
