"""NT-Xent beside its definition, two nested sums; and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from udfs.autoencoder.contrastive import Head, nt_xent


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def defined(left: Tensor, right: Tensor, temperature: float) -> float:
    """Equation 1 of the paper, view by view."""
    views = [*left.double(), *right.double()]
    n = len(left)

    def cosine(i: int, k: int) -> float:
        return float(views[i] @ views[k] / (views[i].norm() * views[k].norm()))

    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = sum(math.exp(cosine(i, k) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cosine(i, j) / temperature) / others)
    return total / (2 * n)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 9), st.floats(0.05, 2))
def test_the_loss_is_the_definition(seed: int, n: int, width: int, temperature: float) -> None:
    left, right = drawn(seed, n, width), drawn(seed + 1, n, width)
    found = float(nt_xent(left, right, temperature))
    assert found == pytest.approx(defined(left, right, temperature), abs=1e-4)


def test_its_bounds() -> None:
    same = torch.ones(8, 4)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(15))
    apart = torch.eye(8)
    assert float(nt_xent(apart, apart, 0.05)) < 1e-6
    assert float(nt_xent(apart, apart.roll(1, 0), 0.05)) > 15


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.permutations(range(6)))
def test_neither_order_nor_length_matters(seed: int, order: list[int]) -> None:
    left, right = drawn(seed, 6, 5), drawn(seed + 1, 6, 5)
    found = nt_xent(left, right, 0.2)
    lengths = drawn(seed + 2, 6, 1).abs() + 0.1
    for twin in (
        nt_xent(right, left, 0.2),
        nt_xent(left[order], right[order], 0.2),
        nt_xent(left * lengths, right, 0.2),
    ):
        assert float(twin) == pytest.approx(float(found), abs=1e-5)


def test_a_step_against_the_gradient_brings_views_together() -> None:
    left = drawn(0, 6, 5).requires_grad_()
    right = drawn(1, 6, 5)
    loss = nt_xent(left, right, 0.5)
    (slope,) = torch.autograd.grad(loss, left)
    assert nt_xent(left - 0.1 * slope, right, 0.5) < loss


def test_wrong_views_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 3\)"):
        nt_xent(torch.ones(2, 3), torch.ones(3, 3), 0.1)
    with pytest.raises(ValueError, match="must be above 0"):
        nt_xent(torch.ones(2, 3), torch.ones(2, 3), 0.0)


def test_the_head_is_small() -> None:
    assert Head(1024)(torch.ones(2, 1024)).shape == (2, 128)
    assert sum(weights.numel() for weights in Head(1024).parameters()) < 300_000
