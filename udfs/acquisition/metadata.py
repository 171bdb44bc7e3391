"""Files without what says nothing of the pixels: text, EXIF, XMP, colour profiles.

A decoder may stop at such a part, because it is broken or large. Use `without` on the bytes of a
file that cannot be decoded, and try again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that the pixels depend on. tRNS: what is transparent; eXIf: which side is up.
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_TURN = b"eXIf"
_WEBP_METADATA = (b"EXIF", b"XMP ", b"ICCP")
# Markers of JPEG: APP1 to APP13 and APP15 hold metadata, as does a comment. APP0 and APP14 say how
# the colours are coded.
_JPEG_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_START_OF_SCAN = 0xDA


def without(data: bytes) -> bytes | None:
    """Return a PNG, WebP or JPEG file without its metadata; None if there is nothing to drop."""
    if data.startswith(PNG):
        rest = PNG + b"".join(_png_chunks(data))
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        chunks = b"".join(_webp_chunks(data))
        rest = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    elif data.startswith(b"\xff\xd8"):
        rest = b"\xff\xd8" + b"".join(_jpeg_segments(data))
    else:
        return None
    return rest if len(rest) < len(data) else None


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks that count; of a chunk that is cut off, what there is."""
    at = len(PNG)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if kind in _PNG_PIXELS or (kind == _PNG_TURN and _is_whole(data[at:end])):
            yield data[at:end]
        at = end


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        if data[at : at + 4] not in _WEBP_METADATA:
            yield data[at:end]
        at = end


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """The segments up to the first scan that count, then all that follows."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        if data[at + 1] == 0xFF:  # fill bytes may stand before a marker
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] not in _JPEG_METADATA:
            yield data[at:end]
        at = end
    yield data[at:]
