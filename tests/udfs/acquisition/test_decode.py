"""Files of many kinds become 64x64 RGB images, or say why they do not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.hostile_files import REJECTED, hostile
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode

FILES = hostile()


def levels(data: bytes) -> NDArray[np.int64]:
    """The one image in a file's bytes, (64, 64, 3)."""
    (tile,) = decode.decode(data, max_pixels=10**6, tile=None, stride=None)
    return np.frombuffer(tile.pixels, np.uint8).reshape(64, 64, 3).astype(int)


@pytest.mark.parametrize("name", REJECTED)
def test_an_unusable_file_says_why(name: str) -> None:
    with pytest.raises(decode.Unusable) as caught:
        decode.decode(FILES[name], max_pixels=10**6, tile=None, stride=None)
    assert caught.value.code == REJECTED[name]
    again = pickle.loads(pickle.dumps(caught.value))  # as it crosses from a worker
    assert (again.code, again.message) == (caught.value.code, caught.value.message)


@pytest.mark.parametrize("name", ["photo.PNG", "scan.tif", "plain.ppm", "moving.webp"])
def test_formats_that_lose_nothing_give_the_first_frame(name: str) -> None:
    whole = Image.fromarray(picture(1)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(levels(FILES[f"good/{name}"]), np.asarray(whole))


def test_orientation_is_applied_before_anything_else() -> None:
    upright = levels(FILES["good/photo.JPG"])
    turned = levels(FILES["good/turned.jpg"])  # EXIF 6: shown a quarter turn to the right
    assert np.abs(turned - np.rot90(upright, -1)).mean() < 2 < np.abs(turned - upright).mean()


def test_grey_of_16_bits_is_rounded_to_8() -> None:
    grey = np.arange(64 * 64).reshape(64, 64).astype(np.uint16) * 16
    found = levels(encoded(Image.fromarray(grey), "PNG"))
    assert np.array_equal(found, np.repeat(np.rint(grey / 257)[:, :, None], 3, axis=2))


def test_grey_of_floats_lies_between_0_and_1() -> None:
    grey = np.linspace(-0.5, 1.5, 64 * 64, dtype=np.float32).reshape(64, 64)
    found = levels(encoded(Image.fromarray(grey), "TIFF"))
    assert np.array_equal(found[:, :, 0], np.rint(np.clip(grey.astype(float), 0, 1) * 255))


def test_tiles_are_whole_and_named_by_their_corner() -> None:
    frame = picture(3, 160)[:100]
    data = encoded(Image.fromarray(frame), "PNG")
    found = decode.decode(data, max_pixels=10**6, tile=64, stride=32)
    assert [tile.suffix for tile in found] == [
        f"#{x},{y}" for y in (0, 32) for x in (0, 32, 64, 96)
    ]
    for tile in found:
        x, y = map(int, tile.suffix[1:].split(","))
        assert tile.pixels == frame[y : y + 64, x : x + 64].tobytes()
    apart = decode.decode(data, max_pixels=10**6, tile=64, stride=None)
    assert [tile.suffix for tile in apart] == ["#0,0", "#64,0"]
    with pytest.raises(decode.Unusable, match="too_small: 160x100 px hold no tile of 101 px"):
        decode.decode(data, max_pixels=10**6, tile=101, stride=None)


def test_the_limit_in_pixels_counts_the_whole_frame() -> None:
    data = encoded(Image.fromarray(picture(1)), "PNG")
    assert decode.decode(data, max_pixels=72 * 72, tile=None, stride=None)
    with pytest.raises(decode.Unusable, match="too_large"):
        decode.decode(data, max_pixels=72 * 72 - 1, tile=None, stride=None)


def test_levels_are_scaled_to_one_about_zero() -> None:
    scaled = decode.scale(np.array([0, 51, 255], np.uint8))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [-1.0, pytest.approx(-0.6), 1.0]
