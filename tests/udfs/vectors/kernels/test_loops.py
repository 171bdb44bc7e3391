from __future__ import annotations

import itertools

import numpy as np

from tests.support.vectors import spectral, units
from udfs.vectors.cosine import margin, products
from udfs.vectors.kernels import loops


def test_numbers_above_a_bound() -> None:
    random = np.random.default_rng(1)
    for n, m in itertools.product((0, 1, 7), (0, 1, 63, 64, 65, 200)):
        product = random.integers(0, 4, (n, m)).astype(np.float32)
        for low in (-1, 0, 2.5, 3, np.inf, -np.inf):
            row, column = loops.entries_above(product, np.float32(low))
            expected = np.nonzero(product > low)
            assert np.array_equal(row, expected[0])
            assert np.array_equal(column, expected[1])


def test_single_products_are_those_of_the_matrix_product() -> None:
    random = np.random.default_rng(6)
    left, right = units(spectral(37, 130, 7)), units(spectral(53, 130, 8))
    chosen = random.random((37, 53)) < 0.2
    chosen[5] = False
    rows, columns = np.nonzero(chosen)
    found = loops.products_at(left, right, rows, columns)
    assert found.dtype == np.float32
    assert np.abs(found - products(left, right)[rows, columns]).max() < 2 * margin(130)
    assert loops.products_at(left, right, rows[:0], columns[:0]).shape == (0,)


def test_any_layout_will_do() -> None:
    random = np.random.default_rng(0)
    wide = random.standard_normal((40, 60)).astype(np.float32)
    some = np.arange(40)
    for rows in (wide, np.asfortranarray(wide), wide[:, ::2], wide[::-1], wide.astype(">f4")):
        expected = products(rows.astype(np.float32), rows.astype(np.float32))
        assert np.allclose(loops.products_at(rows, rows, some, some), np.diag(expected))
        assert np.allclose(loops.squares(rows), np.diag(expected))
        at = loops.entries_above(rows, np.float32(0.5))
        assert np.array_equal(at, np.nonzero(rows > 0.5))
