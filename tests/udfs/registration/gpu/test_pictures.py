"""Batches of pictures by torch beside the processor's `Prepared`, picture by picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d, map_coordinates

from tests.support.devices import DEVICES
from tests.support.scenes import pairs
from udfs.registration.gpu.pictures import (
    PictureBatch,
    frame,
    gaussian_matrix,
    gradients,
    normalised,
    sampled,
    structure,
)
from udfs.registration.pictures import BROAD, NARROW, NEAR, Prepared, structure_of


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_has_what_the_processor_prepares(device: str) -> None:
    greys, _ = pairs(3, seed=71)
    greys[1, 20:] = 70  # in part flat
    greys[2] = 70
    aspects = np.exp(np.linspace(-0.5, 0.5, len(greys)))
    roots = np.sqrt(aspects).astype(np.float32)
    batch = PictureBatch.of(torch.from_numpy(greys).to(device), roots)
    structures = structure(batch.fine, NARROW, BROAD).cpu().numpy()
    gx, gy = (each.cpu().numpy() for each in gradients(batch.fine))
    for j, grey in enumerate(greys):
        expected = Prepared.of(grey, float(aspects[j]))
        assert batch.roots[j].item() == pytest.approx(expected.root)
        np.testing.assert_allclose(batch.grey[j].cpu(), expected.grey, atol=1e-7)
        np.testing.assert_allclose(batch.fine[j].cpu(), expected.fine[0], atol=2e-4)
        np.testing.assert_allclose(batch.half[j].cpu(), expected.coarse[0], atol=2e-4)
        np.testing.assert_allclose(batch.contrast[j].cpu(), expected.fine[3], atol=1e-6)
        np.testing.assert_allclose(structures[j], structure_of(expected), atol=2e-4)
        np.testing.assert_allclose(gx[j] / roots[j], expected.fine[1], atol=2e-4)
        np.testing.assert_allclose(gy[j] * roots[j], expected.fine[2], atol=2e-4)
        assert abs(batch.textured()[j].item() - expected.textured) <= 2 / 64**2
    assert batch.textured()[2] == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("side", [32, 64])
def test_the_matrix_of_a_gaussian_blurs_as_scipy_does(device: str, side: int) -> None:
    line = np.random.default_rng(72).standard_normal(side)
    matrix = gaussian_matrix(2.25, side, torch.device(device)).cpu().numpy()
    expected = gaussian_filter1d(line, 2.25, mode="mirror", truncate=3)
    np.testing.assert_allclose(matrix @ line, expected, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_normalised_pictures_do_not_change_with_brightness_and_contrast(device: str) -> None:
    """Where there is contrast: the floor of contrast counts for little."""
    greys, _ = pairs(2, seed=73)
    pictures = torch.from_numpy(greys).to(device, torch.float32) / 255
    fine, _ = normalised(pictures, NEAR)
    paler, contrast = normalised(0.6 * pictures + 0.3, NEAR)
    strong = contrast > 0.03**2
    assert strong.float().mean() > 0.4
    assert (paler - fine)[strong].abs().max() < 0.1 * fine.abs().max()


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_are_sampled_as_scipy_does(device: str) -> None:
    """Within half a pixel beyond the edge too, where the nearest pixels count."""
    random = np.random.default_rng(74)
    pictures = random.standard_normal((2, 32, 32)).astype(np.float32)
    places = random.uniform(-16, 16, (2, 2, 5, 7)).astype(np.float32)
    found = sampled(torch.from_numpy(pictures).to(device), torch.from_numpy(places).to(device))
    for j in range(2):
        x, y = places[j] + 15.5
        expected = map_coordinates(pictures[j], [y, x], order=1, mode="nearest")
        np.testing.assert_allclose(found[j].cpu(), expected, atol=1e-4)


def test_a_frame_lists_pixels_row_by_row_from_the_centre() -> None:
    places = frame(4, torch.device("cpu")).numpy()
    assert places[:, 0].tolist() == [-1.5, -1.5, 1]
    assert places[:, 1].tolist() == [-0.5, -1.5, 1]
    assert places[:, 4].tolist() == [-1.5, -0.5, 1]
    assert places.shape == (3, 16)
    assert math.isclose(places[:2].sum(), 0)
