"""The coarse search by torch beside that of the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.devices import DEVICES
from tests.support.scenes import pairs
from udfs.registration import coarse
from udfs.registration.gpu.coarse import starts
from udfs.registration.gpu.pictures import PictureBatch
from udfs.registration.pictures import Prepared


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("at_a_time", [1024, 3])
def test_starts_are_those_of_the_processor(
    device: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pairs in which pictures come again, and of originals of any aspect."""
    monkeypatch.setattr("udfs.registration.gpu.coarse._PAIRS", at_a_time)
    greys, _ = pairs(4, seed=81)
    aspects = np.exp(np.random.default_rng(82).uniform(-0.5, 0.5, len(greys)))
    roots = np.sqrt(aspects).astype(np.float32)
    batch = PictureBatch.of(torch.from_numpy(greys).to(device), roots)
    own, other = np.array([0, 2, 0, 4, 6, 0, 5]), np.array([1, 3, 3, 5, 7, 1, 2])
    rows = (torch.from_numpy(each).to(device) for each in (own, other))
    values, transforms = starts(batch, next(rows), batch, next(rows), 5)
    for pair, (i, j) in enumerate(zip(own, other, strict=True)):
        first, second = (Prepared.of(greys[k], float(aspects[k])) for k in (i, j))
        root = float(first.root)
        spectra = coarse.template_spectra(first), coarse.other_spectra(second, root)
        expected, places = coarse.starts(*spectra, root, 5)
        np.testing.assert_allclose(values[pair].cpu(), expected, atol=1e-4)
        apart = np.append(np.diff(expected) < -1e-3, True)  # from the next, and the one before
        apart &= np.insert(apart[:-1], 0, True)
        assert apart[0]
        np.testing.assert_allclose(transforms[pair].cpu()[apart], places[apart], atol=1e-4)
