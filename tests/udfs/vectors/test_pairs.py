from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vectors import KINDS, images, sim, spectral
from udfs.vectors import axes
from udfs.vectors.cosine import Matrix
from udfs.vectors.pairs import SearchableRows, similar_pairs


def definition(rows: Matrix, threshold: float) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if sim(rows[i], rows[j]) > threshold
    ]


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(0, 25),
    st.integers(1, 30),
    st.sampled_from([1, 3, 1024]),
    st.sampled_from([-1.5, -0.3, 0.0, 0.5, 0.95, 1.0]),
    st.integers(1, 2),
    st.booleans(),
)
def test_pairs_are_their_definition(
    seed: int,
    kind: str,
    count: int,
    width: int,
    block: int,
    threshold: float,
    threads: int,
    from_a_pair: bool,
) -> None:
    rows = images(np.random.default_rng(seed), kind, count, width)
    if from_a_pair and count > 1 and not np.isnan(sim(rows[0], rows[1])):
        threshold = sim(rows[0], rows[1])
    first, second = similar_pairs(rows, threshold, block=block, threads=threads)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == definition(rows, threshold)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 40),
    st.sampled_from([-0.3, 0.0, 0.5, 0.95, 1.0]),
)
def test_pairs_with_others_are_their_definition(
    seed: int, kind: str, count: int, more: int, width: int, threshold: float
) -> None:
    rows = images(np.random.default_rng(seed), kind, count + more, width)
    left, right = rows[:count], rows[count:]
    i, j, similarity = SearchableRows(left, threshold, block=7).pairs(
        right, lambda i, j: (i + j) % 3 > 0
    )
    found = dict(zip(zip(i.tolist(), j.tolist(), strict=True), similarity.tolist(), strict=True))
    assert found == {
        (a, b): sim(left[a], right[b])
        for a in range(count)
        for b in range(more)
        if (a + b) % 3 and sim(left[a], right[b]) > threshold
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_bounds_change_nothing_on_many(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = spectral(3000, 512, 1)
    rows[7] = 0
    plain = similar_pairs(rows, 0.9, bounded=False)
    monkeypatch.setattr(axes, "FEWEST", 1000)
    found = similar_pairs(rows, 0.9, threads=threads)
    assert len(plain[0]) > 100
    assert np.array_equal(found, plain)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="row 1 holds NaN or infinity"):
        similar_pairs(np.array([[1.0], [np.nan]], np.float32), 0.5)
    with pytest.raises(ValueError, match="threshold is NaN"):
        similar_pairs(np.ones((2, 1), np.float32), np.nan)
