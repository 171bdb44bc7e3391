"""A folder of files as people have them: images of many kinds, and files that are none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.pictures import encoded, picture

DEADLY = Path(__file__).parent / "deadly"  # on the path of a process that some files are to harm


def deadly(kind: str) -> bytes:
    """An image that does harm: the name of a signal, or of a function of deadly/sitecustomize."""
    return encoded(Image.fromarray(picture(4)), "JPEG") + b"deadly: " + kind.encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_in_one_tile(side: int, tile: int) -> bytes:
    """A black image of side x side px that lies in the corner of one tile of tile x tile px."""
    data = zlib.compress(bytes(tile * tile))
    short, long = 3, 4
    entries = [
        *((256, long, side), (257, long, side), (258, short, 8), (259, short, 8), (262, short, 1)),
        *((277, short, 1), (322, long, tile), (323, long, tile)),
        *((324, long, 8 + 2 + 10 * 12 + 4), (325, long, len(data))),
    ]
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4) + data


def hostile() -> dict[str, bytes]:
    """Files as people have them: many formats, broken ones, and some that are no images."""
    levels = picture(1)
    colour = Image.fromarray(levels)
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    grey = np.linspace(0, 65535, 72 * 72).reshape(72, 72).astype(np.uint16)
    alpha = Image.fromarray(np.dstack([levels, np.full((72, 72), 90, np.uint8)]))
    frames = [colour, colour.rotate(90)]
    animated = {"save_all": True, "append_images": frames[1:]}
    jpeg = encoded(colour, "JPEG", quality=95)
    oriented = Image.Exif()
    oriented[0x0112] = 6
    return {
        "good/photo.JPG": jpeg,
        "good/photo.PNG": encoded(colour, "PNG"),
        "good/cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "good/sixteen.png": encoded(Image.fromarray(grey), "PNG"),
        "good/palette.png": encoded(palette, "PNG", transparency=0),
        "good/alpha.png": encoded(alpha, "PNG"),
        "good/grey.bmp": encoded(colour.convert("L"), "BMP"),
        "good/scan.tif": encoded(colour, "TIFF"),
        "good/plain.ppm": encoded(colour, "PPM"),
        "good/moving.gif": encoded(frames[0], "GIF", **animated),
        "good/moving.webp": encoded(frames[0], "WEBP", lossless=True, **animated),
        "good/turned.jpg": encoded(colour, "JPEG", quality=95, exif=oriented),
        "good/_hidden from spark.jpg": jpeg,
        "good/ünïcode 図 with spaces%20.jpg": jpeg,
        "class=001/photo.jpg": jpeg,
        "other/photo.jpg": jpeg,
        "bad/empty.jpg": b"",
        "bad/cut.jpg": jpeg[: len(jpeg) // 2],
        "bad/text.jpg": b"no picture at all",
        "bad/bomb.png": bomb(30_000),
        "bad/document.pdf": b"%PDF-1.7 and so on",
        "bad/Thumbs.db": b"\xd0\xcf\x11\xe0" * 100,
        "in the root.jpg": jpeg,
        "good/.hidden.jpg": jpeg,
        ".git/config": b"",
    }


REJECTED = {
    "bad/empty.jpg": "empty",
    "bad/cut.jpg": "truncated",
    "bad/text.jpg": "not_an_image",
    "bad/bomb.png": "too_large",
    "bad/document.pdf": "unsupported_format",
    "bad/Thumbs.db": "not_an_image",
}


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
