"""Pictures whose samples have more than 8 bits, or another number of bands, as 8-bit RGB.

Use `of_image` on what Pillow opens; `tiff` makes `Samples` of the files that Pillow cannot read.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from udfs.acquisition import levels
from udfs.acquisition.metadata import PNG
from udfs.acquisition.ranges import Depth, Range, Spread, fitted, kind_of, spread
from udfs.acquisition.ranges import levels as levels_of

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_INVERTED = 0  # TIFF's photometric interpretation WhiteIsZero
# Tags of TIFF that state the values: the greatest value, and what stands for no data (GDAL's).
_MOST, _SAMPLES_MOST, NO_DATA = 281, 341, 42113
_BITS, _PHOTOMETRIC, _FORMAT, _SUBFILES = 258, 262, 339, 330
_SHORT = 3  # TIFF's type of 16 bits
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}  # first bytes -> the order of bytes
HEAD = 512  # bytes of a file that tell of most whether they have 8 bits
# First bytes of formats of 8 bits: JPEG, GIF, WebP, BMP; where PNG states its bits.
NARROW = (b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")
PNG_DEPTH = 24
_SBIT = b"sBIT"  # PNG's chunk of significant bits

# (first row, row after the last) -> values of (rows, width, bands)
Rows = Callable[[int, int], NDArray[np.generic]]


@dataclass(frozen=True)
class Samples:
    """The values of a picture, in the bands that are shown: one (grey) or three.

    dtype: of the values. bits: how many of its bits tags state, or 0. rows: reads rows of (rows,
    width, bands). no_data: the value that stands for none. inverted: whether white is the least
    value. alpha: the transparency in 8 bits, if there is any.
    """

    size: tuple[int, int]
    bands: int
    dtype: np.dtype[np.generic]
    bits: int
    rows: Rows
    no_data: float | None = None
    inverted: bool = False
    alpha: Image.Image | None = None

    @property
    def kind(self) -> str:
        """What the pictures that share a range have in common."""
        return kind_of(self.dtype, self.bits, self.bands)

    @property
    def is_deep(self) -> bool:
        """Whether a range decides what is shown; else the values are levels 0…255."""
        return self.dtype != np.uint8 or self.bits not in (0, 8)

    def spread(self) -> Spread | None:
        """Return how the values spread; None if none is finite."""
        parts = (values[known] for values, known in self._strips())
        return spread(parts, self.size[0] * self.size[1] * self.bands)

    def shown(self, depth: Depth) -> tuple[Image.Image, Range | None]:
        """Return the picture in RGB and the range that it was shown with; None if in 8 bits."""
        shown = None
        if self.is_deep:
            shown = depth.range_of(self.kind) or fitted(self.kind, self.spread(), str(depth.rule))
        image = Image.new("L" if self.bands == 1 else "RGB", self.size)
        top = 0
        for values, known in self._strips():
            strip = values.astype(np.uint8) if shown is None else levels_of(values, shown)
            strip = np.where(known, 255 - strip if self.inverted else strip, np.uint8(0))
            image.paste(Image.fromarray(strip.squeeze(2) if self.bands == 1 else strip), (0, top))
            top += len(strip)
        rgb = image.convert("RGB")
        if self.alpha is not None and levels.is_flat(rgb):
            rgb = levels.drawn_by_alpha(rgb, self.alpha)
        return rgb, shown

    def _strips(self) -> Iterator[tuple[NDArray[np.generic], NDArray[np.bool_]]]:
        """Yield the values in strips, and which of them stand for data."""
        for top, bottom in levels.strips(self.size):
            values = self.rows(top, bottom)
            known = np.ones(values.shape, np.bool_)
            if values.dtype.kind == "f":
                known &= np.isfinite(values)
            if self.no_data is not None:
                known &= values != self.no_data
            yield values, known


def may_be_deep(head: bytes) -> bool:
    """Return whether a file may have more than 8 bits, by its first HEAD bytes."""
    if head.startswith(PNG):
        return head[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10"
    if head.startswith(tuple(_TIFF)):
        return not _is_tiff_of_8_bits(head)
    return not head.startswith(NARROW)


def _is_tiff_of_8_bits(head: bytes) -> bool:
    """Whether a TIFF is known to hold one picture, of 8 bits without a stated greatest value.

    False as well if its directory does not lie within these bytes.
    """
    order = _TIFF[head[:4]]
    try:
        (at,) = struct.unpack_from(order + "I", head, 4)
        (count,) = struct.unpack_from(order + "H", head, at)
        fields = [struct.unpack_from(order + "HHI", head, at + 2 + 12 * n) for n in range(count)]
        places = {tag: at + 10 + 12 * n for n, (tag, _, _) in enumerate(fields)}
        (following,) = struct.unpack_from(order + "I", head, at + 2 + 12 * count)
        values = {}
        for tag, kind, number in fields:
            if tag in (_BITS, _FORMAT):
                place = places[tag]
                if number > 2:  # they do not fit into the field, which says where they are
                    (place,) = struct.unpack_from(order + "I", head, place)
                values[tag] = set(struct.unpack_from(f"{order}{number}H", head, place))
                if kind != _SHORT:
                    return False
    except struct.error:
        return False
    others = {_MOST, _SAMPLES_MOST, _SUBFILES} & places.keys()
    in_8_bits = values.get(_BITS) == {8} and values.get(_FORMAT, {1}) == {1}
    return in_8_bits and not following and not others


def of_image(image: Image.Image, data: bytes) -> Samples | None:
    """Return the samples of a picture that Pillow has opened; None if they have 8 bits or fewer.

    image: may be loaded, and is used up. data: the file.
    """
    if isinstance(image, ImageFile.ImageFile) and (how := _sixteen_bits(image)):
        return _of_colours(image, data, how)
    if image.mode not in (*_SIXTEEN_BIT, "I", "F"):
        return None
    image.load()  # a TIFF is turned by it
    stored, bits = _stored(image, data)
    no_data, inverted = None, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        no_data = number(image.tag_v2.get(NO_DATA))
        inverted = image.tag_v2.get(_PHOTOMETRIC) == _INVERTED

    def rows(top: int, bottom: int) -> NDArray[np.generic]:
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        return strip.astype(stored)[..., None]

    return Samples(image.size, 1, stored, bits, rows, no_data, inverted)


def stated_bits(values: Any, bits: int) -> int:
    """Return the bits that a tag's greatest value fills; 0 if it is no such number, or all.

    values: the tag's, a number or several. bits: those of the type.
    """
    greatest = max(values, default=0) if isinstance(values, tuple | list) else values
    if not isinstance(greatest, int | float) or greatest != int(greatest):
        return 0
    filled = int(greatest).bit_length()
    return filled if 1 < filled < bits and greatest == 2**filled - 1 else 0


def number(text: Any) -> float | None:
    """Return the number that a tag holds as text; None if it is none, or not finite."""
    try:
        value = float(str(text).strip("\0 "))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _stored(image: Image.Image, data: bytes) -> tuple[np.dtype[np.generic], int]:
    """Return the type of samples as the file has them, and the bits that it states."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        (bits, *_), (form, *_) = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
        dtype = np.dtype(f"{'?uif'[form]}{max(2, bits // 8)}") if form in (1, 2, 3) else None
        if dtype is None or bits % 8:
            return np.dtype("u2" if image.mode != "F" else "f4"), bits if bits < 16 else 0
        most = tags.get(_SAMPLES_MOST, tags.get(_MOST))
        return dtype, stated_bits(most, bits) if form == 1 else 0
    if image.mode == "F":
        return np.dtype("f4"), 0
    return np.dtype("u2"), _significant_bits(data)


def _significant_bits(data: bytes) -> int:
    """Return the bits that a 16-bit PNG states; 0 if it does not, or is no PNG."""
    start = data.find(_SBIT, 0, 4096) if data.startswith(PNG) else -1
    if start < 0:
        return 0
    length = int.from_bytes(data[start - 4 : start])
    bits = max(data[start + 4 : start + 4 + min(length, 3)], default=0)
    return bits if 1 < bits < 16 else 0


def _sixteen_bits(image: ImageFile.ImageFile) -> str:
    """Return how Pillow reads colours of 16 bits, such as "RGB;16B"; "" of other pictures."""
    if image.mode not in ("RGB", "RGBA") or not image.tile:
        return ""
    arguments = image.tile[0].args
    how = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return how if isinstance(how, str) and ";16" in how else ""


def _low_bytes(how: str) -> str:
    """Return how Pillow reads the low bytes of colours, of which it keeps the high ones.

    It is told that the other byte comes first. Grey with transparency is read as four bytes.
    """
    if how == "LA;16B":
        return "RGBA"
    native, other = ("L", "B") if sys.byteorder == "little" else ("B", "L")
    return how[:-1] + (native if how[-1] == other else other)


def _of_colours(image: ImageFile.ImageFile, data: bytes, how: str) -> Samples:
    """Return the samples of a picture of two to four bands of 16 bits: it is decoded twice."""
    low = Image.open(io.BytesIO(data), formats=(image.format or "",))
    assert isinstance(low, ImageFile.ImageFile)
    low.seek(image.tell())
    read = _low_bytes(how)
    low.tile = [
        tile._replace(args=read if isinstance(tile.args, str) else (read, *(tile.args or ())[1:]))
        for tile in low.tile
    ]
    low.load()
    image.load()
    bits, no_data = _significant_bits(data), None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        most = image.tag_v2.get(_SAMPLES_MOST, image.tag_v2.get(_MOST))
        bits, no_data = stated_bits(most, 16), number(image.tag_v2.get(NO_DATA))

    def rows(top: int, bottom: int) -> NDArray[np.generic]:
        box = (0, top, image.width, bottom)
        second = np.asarray(low.crop(box)).astype(np.uint16)
        if read == "RGBA":
            return second[..., :1] << 8 | second[..., 1:2]
        first = np.asarray(image.crop(box))[..., :3].astype(np.uint16)
        return first << 8 | second[..., :3]

    bands = 1 if read == "RGBA" else 3
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    return Samples(image.size, bands, np.dtype("u2"), bits, rows, no_data, alpha=alpha)
