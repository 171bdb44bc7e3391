"""Pictures of more than 8 bits that Pillow opens: all their bits, and not the upper ones alone."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.decoding import LIMIT, peak_bytes
from tests.support.deep_pictures import expected, png, scene, tiff, whole_numbers
from tests.support.hostile_files import chunk
from tests.support.pictures import encoded
from udfs.acquisition import decode, levels
from udfs.acquisition.ranges import Depth, Range

AUTO = Depth("auto")
GREY, COLOURS = scene(1), scene(2, 3)


def shown(data: bytes, depth: Depth = AUTO) -> tuple[NDArray[np.uint8], Any]:
    frame = decode.frame(data, LIMIT, depth)
    return np.asarray(frame.image), frame.shown


def colour_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits in 2 (grey, alpha), 3 or 4 bands, each row filtered in another way."""
    height, width, bands = values.shape
    colour = {2: 4, 3: 2, 4: 6}[bands]
    raw = values.astype(">u2").reshape(height, -1).view(np.uint8)
    left = np.zeros_like(raw)
    left[:, 2 * bands :] = raw[:, : -2 * bands]
    rows = [
        bytes([n % 2]) + (raw[n] - (left[n] if n % 2 else 0)).astype(np.uint8).tobytes()
        for n in range(height)
    ]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("most", [1023, 4095, 65535])
def test_grey_is_shown_with_the_bits_that_are_used(most: int) -> None:
    values = whole_numbers(GREY, most)
    for data in (png(values), tiff(values), tiff(values, byteorder=">")):
        image, used = shown(data)
        assert used == (0, most)
        assert np.array_equal(image, expected(values, 0, most))
        assert len(np.unique(image)) > 200


def test_full_is_what_the_type_holds() -> None:
    values = whole_numbers(GREY, 4095)
    image, used = shown(png(values), Depth("full"))
    assert used == (0, 65535)
    assert np.array_equal(image, expected(values, 0, 65535))
    image, used = shown(png(values), Depth((100.0, 300.0)))
    assert used == (100, 300)
    assert np.array_equal(image, expected(values, 100, 300))


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("most", [4095, 65535])
def test_colours_keep_both_bytes(bands: int, most: int) -> None:
    """Pillow alone has the upper byte: of 12 bits 16 levels would be left."""
    values = whole_numbers(scene(3, bands), most)
    extra: dict[str, Any] = {"extrasamples": ["unassalpha"]} if bands == 4 else {}
    for data in (
        colour_png(values),
        tiff(values, **extra),
        tiff(values, compression="zlib", predictor=True, **extra),
        tiff(values, compression="zlib", byteorder=">", **extra),
    ):
        image, used = shown(data)
        high = 2.0 ** int(values[..., :3].max()).bit_length() - 1
        assert used == (0, high)
        assert np.array_equal(image, expected(values[..., :3], 0, high))


def test_grey_with_transparency_keeps_both_bytes() -> None:
    values = np.stack([whole_numbers(GREY, 4095), np.full(GREY.shape, 65535)], axis=2)
    image, used = shown(colour_png(values.astype(np.uint16)))
    assert used == (0, 4095)
    assert np.array_equal(image, expected(values[..., 0], 0, 4095))


def test_a_drawing_in_alpha_alone_is_seen_in_16_bits_too() -> None:
    values = np.zeros((72, 72, 4), np.uint16)
    values[20:40, 10:60, 3] = 65535
    image, _ = shown(colour_png(values))
    assert image[30, 30].tolist() == [0, 0, 0]
    assert image[0, 0].tolist() == [255, 255, 255]


def test_a_chunk_that_states_the_bits_is_believed_if_the_values_fit() -> None:
    dark = whole_numbers(GREY, 150)
    assert shown(png(dark, significant=12))[1] == (0, 4095)
    assert shown(png(dark))[1] == (0, 255)
    upper = whole_numbers(GREY, 4095) << 4  # as the standard has it
    assert shown(png(upper, significant=12))[1] == (0, 65535)


def test_a_tag_that_states_the_greatest_value_is_believed() -> None:
    dark = whole_numbers(GREY, 150)
    data = tiff(dark, extratags=[(281, "H", 1, 4095, True)])
    image, used = shown(data)
    assert used == (0, 4095)
    assert np.array_equal(image, expected(dark, 0, 4095))


def test_white_is_zero_is_inverted() -> None:
    values = whole_numbers(GREY, 65535)
    image, _ = shown(tiff(values, photometric="miniswhite"))
    assert np.array_equal(image, 255 - expected(values, 0, 65535))


@pytest.mark.parametrize(
    ("values", "used"),
    [
        ((GREY * 255).astype("f4"), (0, 255)),
        ((GREY * 534 + 812).astype("f4"), (812, 1346)),
        (whole_numbers(GREY, 4095).astype("i2") - 1024, (-1024, 3071)),
        (whole_numbers(GREY, 2**31 - 1, "i4"), (0, 2**31 - 1)),
    ],
)
def test_signed_and_floating_point_values_are_shown(values: NDArray[Any], used: Range) -> None:
    image, low_high = shown(tiff(values))
    assert low_high == used
    assert np.array_equal(image, expected(values, *used))


def test_what_stands_for_no_data_is_black_and_does_not_count() -> None:
    heights = (GREY * 534 + 812).astype("f4")
    for odd, tag in ((np.nan, ""), (np.nan, "nan"), (-9999, "-9999"), (900, "900")):
        values = heights.copy()
        values[:9] = odd
        image, used = shown(tiff(values, no_data=tag))
        known = heights[9:]
        assert used == (known.min(), known.max())
        assert not image[:9].any()
        assert np.array_equal(image[9:], expected(known, known.min(), known.max()))


def test_a_fixed_range_is_used_and_8_bits_have_none() -> None:
    values = whole_numbers(GREY, 4095)
    fixed = Depth("auto", {"uint16": (0.0, 2047.0)})
    image, used = shown(png(values), fixed)
    assert used == (0, 2047)
    assert np.array_equal(image, expected(values, 0, 2047))
    eight = np.asarray(expected(GREY, 0, 1))
    image, used = shown(encoded(Image.fromarray(eight), "PNG"), Depth((0.0, 10.0)))
    assert used is None
    assert np.array_equal(image, eight)


def test_the_range_is_that_of_the_frame_and_its_tiles_share_it() -> None:
    values = whole_numbers(scene(5, side=128), 4095)
    values[:64, :64] >>= 4
    tiles = decode.decode(png(values), max_pixels=LIMIT, tile=64, stride=None, depth=AUTO)
    assert {tile.shown for tile in tiles} == {(0, 4095)}
    first = np.frombuffer(tiles[0].pixels, np.uint8).reshape(64, 64, 3)
    assert np.array_equal(first, expected(values[:64, :64], 0, 4095))


def test_the_orientation_is_applied_once() -> None:
    values = whole_numbers(scene(6)[:40], 65535)
    turned = expected(values, 0, 65535)
    turns = {3: np.rot90(turned, 2), 6: np.rot90(turned, -1), 8: np.rot90(turned)}
    for orientation, right in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        target = io.BytesIO()
        Image.fromarray(values).save(target, "PNG", exif=exif)
        for data in (
            target.getvalue(),
            tiff(values, extratags=[(274, "H", 1, orientation, True)]),
            tiff(values.astype("u4") * 65537, extratags=[(274, "H", 1, orientation, True)]),
        ):
            assert np.array_equal(shown(data)[0], right)


def test_it_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    values = whole_numbers(COLOURS, 4095)
    data = tiff(values)
    whole = shown(data)
    monkeypatch.setattr(levels, "STRIP", 700)
    in_strips = shown(data)
    assert in_strips[1] == whole[1]
    assert np.array_equal(in_strips[0], whole[0])


def test_the_spread_of_a_file_is_told_with_its_kind() -> None:
    values = whole_numbers(COLOURS, 4095)
    found = decode.spread(tiff(values), LIMIT, ())
    assert found is not None
    kind, spread = found
    assert kind == "uint16x3"
    assert (spread.edges[0], spread.edges[-1]) == (0, 4095)
    assert decode.spread(encoded(Image.new("RGB", (9, 9)), "PNG"), LIMIT, ()) is None
    assert decode.spread(tiff(np.full((9, 9), np.nan, "f4")), LIMIT, ()) is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "planes"])
def test_a_deep_frame_takes_a_few_bytes_a_pixel(kind: str, tmp_path: Path) -> None:
    """In a process of its own: 16-bit grey, floating point, three bands of unsigned 32 bits."""
    side = 3000
    if kind == "planes":
        data = tiff(np.zeros((side, side, 3), np.uint32), planarconfig="separate", compression=8)
    else:
        grey = np.zeros((side, side), np.uint16 if kind == "PNG" else np.float32)
        data = encoded(Image.fromarray(grey), kind)
    (tmp_path / "deep").write_bytes(data)
    small = np.zeros((8, 8), np.uint16)
    (tmp_path / "small").write_bytes(png(small) if kind != "planes" else tiff(small.astype("u4")))
    peaks = [peak_bytes(tmp_path / name) for name in ("small", "deep")]
    assert peaks[1] - peaks[0] < (36 if kind == "planes" else 12) * side * side


def test_a_file_is_known_to_be_of_8_bits_by_its_first_bytes() -> None:
    from udfs.acquisition.samples import HEAD, may_be_deep

    for mode in ("RGB", "L"):
        for kind in ("JPEG", "GIF", "WEBP", "BMP", "PNG", "TIFF"):
            assert not may_be_deep(encoded(Image.new(mode, (9, 9)), kind)[:HEAD])
    assert may_be_deep(png(whole_numbers(GREY, 4095))[:HEAD])
    assert may_be_deep(tiff(whole_numbers(GREY, 4095))[:HEAD])
    values = np.full((9, 9), 7, np.uint8)
    for deep in (
        tiff(values.astype(np.int8)),
        tiff(values, extratags=[(281, 3, 1, 127, True)]),  # the greatest value: 7 bits
        tiff(np.stack([values, values]).astype(np.uint8), photometric="minisblack"),  # two pages
        tiff(values, bigtiff=True),
        tiff(values, byteorder=">")[:40],  # cut off within the directory
        encoded(Image.new("F", (9, 9)), "TIFF"),
    ):
        assert may_be_deep(deep[:HEAD])
