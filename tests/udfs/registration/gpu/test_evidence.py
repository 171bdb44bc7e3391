"""The scores of given transforms by torch beside those of the compiled loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.devices import DEVICES
from tests.support.scenes import pairs, similarity
from udfs.registration.gpu.evidence import judge
from udfs.registration.gpu.pictures import PictureBatch
from udfs.registration.kernels import evidence as loops
from udfs.registration.limits import UNPROVED
from udfs.registration.pictures import (
    FLOOR,
    NEAR,
    Prepared,
    kernels_of_contrast,
    kernels_of_structure,
    structure_of,
)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("at_a_time", [1024, 3])
def test_scores_are_those_of_the_processor(
    device: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the true transforms and at others, with pictures of which a part is flat or another's."""
    monkeypatch.setattr("udfs.registration.gpu.evidence._PAIRS", at_a_time)
    greys, truth = pairs(8, seed=95)
    greys[2, :, 40:] = 90
    greys[5, 30:] = 90
    greys[8, :, 40:] = greys[0, :, 40:]
    own = np.arange(0, 16, 2)
    other = own + 1
    shown = np.concatenate([truth, truth + np.array([[0, 0, 3], [0, 0, 2]]), truth[::-1]])
    own, other = np.tile(own, 3), np.tile(other, 3)
    batch = PictureBatch.of(torch.from_numpy(greys).to(device), np.ones(16, np.float32))
    i, j = (torch.from_numpy(each).to(device) for each in (own, other))
    matrices = torch.tensor(shown, dtype=torch.float32, device=device)
    found = judge(batch, i, batch, j, matrices)
    prepared = [Prepared.of(grey) for grey in greys]
    weak = 0
    for pair in range(len(own)):
        first, second = prepared[own[pair]], prepared[other[pair]]
        out = np.empty(5)
        loops.judge(
            first.fine, structure_of(first), second.grey, shown[pair].astype(np.float32),
            *kernels_of_contrast(NEAR), FLOOR, *kernels_of_structure(), UNPROVED, out,
        )  # fmt: skip
        assert found.registration[pair].item() == pytest.approx(out[0], abs=1e-3)
        assert found.agreement[pair].item() == pytest.approx(out[1], abs=1e-3)
        assert abs(found.blocks[pair].item() - out[2]) <= 1
        assert found.overlap[pair].item() == pytest.approx(out[3], abs=1e-3)
        assert found.textured[pair].item() == pytest.approx(out[4], abs=2e-3)
        weak += out[0] < UNPROVED
    assert 4 < weak < 20  # so both kinds were there


@pytest.mark.parametrize("device", DEVICES)
def test_no_overlap_is_no_score(device: str) -> None:
    greys, _ = pairs(1, seed=96)
    batch = PictureBatch.of(torch.from_numpy(greys).to(device), np.ones(2, np.float32))
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    apart = torch.tensor(similarity(1, 0, (80, 0)), dtype=torch.float32, device=device)[None]
    found = judge(batch, zero, batch, zero, apart)
    values = [found.registration, found.agreement, found.blocks, found.overlap, found.textured]
    assert [value.item() for value in values] == [0, 0, 0, 0, 0]
