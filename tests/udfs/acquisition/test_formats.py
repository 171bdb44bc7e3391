"""Formats that are rarer, and those that need a further package: read, or refused by name."""

from __future__ import annotations

import importlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

from tests.support.decoding import LIMIT, refused, whole
from tests.support.deep_pictures import expected, scene, whole_numbers
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode, formats, limits
from udfs.acquisition.ranges import Depth

HEIC = b"\0\0\0\x18ftypheix" + bytes(90)
JPEG_XL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90)


def test_jpeg_2000_is_read_in_8_and_16_bits() -> None:
    levels = picture(1, 64)
    data = encoded(Image.fromarray(levels), "JPEG2000")
    assert np.array_equal(whole(data), levels)
    assert np.array_equal(whole(encoded(Image.fromarray(levels), "JPEG2000", no_jp2=True)), levels)
    values = whole_numbers(scene(1), 65535)
    frame = decode.frame(encoded(Image.fromarray(values), "JPEG2000"), LIMIT, Depth("auto"))
    assert frame.shown == (0.0, 65535.0)
    assert np.array_equal(np.asarray(frame.image), expected(values, 0, 65535))


def test_avif_is_read() -> None:
    levels = picture(2, 64)
    shown = whole(encoded(Image.fromarray(levels), "AVIF", quality=100, subsampling="4:4:4"))
    assert np.abs(shown.astype(int) - levels).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG2000", "AVIF"])
def test_they_are_refused_by_size_before_they_are_decoded(kind: str) -> None:
    data = encoded(Image.fromarray(picture(2, 64)), kind)
    assert refused(data, max_pixels=64 * 64 - 1).code == "too_large"
    assert refused(data[: len(data) // 2]).code in ("truncated", "unreadable", "unsupported_format")


@pytest.mark.parametrize(
    ("data", "name", "module"), [(HEIC, "HEIC", "pillow_heif"), (JPEG_XL, "JPEG XL", "pillow_jxl")]
)
def test_what_needs_a_package_is_refused_with_what_to_install(
    data: bytes, name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    reason = refused(data)
    assert reason.code == "unsupported_format"
    assert reason.message.startswith(f"{name} is not read here: install what reads it")
    assert formats.INSTALL in reason.message


def test_a_heic_picture_is_read_where_its_package_is_installed() -> None:
    pytest.importorskip("pillow_heif")
    importlib.import_module("pillow_heif").register_heif_opener()
    levels = picture(3, 64)
    data = encoded(Image.fromarray(levels), "HEIF", quality=100, chroma=444)
    assert np.abs(whole(data).astype(int) - levels).max() <= 6
    assert refused(data, max_pixels=64 * 64 - 1).code == "too_large"


def test_a_jpeg_xl_picture_is_read_where_its_package_is_installed() -> None:
    pytest.importorskip("pillow_jxl")
    levels = picture(4, 64)
    data = encoded(Image.fromarray(levels), "JXL", lossless=True)
    assert np.array_equal(whole(data), levels)
    assert refused(data, max_pixels=64 * 64 - 1).code == "too_large"
    values = whole_numbers(scene(1), 4095)
    target = io.BytesIO()
    Image.fromarray(values).save(target, "JXL", lossless=True)
    frame = decode.frame(target.getvalue(), LIMIT, Depth("auto"))
    assert frame.shown == (0.0, 4095.0)
    assert np.array_equal(np.asarray(frame.image), expected(values, 0, 4095))


def jpeg_xl_header(fields: list[tuple[int, int]]) -> bytes:
    """The first bytes of a codestream: numbers of so many bits, the lowest bit first."""
    number, place = 0, 0
    for value, bits in fields:
        number |= value << place
        place += bits
    return b"\xff\x0a" + number.to_bytes(12, "little")


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        ([(1, 1), (7, 5), (1, 3)], 64 * 64),  # small: eight times (n + 1); ratio 1:1
        ([(1, 1), (7, 5), (0, 3), (9, 5)], 64 * 80),
        ([(0, 1), (0, 2), (99, 9), (0, 3), (1, 2), (999, 13)], 100 * 1000),
        ([(0, 1), (3, 2), (2**29, 30), (7, 3)], (2**29 + 1) * (2**30 + 2)),
        ([(0, 1), (1, 2), (1079, 13), (5, 3)], 1080 * 1920),
    ],
)
def test_the_size_of_a_jpeg_xl_frame_stands_in_its_header(
    fields: list[tuple[int, int]], pixels: int
) -> None:
    header = jpeg_xl_header(fields)
    assert limits.jpeg_xl_pixels(header) == pixels
    boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl \0\0\0\0jxlc" + header
    assert limits.jpeg_xl_pixels(boxed) == pixels
    assert limits.jpeg_xl_pixels(b"RIFF" + bytes(40)) == 0
