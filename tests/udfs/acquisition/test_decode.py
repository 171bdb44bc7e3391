"""Image files to pixels: the order of the steps, tiles, and a reason for every unusable file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from tests.support.decoding import LIMIT, peak_bytes, png_of, refused, whole
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode as decoding
from udfs.acquisition import levels as rgb_levels
from udfs.acquisition.decode import SIDE, Tile, decode, jpeg, scale, sha256
from udfs.acquisition.unusable import Unusable

CODES = (
    "empty",
    "unreadable",
    "truncated",
    "unsupported_format",
    "not_an_image",
    "too_large",
)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_image_of_64_px_is_taken_as_it_is(kind: str) -> None:
    levels = picture(1, SIDE)
    assert np.array_equal(whole(encoded(Image.fromarray(levels), kind)), levels)


def test_another_size_is_resized_bilinearly_and_recorded() -> None:
    image = Image.fromarray(picture(2, 100)).crop((0, 0, 100, 80))
    (tile,) = decode(encoded(image, "PNG"), max_pixels=LIMIT, tile=None, stride=None)
    assert (tile.width, tile.height) == (100, 80)
    expected = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert tile.pixels == expected.tobytes()


def hash_of(levels: NDArray[np.uint8]) -> str:
    """The definition of `pixels_sha256`: (height, width, 3) → hexadecimal."""
    height, width, _ = levels.shape
    return hashlib.sha256(f"{width}x{height}:".encode() + levels.tobytes()).hexdigest()


def test_the_hash_of_the_pixels_is_that_of_the_frame_before_it_is_resized() -> None:
    """It is the same for every file without loss; one level of one pixel changes it."""
    levels = picture(2, 100)[:80]
    changed = levels.copy()
    changed[40, 50, 1] ^= 1
    hashes = {}
    for name, frame, kind in (
        ("png", levels, "PNG"),
        ("bmp", levels, "BMP"),
        ("turned", np.ascontiguousarray(levels.transpose(1, 0, 2)), "PNG"),
        ("changed", changed, "PNG"),
    ):
        data = encoded(Image.fromarray(frame), kind)
        (tile,) = decode(data, max_pixels=LIMIT, tile=None, stride=None)
        assert tile.pixels_sha256 == hash_of(frame)
        hashes[name] = tile.pixels_sha256
    assert hashes["png"] == hashes["bmp"]
    assert len(set(hashes.values())) == 3


def test_a_frame_larger_than_a_strip_is_hashed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = picture(2, 100)
    for pixels in (1, 700, 10**4):  # less than a row; 7 rows, of which 2 are left; all
        monkeypatch.setattr(rgb_levels, "STRIP", pixels)
        assert decoding.pixels_sha256(Image.fromarray(levels)) == hash_of(levels)


def test_the_first_frame_is_taken() -> None:
    first, second = (Image.fromarray(picture(seed, SIDE)) for seed in (3, 4))
    data = encoded(first, "TIFF", save_all=True, append_images=[second])
    assert np.array_equal(whole(data), np.asarray(first))


def test_the_exif_orientation_is_applied() -> None:
    levels = picture(5, SIDE)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    data = encoded(Image.fromarray(levels), "PNG", exif=exif)
    assert np.array_equal(whole(data), np.rot90(levels, -1))


def test_grey_of_16_bits_is_divided_by_257() -> None:
    """Pillow alone would clip at 255: nearly all would be white."""
    grey = np.linspace(0, 65535, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    levels = whole(encoded(Image.fromarray(grey), "PNG"))
    assert np.array_equal(levels[:, :, 0], np.rint(grey / 257).astype(np.uint8))
    assert np.array_equal(levels[:, :, 1], levels[:, :, 2])


def test_grey_in_floating_point_is_taken_as_0_to_1() -> None:
    grey = np.linspace(-0.5, 1.5, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    grey[0, 0] = np.nan
    levels = whole(encoded(Image.fromarray(grey), "TIFF"))[:, :, 0]
    expected = np.rint(np.clip(np.nan_to_num(grey.astype(float)), 0, 1) * 255)
    assert np.array_equal(levels, expected)


def test_colours_become_rgb() -> None:
    levels = picture(6, SIDE)
    grey = Image.fromarray(levels).convert("L")
    assert np.array_equal(whole(encoded(grey, "PNG")), np.asarray(grey.convert("RGB")))
    palette = Image.fromarray(levels).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(whole(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    alpha = Image.fromarray(np.dstack([levels, np.full((SIDE, SIDE), 9, np.uint8)]))
    assert np.array_equal(whole(encoded(alpha, "PNG")), levels)  # the alpha channel is dropped


@pytest.mark.parametrize(("stride", "steps"), [(None, (0, 64)), (32, (0, 32, 64, 96))])
def test_tiles_come_row_by_row_and_incomplete_ones_drop(
    stride: int | None, steps: tuple[int, ...]
) -> None:
    levels = picture(7, 160)[:130]
    tiles = decode(
        encoded(Image.fromarray(levels), "PNG"), max_pixels=LIMIT, tile=64, stride=stride
    )
    corners = [(x, y) for y in steps if y + 64 <= 130 for x in steps if x + 64 <= 160]
    assert [tile.suffix for tile in tiles] == [f"#{x},{y}" for x, y in corners]
    for tile, (x, y) in zip(tiles, corners, strict=True):
        assert (tile.width, tile.height) == (64, 64)
        assert tile.pixels == levels[y : y + 64, x : x + 64].tobytes()


GOOD = encoded(Image.fromarray(picture(8)), "PNG")


def test_a_frame_smaller_than_a_tile_is_too_small() -> None:
    reason = refused(GOOD, tile=100)
    assert reason.code == "too_small"
    assert "72x72 px hold no tile of 100 px" in reason.message


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.booleans())
def test_whatever_the_bytes_nothing_else_is_raised(noise: bytes, cut: int, after: bool) -> None:
    data = GOOD[:cut] + noise + (GOOD[cut + len(noise) :] if after else b"")
    code = "usable"
    try:
        tiles = decode(data, max_pixels=LIMIT, tile=None, stride=None)
        assert [type(tile) for tile in tiles] == [Tile]
    except Unusable as reason:
        code = reason.code
    assert code in ("usable", *CODES)


def test_pillows_own_limit_is_put_back() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode(GOOD, max_pixels=LIMIT, tile=None, stride=None)
    refused(png_of(40_000))
    assert before == Image.MAX_IMAGE_PIXELS


def test_levels_are_scaled_to_minus_1_to_1() -> None:
    numbers = scale(np.array([0, 51, 255], np.uint8))
    assert numbers.dtype == np.float32
    assert numbers == pytest.approx([-1, -0.6, 1])


def test_a_hash_is_sha256() -> None:
    assert sha256(GOOD) == hashlib.sha256(GOOD).hexdigest()


def test_a_jpeg_shows_the_image_and_a_lower_quality_is_smaller() -> None:
    levels = picture(9, SIDE)
    data = jpeg(levels.reshape(-1), 95)
    shown = np.asarray(Image.open(io.BytesIO(data)), float)
    assert np.abs(shown - levels).mean() < 3
    assert len(jpeg(levels.reshape(-1), 40)) < len(data)


def test_tiles_of_a_frame_are_a_stream(tmp_path: Path) -> None:
    """13,225 tiles take 160 MB if all are held at once."""
    (tmp_path / "frame").write_bytes(encoded(Image.new("RGB", (1000, 1000)), "PNG"))
    whole_frame = peak_bytes(tmp_path / "frame")
    assert peak_bytes(tmp_path / "frame", tile=80, stride=8) - whole_frame < 40 << 20


def test_a_large_colour_profile_is_no_reason_to_lose_an_image() -> None:
    """Pillow refuses those above 1 MB."""
    levels = picture(3, SIDE)
    profile = np.random.default_rng(0).bytes(3 << 20)
    assert np.array_equal(
        whole(encoded(Image.fromarray(levels), "PNG", icc_profile=profile)), levels
    )


def test_a_lack_of_memory_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of the file, so it must not become a row of rejects."""

    def refuse(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    with pytest.raises(MemoryError):
        whole(GOOD)


def test_the_size_of_a_frame_stands_in_its_header() -> None:
    image = Image.fromarray(picture(2, 100)).crop((0, 0, 100, 80))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        assert decoding.frame_size(encoded(image, kind)) == (100, 80)
    with pytest.raises(Unusable):
        decoding.frame_size(b"%!PS-Adobe-3.0 EPSF-3.0")
