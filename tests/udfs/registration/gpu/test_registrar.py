"""Registration by torch beside that by Numba: on the processor, and on a GPU if there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.devices import DEVICES
from tests.support.folders import ROOT
from tests.support.scenes import AGREEMENT, PROOF, pairs, scene, similarity, view
from udfs.acquisition.decode import decode
from udfs.registration import Alignments, Registrar, grey_of, proved
from udfs.registration.gpu.registrar import DeviceRegistrar
from udfs.registration.limits import HOPELESS
from udfs.registration.pictures import SIDE, Greys

NEAR = 1e-3  # what a registration or an agreement may differ by
Indices = NDArray[np.int64]


def on_device(
    device: str, greys: Greys, images: Indices, others: Indices, *, batch: int = 4096
) -> Alignments:
    registrar = DeviceRegistrar(
        greys, np.ones(len(greys)), orientations=1, device=device, batch=batch
    )
    return registrar.align(images, others, np.zeros(len(images)))


def assert_alike(found: Alignments, expected: Alignments) -> None:
    """Both refined the same pairs, with the same outcome up to rounding.

    The search of a pair that proves nothing may end at another maximum, where rounding decides.
    """
    refined = expected.overlap > 0
    np.testing.assert_array_equal(found.overlap > 0, refined)
    np.testing.assert_array_equal(found.flat, expected.flat)
    np.testing.assert_array_equal(found.orientation[refined], expected.orientation[refined])
    np.testing.assert_allclose(
        found.registration[refined], expected.registration[refined], atol=NEAR
    )
    assert (found.registration[~refined & ~expected.flat] < HOPELESS + NEAR).all()
    close = (np.abs(expected.registration - PROOF) < NEAR) | (
        np.abs(expected.agreement - AGREEMENT) < NEAR
    )
    same = proved(found, PROOF, AGREEMENT) == proved(expected, PROOF, AGREEMENT)
    assert (same | close).all()
    copies = refined & proved(expected, PROOF, AGREEMENT)
    for name, off in (
        ("agreement", NEAR), ("blocks", 1), ("overlap", 0.001), ("overlap_other", 0.001),
        ("scale", 0.001), ("rotation", 0.05), ("shift_x", 0.03), ("shift_y", 0.03),
    ):  # fmt: skip
        ours, theirs = getattr(found, name)[copies], getattr(expected, name)[copies]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=off, err_msg=name)


@pytest.mark.parametrize("device", DEVICES)
def test_views_of_one_scene(device: str) -> None:
    greys, _ = pairs(60, seed=41)
    images = np.arange(0, len(greys), 2)
    expected = Registrar(greys).align(images, images + 1)
    assert proved(expected, PROOF, AGREEMENT).sum() > 50
    assert_alike(on_device(device, greys, images, images + 1), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_pairs_in_any_order_most_of_them_unlike(device: str) -> None:
    greys, _ = pairs(20, seed=42)
    images, others = np.random.default_rng(0).integers(0, len(greys), (2, 150))
    expected = Registrar(greys).align(images, others)
    assert 0 < (expected.overlap > 0).sum() < 75
    assert_alike(on_device(device, greys, images, others), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_aspects_and_orientations(device: str) -> None:
    greys, _ = pairs(15, seed=43)
    greys[::4] = np.rot90(greys[::4], axes=(1, 2))
    greys[::6] = greys[::6, :, ::-1]
    aspects = np.repeat(np.exp(np.random.default_rng(1).uniform(-0.5, 0.5, 15)), 2)
    aspects[::4] = 1 / aspects[::4]
    images = np.arange(0, len(greys), 2)
    expected = Registrar(greys, aspects, orientations=8).align(images, images + 1)
    assert len(np.unique(expected.orientation[proved(expected, PROOF, AGREEMENT)])) >= 4
    registrar = DeviceRegistrar(greys, aspects, orientations=8, device=device, batch=10)
    assert_alike(registrar.align(images, images + 1, np.zeros(len(images))), expected)


@pytest.mark.data
@pytest.mark.parametrize("device", DEVICES)
def test_tiles_of_photographs(device: str, real_images: Path) -> None:
    """Neighbouring tiles, which overlap, and tiles of different photographs."""
    files = sorted((real_images / "ucmerced").rglob("*.jpg"))[::150]
    tiles = [
        np.frombuffer(tile.pixels, np.uint8)
        for path in files
        for tile in decode(path.read_bytes(), max_pixels=10**6, tile=SIDE, stride=32)[:9]
    ]
    greys = grey_of(np.stack(tiles))
    images = np.arange(len(greys) - 1)
    others = np.random.default_rng(2).permutation(len(greys))[:-1]
    images, others = np.tile(images, 2), np.concatenate([images + 1, others])
    expected = Registrar(greys).align(images, others)
    assert 50 < proved(expected, PROOF, AGREEMENT).sum() < len(images) / 2
    assert_alike(on_device(device, greys, images, others), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_flat_pictures_and_identical_ones(device: str) -> None:
    flat = np.full((64, 64), 90, np.uint8)
    nearly = flat.copy()
    nearly[30:34, 30:34] = 200  # contrast in less than a tenth
    textured = view(scene(44), similarity(1, 0, (0, 0)))
    half = textured.copy()
    half[:, 26:] = 90  # what it shares with its mirror image is flat
    greys = np.stack([flat, nearly, textured, half, half[:, ::-1]])
    images, others = np.array([0, 1, 2, 2, 3, 2]), np.array([1, 0, 0, 2, 4, 3])
    expected = Registrar(greys).align(images, others)
    found = on_device(device, greys, images, others)
    assert_alike(found, expected)
    assert found.flat.tolist()[:4] == [True, True, True, False]
    assert np.isnan(found.registration[:3]).all()
    assert found.registration[3] > 0.999


@pytest.mark.parametrize("device", DEVICES)
def test_few_pairs_none_and_flat_ones_alone(device: str) -> None:
    greys = np.zeros((2, 64, 64), np.uint8)
    none = np.empty(0, np.int64)
    assert len(on_device(device, greys, none, none)) == 0
    assert on_device(device, greys, np.array([0]), np.array([1])).flat.all()


@pytest.mark.parametrize("device", DEVICES)
def test_batches_change_no_more_than_rounding_does(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    greys, _ = pairs(30, seed=45)
    images = np.arange(0, len(greys), 2)
    whole = on_device(device, greys, images, images + 1)
    monkeypatch.setattr("udfs.registration.gpu.coarse._PAIRS", 3)
    monkeypatch.setattr("udfs.registration.gpu.evidence._PAIRS", 2)
    parts = on_device(device, greys, images[::-1], images[::-1] + 1, batch=7)
    assert_alike(parts.take(np.arange(30)[::-1]), whole)


def test_registrar_takes_any_device_that_torch_knows() -> None:
    greys, _ = pairs(4, seed=46)
    images = np.arange(0, 8, 2)
    found = Registrar(greys, device="cpu:0").align(images, images + 1)
    by_torch = on_device("cpu", greys, images, images + 1)
    by_numba = Registrar(greys).align(images, images + 1)
    np.testing.assert_array_equal(found.registration, by_torch.registration)
    assert (found.registration != by_numba.registration).any()  # so it was not Numba
    with pytest.raises(ValueError, match="device abacus: "):
        Registrar(greys, device="abacus")


def test_the_processor_s_way_imports_no_torch() -> None:
    script = """
import sys
import numpy as np
from udfs.registration import Registrar
Registrar(np.zeros((2, 64, 64), np.uint8)).align(np.array([0]), np.array([1]))
print("torch" in sys.modules)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
