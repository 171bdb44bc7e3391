"""Products by torch beside those by NumPy: on its CPU, and on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.devices import DEVICES
from tests.support.vectors import spectral, units
from udfs.vectors.cosine import margin, products
from udfs.vectors.gpu import DeviceProducts


@pytest.mark.parametrize("device", DEVICES)
def test_entries_above_a_bound(device: str) -> None:
    left, right = np.split(units(spectral(130, 130, 1)), [60])
    row, column, value = DeviceProducts(device).entries_above(left, right, np.float32(0.8))
    product, off = products(left, right), 2 * margin(130)
    chosen = np.zeros(product.shape, np.bool_)
    chosen[row, column] = True
    assert 100 < len(row) < product.size - 100
    assert (np.diff(row) >= 0).all()
    assert np.abs(value - product[row, column]).max() <= off
    assert (product[chosen] > 0.8 - off).all()
    assert (product[~chosen] <= 0.8 + off).all()


@pytest.mark.parametrize("device", DEVICES)
def test_single_products(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are gathered in several parts."""
    left, right = np.split(units(spectral(130, 130, 1)), [60])
    rows, columns = np.nonzero(np.random.default_rng(0).random((60, 70)) < 0.2)
    for gathered in (2**26, 1000):
        monkeypatch.setattr("udfs.vectors.gpu._GATHERED", gathered)
        value = DeviceProducts(device).products_at(left, right, rows, columns)
        assert value.dtype == np.float32
        assert np.abs(value - products(left, right)[rows, columns]).max() <= 2 * margin(130)
    assert DeviceProducts(device).products_at(left, right, rows[:0], columns[:0]).shape == (0,)
