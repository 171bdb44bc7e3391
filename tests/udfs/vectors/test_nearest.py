"""The nearest row of each vector, beside all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.vectors import nearest_by_definition
from udfs.vectors.cosine import Matrix
from udfs.vectors.nearest import Nearest


def cloud(n: int = 60, width: int = 12, middle: float = 5.0) -> Matrix:
    return np.random.default_rng(3).normal(middle, 1.0, (n, width)).astype(np.float32)


@pytest.mark.parametrize("portion", [1, 7, 100])
def test_the_nearest_is_that_of_all_pairs(portion: int) -> None:
    """Among the rows: equal ones, ones a rounding apart, multiples, zeros; an id after U+FFFF."""
    draw = np.random.default_rng(5)
    vectors = np.abs(draw.normal(size=(9, 40))).astype(np.float32)
    rows = [vectors[0], vectors[0] * np.float32(2), vectors[1], np.zeros(40, np.float32)]
    rows += [np.nextafter(vectors[i], np.float32(9)) for i in (2, 2, 3)]
    rows += list(np.abs(draw.normal(size=(60, 40))).astype(np.float32))
    vectors[8] = 0
    table = np.stack(rows)[draw.permutation(len(rows))]
    first = ("\U0001f600", "\uffee", "z")  # UTF-16 would have them in another order
    ids = [f"{first[i % 3]}{i % 4}/{i}" for i in range(len(table))]
    nearest = Nearest(vectors)
    for start in range(0, len(ids), portion):
        nearest.update(ids[start : start + portion], table[start : start + portion])
    for i, vector in enumerate(vectors):
        found = nearest.ids[i], nearest.similarity[i]
        assert found == nearest_by_definition(vector, ids, table)
    assert (nearest.ids[8], nearest.similarity[0]) == (None, 1.0)


def test_nothing_is_near_where_there_is_nothing() -> None:
    nearest = Nearest(cloud(3))
    nearest.update(["zero"], np.zeros((1, 12), np.float32))
    nearest.update([], np.empty((0, 12), np.float32))
    assert nearest.ids == [None] * 3
