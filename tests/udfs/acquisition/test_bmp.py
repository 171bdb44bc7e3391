"""BMP pictures of 16 bits a pixel: 5 bits of red, 6 of green and 5 of blue."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.decoding import LIMIT, refused
from tests.support.pictures import picture
from udfs.acquisition import decode


def bmp(levels: NDArray[np.uint8], *, upside_down: bool = False) -> bytes:
    """A BMP of (h, w, 3) levels; its rows go up as a rule, and down if the height is negative."""
    height, width, _ = levels.shape
    red, green, blue = (levels[..., band].astype(np.uint16) for band in range(3))
    values = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    values = np.pad(values, ((0, 0), (0, width % 2)))  # rows fill four bytes
    rows = (values if upside_down else values[::-1]).astype("<u2").tobytes()
    signed = -height if upside_down else height
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    info = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, 16, 3, len(rows), 0, 0, 0, 0) + masks
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + rows


def shown(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(decode.frame(data, LIMIT).image)


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("width", [64, 63])
def test_levels_of_5_and_6_bits_fill_those_of_8(width: int, upside_down: bool) -> None:
    levels = picture(1, 64)[:, :width].copy()
    levels[0, 0], levels[0, 1] = 0, 255
    right = np.stack(
        [
            np.rint((levels[..., band] >> drop) * (255 / most))
            for band, (drop, most) in enumerate([(3, 31), (2, 63), (3, 31)])
        ],
        axis=2,
    )
    assert np.array_equal(shown(bmp(levels, upside_down=upside_down)), right)
    assert right[0, 0].tolist() == [0, 0, 0]
    assert right[0, 1].tolist() == [255, 255, 255]


def test_one_that_is_cut_is_told() -> None:
    data = bmp(picture(1, 64))
    reason = refused(data[:-1])
    assert reason.code == "truncated"
    assert f"the file ends at {len(data) - 1} of {len(data)} bytes" in reason.message
    assert refused(data, max_pixels=64 * 64 - 1).code == "too_large"
