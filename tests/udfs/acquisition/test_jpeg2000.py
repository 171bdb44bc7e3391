"""JPEG 2000 of several bands: in full depth where imagecodecs is installed, else refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.decoding import LIMIT, refused, whole
from tests.support.deep_pictures import expected, scene, whole_numbers
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode
from udfs.acquisition.jpeg2000 import Header, header
from udfs.acquisition.ranges import Depth
from udfs.acquisition.unusable import Unusable

BANDS = 42  # where the header of a bare codestream says what each band has, three bytes each


def plain(**options: Any) -> bytes:
    """A JPEG 2000 of RGB in 8 bits."""
    return encoded(Image.fromarray(picture(1, 64)), "JPEG2000", **options)


def of_bits(bits: int) -> bytes:
    """A codestream whose header states so many bits; its pixels are of 8."""
    data = bytearray(plain(no_jp2=True))
    data[BANDS : BANDS + 9 : 3] = bytes([bits - 1] * 3)
    return bytes(data)


def test_the_header_tells_size_bands_and_bits() -> None:
    assert header(plain()) == header(plain(no_jp2=True)) == Header(64, 64, 3, 8)
    assert header(of_bits(12)) == Header(64, 64, 3, 12)
    signed = bytearray(of_bits(16))
    signed[BANDS] |= 0x80
    assert header(bytes(signed)) == Header(64, 64, 3, 16)


def test_what_is_no_codestream_or_is_cut_has_no_header() -> None:
    data = plain(no_jp2=True)
    assert header(b"") is None
    assert header(b"\0" + data) is None
    assert header(data[: BANDS + 4]) is None


def test_8_bits_are_read_by_pillow() -> None:
    assert np.array_equal(whole(plain()), picture(1, 64))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_several_deep_bands_are_refused_without_the_package(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Pillow alone the brightest values would be shown as black."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # as if it were not installed
    reason = refused(of_bits(bits))
    assert reason.code == "unsupported_format"
    assert reason.message.startswith(f"a JPEG 2000 of 3 bands of {bits} bits is not read without")


def test_a_grey_picture_of_16_bits_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    values = whole_numbers(scene(1), 65535)
    frame = decode.frame(encoded(Image.fromarray(values), "JPEG2000"), LIMIT, Depth("auto"))
    assert np.array_equal(np.asarray(frame.image), expected(values, 0, 65535))


def deep(values: NDArray[Any], bits: int = 16) -> bytes:
    """A lossless JPEG 2000 by the package that reads such."""
    codecs = pytest.importorskip("imagecodecs")
    data: bytes = codecs.jpeg2k_encode(values, bitspersample=bits, reversible=True, level=0)
    return data


@pytest.mark.parametrize("bits", [12, 16])
def test_several_deep_bands_are_shown_in_full_depth(bits: int) -> None:
    most = 2**bits - 1
    values = whole_numbers(scene(2, 3), most)
    frame = decode.frame(deep(values, bits), LIMIT, Depth("auto"))
    assert frame.shown == (0.0, most)
    assert np.array_equal(np.asarray(frame.image), expected(values, 0, most))


def test_a_fourth_band_is_left_out_and_is_the_drawing_of_one_colour() -> None:
    values = whole_numbers(scene(3, 4), 65535)
    frame = decode.frame(deep(values), LIMIT, Depth("auto"))
    assert np.array_equal(np.asarray(frame.image), expected(values[..., :3], 0, 65535))
    values[..., :3] = 0
    frame = decode.frame(deep(values), LIMIT, Depth("full"))
    drawn = 255 - expected(values[..., 3], 0, 65535).astype(int)
    assert np.abs(np.asarray(frame.image) - drawn).max() <= 1


def test_bands_that_the_settings_choose() -> None:
    values = whole_numbers(scene(4, 7), 4095)
    data = deep(values, 12)
    frame = decode.frame(data, LIMIT, Depth("auto", bands=(7, 2, 4)))
    assert np.array_equal(np.asarray(frame.image), expected(values[..., [6, 1, 3]], 0, 4095))
    frame = decode.frame(data, LIMIT, Depth("auto"))
    assert np.array_equal(np.asarray(frame.image), expected(values[..., :3], 0, 4095))
    with pytest.raises(Unusable, match=r"it has 7 bands, and ingest\.bands names band 8"):
        decode.frame(data, LIMIT, Depth("auto", bands=(8, 2, 4)))


def test_it_is_refused_by_its_size_and_where_it_is_cut() -> None:
    values = whole_numbers(scene(4, 7), 4095)
    data = deep(values, 12)
    with pytest.raises(Unusable, match="too_large"):
        decode.frame(data, values.shape[0] * values.shape[1] - 1, Depth("auto"))
    with pytest.raises(Unusable, match=r"truncated|unreadable"):
        decode.frame(data[: len(data) // 2], LIMIT, Depth("auto"))
