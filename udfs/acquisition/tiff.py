"""TIFFs that Pillow cannot read, or reads wrongly, by a library made for them: tifffile.

They have unsigned 32 bits, 64 bits, one band after the other in more than 8 bits, more than four
bands, or bands that the settings choose. Use `is_for_pillow` and `page_of` on what Pillow has
opened, and `read` on bytes that it does not open.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from udfs.acquisition import limits
from udfs.acquisition.formats import INSTALL
from udfs.acquisition.ranges import full, kind_of, levels
from udfs.acquisition.samples import NO_DATA, Samples, number, stated_bits
from udfs.acquisition.unusable import Unusable, too_large

if TYPE_CHECKING:
    from tifffile import TiffPage

START = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PAGES = 64  # that are looked at for one that is no reduced copy
_SUBFILE, _BITS, _BANDS, _PLANAR, _FORMAT = 254, 258, 277, 284, 339
_MOST, _SAMPLES_MOST, _EXTRA, _ORIENTATION = 281, 341, 338, 274
_REDUCED, _MASK = 1, 4  # bits of the tag for the kind of a page
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ALPHA = (1, 2)  # what extra samples may be: premultiplied or not
_INTERPRETATIONS = {3: "a palette", 5: "inks", 6: "YCbCr", 8: "CIELab", 32803: "raw of a camera"}
_COLOURS = 3
_COLOUR_MODES, _GREY_MODES = ("RGB", "RGBA", "CMYK"), ("I;16", "I;16B", "I", "F")
_COMPRESSION = 259
_PACKAGE = "imagecodecs"
_ENUM = re.compile(r"<(\w+)\.(\w+): \d+>")  # how tifffile names a code
_WEBP = 50001  # which Pillow knows by name, but its libtiff cannot undo


def page_of(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the number of the first page that is a picture, and no reduced copy and no mask.

    It is 0 if all are. The image is left at that page.
    """
    for page in range(PAGES):
        try:
            image.seek(page)
        except EOFError:
            break
        if not _is_beside(image.tag_v2.get(_SUBFILE, 0)):
            return page
    image.seek(0)
    return 0


def is_for_pillow(image: TiffImagePlugin.TiffImageFile, bands: tuple[int, ...]) -> bool:
    """Return whether Pillow reads a page as it is.

    bands: that are chosen by the settings, if any.
    """
    tags = image.tag_v2
    count = tags.get(_BANDS, 1)
    if (bands and count > _COLOURS) or tags.get(_COMPRESSION) == _WEBP:
        return False
    bits, form = max(tags.get(_BITS, (1,))), max(tags.get(_FORMAT, (_UNSIGNED,)))
    if bits <= 8:
        return bool(form != _SIGNED)
    if count > 1:
        is_unsigned = bits == 16 and form == _UNSIGNED
        return is_unsigned and image.mode in _COLOUR_MODES and bool(tags.get(_PLANAR, 1) == 1)
    return image.mode in _GREY_MODES and not (bits == 32 and form == _UNSIGNED)


def read(data: bytes, max_pixels: int, bands: tuple[int, ...]) -> tuple[Samples, int] | None:
    """Return the samples of a TIFF's first picture, and its orientation (1 to 8).

    None if its tags cannot be read. Raises Unusable, or what the library raises for broken data.

    Args:
        data: the bytes of the file.
        max_pixels: the most of the frame, and of a tile or strip within it.
        bands: those that are shown, from 1; none: the first three, or the first.

    """
    import tifffile  # it takes long to import, and few files need it

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        page = _first_picture(tifffile.TiffFile(io.BytesIO(data)))
    except MemoryError:
        raise
    except Exception:  # a broken header may raise anything
        return None
    _check(page, data, max_pixels)
    shown = _chosen(page, bands)
    alpha = _alpha_band(page, bands)
    wanted = shown if alpha is None else (*shown, alpha)
    values = _values(page, wanted)
    dtype = values.dtype
    bits = page.bitspersample if page.bitspersample != 8 * dtype.itemsize else 0
    if not bits and dtype.kind == "u":
        most = page.tags.valueof(_SAMPLES_MOST, page.tags.valueof(_MOST))
        bits = stated_bits(most, 8 * dtype.itemsize)
    colours = values[..., : len(shown)]
    samples = Samples(
        (page.imagewidth, page.imagelength),
        len(shown),
        dtype,
        bits,
        lambda top, bottom: colours[top:bottom],
        number(page.tags.valueof(NO_DATA)),
        page.photometric == _WHITE_IS_ZERO,
        None if alpha is None else _eight_bits(values[..., -1]),
    )
    orientation = page.tags.valueof(_ORIENTATION, 1)
    return samples, orientation if orientation in range(1, 9) else 1


def _is_beside(subfile: Any) -> bool:
    return bool(int(subfile) & (_REDUCED | _MASK)) if isinstance(subfile, int) else False


def _first_picture(file: Any) -> TiffPage:
    pages = file.pages
    pages.useframes = False
    for number_ in range(PAGES):
        try:
            page: TiffPage = pages[number_]
        except IndexError:
            break
        if not _is_beside(int(page.subfiletype)):
            return page
    first: TiffPage = pages[0]
    return first


def _check(page: TiffPage, data: bytes, max_pixels: int) -> None:
    """Raise Unusable for a page that is too large, is cut off, or has samples of another kind."""
    width, height = page.imagewidth, page.imagelength
    if width < 1 or height < 1 or page.imagedepth != 1:
        raise Unusable("unreadable", f"a frame of {width}x{height}x{page.imagedepth} px")
    if width * height > max_pixels:
        raise too_large(f"{width}x{height} px", max_pixels)
    if page.is_tiled and page.tilewidth * page.tilelength > max_pixels:
        raise too_large(f"its tiles have {page.tilewidth}x{page.tilelength} px", max_pixels)
    across, down = (
        (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip)
    )
    part = across * min(down, height) * (page.samplesperpixel if page.planarconfig == 1 else 1)
    needed = max(part * page.bitspersample // 8, 24 * width * height)
    limits.check_memory(-(-needed // limits.BYTES_PER_PIXEL))
    if page.photometric in _INTERPRETATIONS:
        raise _not_read(page, f"its samples are {_INTERPRETATIONS[page.photometric]}")
    if page.dtype is None or np.dtype(page.dtype).kind not in "uif":
        raise _not_read(page, "its samples are no real numbers")
    ends = [at + size for at, size in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if max(ends, default=0) > len(data):
        raise Unusable(
            "truncated", f"the file ends at {len(data)} of {max(ends)} bytes: copy it again"
        )


def _not_read(page: TiffPage, why: str) -> Unusable:
    return Unusable(
        "unsupported_format",
        f"a TIFF of {page.samplesperpixel} bands of {page.bitspersample} bits is not read here, "
        f"since {why}: save it as grey or RGB",
    )


def _chosen(page: TiffPage, bands: tuple[int, ...]) -> tuple[int, ...]:
    """Return the places of the bands that are shown."""
    count = page.samplesperpixel
    if not bands or count <= _COLOURS:
        return tuple(range(_COLOURS)) if count >= _COLOURS else (0,)
    if max(bands) > count:
        raise Unusable(
            "unsupported_format",
            f"it has {count} bands, and ingest.bands names band {max(bands)}: name bands that all "
            "files have",
        )
    return tuple(band - 1 for band in bands)


def _alpha_band(page: TiffPage, bands: tuple[int, ...]) -> int | None:
    """Return the place of the transparency, None if there is none or bands are chosen."""
    kinds = [int(kind) for kind in page.extrasamples or ()]
    first_extra = page.samplesperpixel - len(kinds)
    if bands or not kinds or kinds[0] not in _ALPHA or np.dtype(page.dtype).kind != "u":
        return None
    return first_extra if first_extra in (1, _COLOURS) else None


def _values(page: TiffPage, bands: tuple[int, ...]) -> NDArray[np.generic]:
    """Return (height, width, len(bands)) values, of the bands in that order."""
    dtype = np.dtype(page.dtype).newbyteorder("=")
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    out: NDArray[np.generic] = np.zeros((page.imagelength, page.imagewidth, len(bands)), dtype)
    if not any(page.databytecounts):  # some writers leave all parts out where a codec fails
        raise Unusable(
            "unreadable", "none of its parts was ever written: it has tags and no pixels"
        )
    try:
        for segment, (plane, _, top, left, _), shape in page.segments(maxworkers=1):
            if segment is None:  # a part that was never written
                continue
            part = segment[0][: shape[1], : shape[2]]
            box = np.s_[top : top + part.shape[0], left : left + part.shape[1]]
            space = out[box].shape
            for place, band in enumerate(bands):
                if page.planarconfig == 1:
                    out[(*box, place)] = part[: space[0], : space[1], band]
                elif plane == band:
                    out[(*box, place)] = part[: space[0], : space[1], 0]
    except (ValueError, NotImplementedError, ImportError) as error:
        what = _without_codec(page, error)
        if what is None:
            raise
        raise Unusable(
            "unsupported_format",
            f"a TIFF with {what} is not read without the package imagecodecs: {INSTALL}",
        ) from error
    return out


def _without_codec(page: TiffPage, error: Exception) -> str | None:
    """Return what in a page only imagecodecs decodes, if that is what an exception says."""
    if isinstance(error, ImportError):  # of a module that newer Pythons have, for Zstandard
        from tifffile import COMPRESSION

        return f"compression {COMPRESSION(page.compression).name}"
    what, _, rest = str(error).partition(" requires ")
    what = what.removeprefix("packints_decode of ")
    return (
        _ENUM.sub(lambda code: f"{code[1].lower()} {code[2]}", what) if _PACKAGE in rest else None
    )


def _eight_bits(values: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(levels(values, full(kind_of(values.dtype, 0, 1))))
