"""JPEG 2000 pictures of several bands of more than 8 bits, and of more than four bands.

Pillow keeps 8 bits of each value of several bands, rounds the highest ones to a level beyond white,
and shows those as black; more than four bands it does not open. Use `read` on the bytes of a file:
imagecodecs decodes such in full depth where it is installed (requirements-formats.txt).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udfs.acquisition import limits
from udfs.acquisition.formats import INSTALL
from udfs.acquisition.ranges import full, kind_of, levels
from udfs.acquisition.samples import Samples
from udfs.acquisition.unusable import Unusable, too_large

_START = b"\xff\x4f\xff\x51"  # of a codestream: its markers SOC and SIZ
_FILE = b"\x00\x00\x00\x0cjP  "
_LOOKED_AT = 2**24  # bytes before the codestream: colour profiles and other boxes
_PALETTE = b"pclr"  # the box of a palette, whose bands are not those of the codestream
# Bytes after the start: the right lower corner, the left upper one, the number of bands, and what
# is said of each band.
_CORNER, _ORIGIN, _COUNT, _FIRST = 8, 16, 40, 42
_EIGHT, _COLOURS, _OF_PILLOW = 8, 3, 4


class Header(NamedTuple):
    """What a codestream says of its picture: width, height, bands, and the most bits of one."""

    width: int
    height: int
    bands: int
    bits: int


def header(data: bytes) -> Header | None:
    """Return what the header of a JPEG 2000 file says; None if it is none, or has a palette."""
    start = 0
    if data.startswith(_FILE):
        start = data.find(_START, 0, _LOOKED_AT)
    if start < 0 or not data.startswith(_START, start) or _PALETTE in data[: min(start, 65536)]:
        return None

    def number(at: int, size: int = 4) -> int:
        return int.from_bytes(data[start + at : start + at + size])

    count = number(_COUNT, 2)
    each = data[start + _FIRST : start + _FIRST + 3 * count : 3]
    if not count or len(each) < count:
        return None
    return Header(
        number(_CORNER) - number(_ORIGIN),
        number(_CORNER + 4) - number(_ORIGIN + 4),
        count,
        # The highest bit says whether the values are signed; the others are the bits less one.
        max(1 + (byte & 0x7F) for byte in each),
    )


def read(data: bytes, max_pixels: int, bands: tuple[int, ...]) -> Samples | None:
    """Return the samples of a picture that Pillow reads wrongly or not at all; None of any other.

    Raises Unusable without imagecodecs, or what the package raises for broken data.

    Args:
        data: the bytes of a file.
        max_pixels: the most of the frame.
        bands: those that are shown of more than three, from 1; none: the first three.

    """
    found = header(data)
    if found is None or not _is_beyond_pillow(found, bands):
        return None
    if found.width * found.height > max_pixels:
        raise too_large(f"{found.width}x{found.height} px", max_pixels)
    limits.check_memory(found.width * found.height * max(1, found.bands // _COLOURS))
    try:
        decode = import_module("imagecodecs").jpeg2k_decode
    except ImportError:
        raise Unusable(
            "unsupported_format",
            f"a JPEG 2000 of {found.bands} bands of {found.bits} bits is not read without the "
            f"package imagecodecs: {INSTALL}",
        ) from None
    values: NDArray[Any] = decode(data)
    is_stated = values.dtype.kind == "u" and found.bits < 8 * values.dtype.itemsize
    bits = found.bits if is_stated else 0
    colours = values[..., _shown(found.bands, bands)]
    has_alpha = found.bands in (2, 4) and not bands and values.dtype.kind == "u"
    return Samples(
        (values.shape[1], values.shape[0]),
        colours.shape[2],
        values.dtype,
        bits,
        lambda top, bottom: colours[top:bottom],
        alpha=_alpha(values[..., -1], bits) if has_alpha else None,
    )


def _is_beyond_pillow(found: Header, bands: tuple[int, ...]) -> bool:
    if found.bands == 1:
        return False
    is_chosen = bool(bands) and found.bands > _COLOURS
    return found.bits > _EIGHT or found.bands > _OF_PILLOW or is_chosen


def _shown(count: int, bands: tuple[int, ...]) -> list[int]:
    """Return the places of the bands that are shown."""
    if not bands or count <= _COLOURS:
        return list(range(_COLOURS)) if count >= _COLOURS else [0]
    if max(bands) > count:
        raise Unusable(
            "unsupported_format",
            f"it has {count} bands, and ingest.bands names band {max(bands)}: name bands that all "
            "files have",
        )
    return [band - 1 for band in bands]


def _alpha(values: NDArray[Any], bits: int) -> Image.Image:
    return Image.fromarray(levels(values, full(kind_of(np.dtype(values.dtype), bits, 1))))
