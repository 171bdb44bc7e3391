"""What a file would cost its decoder, told from its header before anything is decoded.

Use `check` on an image that Pillow has opened and not loaded.
"""

from __future__ import annotations

import mmap
import re

import simplejpeg
from PIL import Image, TiffImagePlugin

from udfs.acquisition.unusable import Unusable, too_large

# Each scan of a progressive JPEG goes over the whole frame again: 400 of them take minutes a
# megabyte. Encoders write 10 to 20; 64 would be one for every coefficient.
SCANS = 100
# What a decoder takes at most for each pixel of a frame: WebP's takes 16, others fewer.
BYTES_PER_PIXEL = 24
_JPEG_XL, _JPEG_XL_BOXES = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
_JPEG_XL_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of the sides
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF
# What libjpeg-turbo warns of where a scan lacks codes, and where a file lacks its end marker.
_HIT_MARKER, _HIT_END = "premature end of data segment", "Premature end of JPEG file"
ZEROS = bytes(16)  # what a file that was copied in part is filled with
_START_OF_SCAN, _END = 0xDA, 0xD9  # markers of JPEG
_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}
# Within a scan FF stands before 00 (a level), before D0 to D7 (a restart), or before a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def check(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Raise Unusable for an image that takes its decoder too much memory or time.

    Args:
        image: as Pillow opens it, not loaded yet.
        data: the bytes of the file.
        max_pixels: the most of a frame, and of a tile within a TIFF file, which is decoded whole
            however small the frame is.

    """
    width, height = image.size
    if width * height > max_pixels:
        raise too_large(f"{width}x{height} px", max_pixels)
    if min(width, height) < 1:
        raise Unusable("unreadable", f"a frame of {width}x{height} px")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tile(image, max_pixels)
    if image.format in ("JPEG", "MPO"):
        _check_scans(data)


def check_whole(data: bytes) -> None:
    """Raise Unusable (truncated) for a JPEG file whose scans end before its frame is full.

    Pillow fills the rest with one colour where zeros or an end marker follow. A file that only
    lacks its end marker is whole.
    """
    try:
        # At an eighth of its size: the codes are read to their end, and little else is computed.
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", min_height=1, min_width=1, min_factor=1, strict=True
        )
    except ValueError as error:
        said = str(error)
        ends_early = _HIT_MARKER in said or (_HIT_END in said and data.endswith(ZEROS))
        if ends_early:
            raise Unusable(
                "truncated", f"its scans end before its frame is full ({said}): copy it again"
            ) from error


def check_memory(pixels: int) -> None:
    """Raise MemoryError unless the process may map the memory that so many pixels may need.

    Not all decoders say that it was memory that they lacked; some say that the file is broken.
    """
    try:
        mmap.mmap(-1, max(1, BYTES_PER_PIXEL * pixels)).close()
    except OSError as refused:
        raise MemoryError(str(refused)) from refused


def webp_pixels(data: bytes) -> int:
    """Return the pixels of a WebP file's frame; 0 if it is no such file.

    Its decoder takes the memory of the whole frame when the file is opened.
    """
    kind = data[12:16] if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        return 0
    return width * height


def jpeg_xl_pixels(data: bytes) -> int:
    """Return the pixels of a JPEG XL file's frame; 0 if it is no such file, or its header is cut.

    Its parser decodes the whole frame when the file is opened.
    """
    start = 0
    if data.startswith(_JPEG_XL_BOXES):
        start = max(data.find(name, 0, 65536) for name in (b"jxlc", b"jxlp"))
        start = data.find(_JPEG_XL, start, start + 64)
    if start < 0 or not data.startswith(_JPEG_XL, start):
        return 0
    bits = int.from_bytes(data[start + 2 : start + 14].ljust(12, b"\0"), "little")

    def read(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    is_small = read(1)

    def side() -> int:
        return 8 * (1 + read(5)) if is_small else 1 + read((9, 13, 18, 30)[read(2)])

    height = side()
    ratio = _JPEG_XL_RATIOS[read(3)]
    width = side() if ratio is None else height * ratio[0] // ratio[1]
    return width * height


def _check_tile(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    across, down = (image.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if not (isinstance(across, int) and isinstance(down, int)):
        raise Unusable("unreadable", "the size of its tiles is no number")
    if across * down > max_pixels:
        raise too_large(f"its tiles have {across}x{down} px", max_pixels)


def _check_scans(data: bytes) -> None:
    scans = jpeg_scans(data, SCANS + 1)
    if scans > SCANS:
        raise Unusable(
            "too_slow",
            f"it has more than {SCANS} scans, each of which goes over the frame: save it anew",
        )


def jpeg_scans(data: bytes, most: int) -> int:
    """Return the number of scans of a JPEG file's first frame; counting ends at `most`."""
    scans, at = 0, 2
    while scans < most and at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == _END:
            break
        if kind == 0xFF:  # fill bytes may stand before a marker
            at += 1
            continue
        if kind in _WITHOUT_LENGTH:
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if kind == _START_OF_SCAN:
            scans += 1
            marker = _MARKER.search(data, at)
            at = marker.start() if marker else len(data)
    return scans
