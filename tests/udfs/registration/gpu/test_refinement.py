"""Gauss–Newton steps by torch reach known transforms, and those that the processor reaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.devices import DEVICES
from tests.support.scenes import pairs, similarity
from udfs.registration.gpu.pictures import PictureBatch
from udfs.registration.gpu.refinement import Level, climb, matrices, refine
from udfs.registration.kernels import refinement as loops
from udfs.registration.limits import (
    FIRST_STEPS,
    HALF_STEPS,
    HOPELESS,
    HOPELESS_FIRST,
    LARGEST_STEP,
    LEAST_OVERLAP,
    STEPS,
)
from udfs.registration.pictures import Greys, Prepared


def batch_of(greys: Greys, device: str) -> PictureBatch:
    ones = np.ones(len(greys), np.float32)
    return PictureBatch.of(torch.from_numpy(greys).to(device), ones)


@pytest.mark.parametrize("device", DEVICES)
def test_transforms_as_matrices(device: str) -> None:
    """Of squares the matrix is the similarity; a root stretches what it belongs to."""
    angle = np.radians(10)
    a, b = 1.2 * np.cos(angle), 1.2 * np.sin(angle)
    transforms = torch.tensor([[a, b, 3.0, -2.0]] * 2, device=device, dtype=torch.float32)
    roots = torch.tensor([1.0, 1.5], device=device)
    others = torch.tensor([1.0, 0.8], device=device)
    found = matrices(transforms, roots, others).cpu().numpy()
    plain = similarity(1.2, 10, (3, -2))
    np.testing.assert_allclose(found[0], plain, atol=1e-6)
    stretch = np.diag([1 / 0.8, 0.8])
    np.testing.assert_allclose(
        found[1][:, :2], stretch @ plain[:, :2] @ np.diag([1.5, 1 / 1.5]), atol=1e-6
    )
    np.testing.assert_allclose(found[1][:, 2], stretch @ plain[:, 2], atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_features_are_derivatives_by_the_transform(device: str) -> None:
    """Of a plane x + 2·y they are known: by the shifts 1 and 2, by the scale x + 2·y itself."""
    y, x = np.mgrid[:32, :32] - 15.5
    plane = torch.tensor(x + 2 * y, dtype=torch.float32, device=device)[None]
    one = torch.ones(1, device=device)
    features = Level.of(plane, one, plane, one).features.view(6, 32, 32)[:, 1:-1, 1:-1].cpu()
    inner = (slice(1, -1), slice(1, -1))
    expected = [np.ones_like(x), x + 2 * y, x + 2 * y, y - 2 * x, np.ones_like(x), 2 + 0 * x]
    for found, definition in zip(features, expected, strict=True):
        np.testing.assert_allclose(found, definition[inner], atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_refined_pairs_are_those_of_the_processor(device: str) -> None:
    """From starts near the truth of each pair, and from some that are far off."""
    greys, truth = pairs(12, seed=91)
    batch = batch_of(greys, device)
    own = torch.arange(0, 24, 2, device=device)
    near = np.stack([truth[:, 0, 0], truth[:, 0, 1], truth[:, 0, 2] / 2, truth[:, 1, 2] / 2], 1)
    random = np.random.default_rng(92)
    near += random.uniform(-1, 1, near.shape) * [0.04, 0.04, 1, 1]
    far = near + np.array([0, 0, 9, -9])
    starts = np.stack([far, near, [[0.8, 0.1, 0, 0]] * 12], axis=1)
    given = torch.tensor(starts, dtype=torch.float32, device=device)
    nothing = torch.zeros(12, device=device)
    found = refine(batch, own, batch, own + 1, given, nothing)
    assert not found.given_up.any()
    one = torch.ones(12, device=device)
    shown = matrices(found.transforms, one, one).cpu().numpy()
    reached = 0
    for pair in range(12):
        first, second = Prepared.of(greys[2 * pair]), Prepared.of(greys[2 * pair + 1])
        matrix = np.zeros((2, 3), np.float32)
        correlation, half, complete = loops.refine(
            first.fine, first.coarse, first.root, second.fine[0], second.coarse[0], second.root,
            starts[pair], FIRST_STEPS, HALF_STEPS, STEPS, LEAST_OVERLAP, LARGEST_STEP,
            HOPELESS_FIRST, HOPELESS, 0.0, matrix,
        )  # fmt: skip
        assert abs(float(found.overlaps[pair]) - half) < 0.002
        assert bool(found.complete[pair]) == complete
        assert abs(float(found.correlations[pair]) - correlation) < 1e-3
        if complete and np.abs(matrix - truth[pair]).max() < 0.3:
            np.testing.assert_allclose(shown[pair], matrix, atol=0.03)
            reached += 1
    assert reached >= 10
    # Those that overlap by less than the median are given up, and the others are as before.
    least = found.overlaps.median().expand(12)
    some = refine(batch, own, batch, own + 1, given, least)
    expected = (found.overlaps < least) & (found.overlaps > 0)
    assert some.given_up.tolist() == expected.tolist()
    assert some.complete.tolist() == (found.complete & ~expected).tolist()
    torch.testing.assert_close(some.overlaps, found.overlaps)


@pytest.mark.parametrize("device", DEVICES)
def test_steps_that_leave_their_range_count_for_nothing(device: str) -> None:
    """Too little overlap, and scales beyond the largest; beside a start that is well."""
    greys, _ = pairs(1, seed=93)
    batch = batch_of(greys, device)
    level = Level.of(batch.half, batch.roots, batch.half, batch.roots)
    starts = torch.tensor(
        [[1, 0, 26, 0], [2.5, 0, 0, 0], [0.3, 0, 0, 0], [1, 0, 0.5, 0]], device=device
    )
    zeros = torch.zeros(4, dtype=torch.int64, device=device)
    reached, correlations, overlaps = climb(level, zeros, zeros, starts, STEPS, 0.001)
    assert correlations[:3].tolist() == [-1, -1, -1]
    assert overlaps[0] < LEAST_OVERLAP
    np.testing.assert_allclose(reached[3].cpu(), [1, 0, 0, 0], atol=0.002)
    assert correlations[3] > 0.999
    assert overlaps[3] > 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_hopeless_pairs_are_not_complete(device: str) -> None:
    greys, _ = pairs(3, seed=94)
    batch = batch_of(greys, device)
    own = torch.tensor([0, 2], device=device)
    starts = torch.tensor([[[1.0, 0, 0, 0]]] * 2, device=device)
    nothing = torch.zeros(2, device=device)
    found = refine(batch, own, batch, torch.tensor([3, 2], device=device), starts, nothing)
    assert found.complete.tolist() == [False, True]  # another scene; the picture itself
    assert found.correlations[0] < HOPELESS
