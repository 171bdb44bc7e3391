"""What the bytes of a file are that is no image in a format that is read.

Use `identified` for the reason that stands in the table of rejects: what the bytes are, and what to
do. They are told by their first bytes, by being text, and of a TIFF by its tags; no parser of
another format sees a file.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from typing import NamedTuple

import puremagic
from PIL import TiffImagePlugin

from udfs.acquisition.formats import INSTALL
from udfs.acquisition.unusable import FORMATS, Unusable, cut_off

LOOKED_AT = 4096  # first bytes that decide


class Kind(NamedTuple):
    """A kind of file: its name, and what to do about it. is_image: in a format that is not read."""

    name: str
    advice: str
    is_image: bool = False


CONVERT = f"convert it to one of {', '.join(FORMATS)}"
AGAIN = "download it again: a server sent this in place of an image"
UNPACK = "unpack it into the folder of its class"
FRAMES = "save its frames as images"
REMOVE = "it belongs to another program: leave it out"
SAVE = "save what it shows as an image"

# Offset and first bytes of what lies among images. The names of puremagic are less sure or less
# plain for these.
_IMAGES = (
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x01\x00", "icon"),
    (0, b"icns", "Apple icon"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypcrx", "Canon raw"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (128, b"DICM", "DICOM"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"DDS ", "DirectDraw surface"),
    (0, b"qoif", "QOI"),
    (0, b"\x8aMNG", "MNG"),
    (0, b"\x8bJNG", "JNG"),
    (0, b"P7\n", "PAM of netpbm"),
    (0, b"id=ImageMagick", "MIFF of ImageMagick"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"/* XPM */", "XPM"),
    (0, b"\x08\xf2\xa6\xb6", "an image of VIPS"),
    (0, b"\xb6\xa6\xf2\x08", "an image of VIPS"),
    (0, b"EHFA_HEADER_TAG", "an image of ERDAS"),
)
# The same for which there are packages.
_INSTALLABLE = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"heis")),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"hevc", b"hevx", b"hevm", b"hevs")),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"mif1", b"msf1")),
)
_INSTALL = f"install what reads it ({INSTALL}, on the driver and the executors), or {CONVERT}"
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    *((start, first, Kind(name, _INSTALL, is_image=True)) for start, first, name in _INSTALLABLE),
    *((start, first, Kind(name, CONVERT, is_image=True)) for start, first, name in _IMAGES),
    (0, b"PK\x03\x04", Kind("a zip archive", UNPACK)),
    (0, b"\x1f\x8b", Kind("a gzip archive", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", Kind("a rar archive", UNPACK)),
    (257, b"ustar", Kind("a tar archive", UNPACK)),
    (4, b"ftypqt", Kind("a QuickTime video", FRAMES)),
    (4, b"ftyp", Kind("an MP4 video", FRAMES)),
    (0, b"\x1a\x45\xdf\xa3", Kind("a Matroska or WebM video", FRAMES)),
    (8, b"AVI ", Kind("an AVI video", FRAMES)),
    (0, b"\x93NUMPY", Kind("a NumPy array", SAVE)),
    (0, b"\x89HDF", Kind("an HDF5 file", SAVE)),
    *(
        (0, b"CDF" + version, Kind("a netCDF file", SAVE))
        for version in (b"\x01", b"\x02", b"\x05")
    ),
    (0, b"PAR1", Kind("a Parquet file", "read it with ingest.source = parquet")),
    (0, bytes.fromhex("d0cf11e0a1b11ae1"), Kind("a Windows file of thumbnails", REMOVE)),
    (0, b"\x00\x00\x00\x01Bud1", Kind("a .DS_Store of macOS", REMOVE)),
)
# Text, without a byte order mark and white space before it, in small letters.
_TEXTS: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (re.compile(rb"<!doctype html|<html|<head|<body"), Kind("an HTML page", AGAIN)),
    (re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype svg[^>]*>\s*)?<svg", re.S),
     Kind("SVG", CONVERT, is_image=True)),
    (re.compile(rb"version https://git-lfs"),
     Kind("a pointer of Git LFS", "fetch the file it stands for: git lfs pull")),
    (re.compile(rb"#define \w+_width"), Kind("XBM", CONVERT, is_image=True)),
    (re.compile(rb"<\?xml|<[a-z]"), Kind("XML", "leave it out, or give the image itself")),
)  # fmt: skip
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF")
# Markers of a JPEG's frame: which coding it has.
_FRAMES = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA), "JPEG"),
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
}
_START_OF_SCAN = 0xDA
# A comment's length, no palette, colours or grey, no palette's size, the origin, a width and a
# height below 32768, the bits.
_TARGA = re.compile(rb".\0[\x02\x03\x0a\x0b]\0{5}.{4}(?:.[\0-\x7f]){2}[\x08\x10\x18\x20]", re.S)
_MARK = b"\xef\xbb\xbf"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BITS, _PHOTOMETRIC, _BANDS, _PLANAR, _FORMAT, _COMPRESSION = 258, 262, 277, 284, 339, 259
_NUMBERS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_READ = re.compile(r"image/(x-|x-ms-)?(png|jpeg|webp|gif|tiff|bmp|portable.*)")  # but broken
_SURE = 0.4  # of puremagic's confidence; below it names by a byte or two


def identified(data: bytes) -> Unusable:
    """Return the reason why bytes that no decoder recognises are no image."""
    head = data[:LOOKED_AT]
    if not head.strip(b"\0"):
        return Unusable(
            "unreadable", "its bytes are zeros: a disk or a copy lost them; copy it again"
        )
    if head.startswith(_TIFF):
        reason = _tiff(data)
        return reason if reason.code == "unsupported_format" else cut_off(data) or reason
    if cut := cut_off(data):
        return cut
    if head.lstrip().startswith(_STARTS) and not head.startswith(_STARTS):
        return Unusable(
            "unreadable", "white space stands before the first byte of the image: remove it"
        )
    kind = _jpeg(data) or _by_signature(head) or _targa(data) or _by_text(head) or _by_library(head)
    if kind is None:
        return Unusable("unreadable", "the bytes are no image in a known format")
    if kind.is_image:
        return Unusable("unsupported_format", f"{kind.name} is not read here: {kind.advice}")
    return Unusable("not_an_image", f"the bytes are {kind.name}: {kind.advice}")


def _jpeg(data: bytes) -> Kind | None:
    """What kind of JPEG it is that the decoder does not open; None if it is none, or a usual one.

    Its frame tells: the usual and the lossless kind are read in 8 bits, the hierarchical is not.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        marker = data[at + 1]
        if marker in _FRAMES:
            name, bits = _FRAMES[marker], data[at + 4]
            if not any(data[at + 5 : at + 7]):  # its height follows the scan, in a marker DNL
                return Kind("JPEG that tells its height after its pixels", CONVERT, is_image=True)
            is_read = name != "hierarchical JPEG" and bits == 8
            return None if is_read else Kind(f"{name} of {bits} bits", CONVERT, is_image=True)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _targa(data: bytes) -> Kind | None:
    """Targa has no first bytes of its own: it is told by its last ones, or by its whole header."""
    is_told = data.endswith(b"TRUEVISION-XFILE.\0") or bool(_TARGA.match(data))
    return Kind("Targa", CONVERT, is_image=True) if is_told else None


def _by_signature(head: bytes) -> Kind | None:
    for start, signature, kind in _SIGNATURES:
        if head[start:].startswith(signature):
            return kind
    return None


def _by_text(head: bytes) -> Kind | None:
    """What kind of text it is; None if it is none."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < LOOKED_AT:  # the last character may be cut
            return None
        text = head[: error.start].decode("utf-8")
    if not all(letter.isprintable() or letter.isspace() or letter == "\ufeff" for letter in text):
        return None
    start = head.removeprefix(_MARK).lstrip().lower()
    for pattern, kind in _TEXTS:
        if pattern.match(start):
            return kind
    if start[:1] in (b"{", b"["):
        with suppress(ValueError):
            json.loads(text if len(head) < LOOKED_AT else "")
            return Kind("JSON", AGAIN)
    return Kind("text", "leave it out, or give the image itself")


def _by_library(head: bytes) -> Kind | None:
    """What puremagic takes it for, if it is sure."""
    try:
        found = puremagic.magic_string(head)[0]
    except (puremagic.PureError, ValueError):
        return None
    if found.confidence < _SURE or not found.mime_type or _READ.fullmatch(found.mime_type):
        return None
    is_image = found.mime_type.startswith("image/")
    return Kind(found.name, CONVERT if is_image else "give the image itself", is_image=is_image)


def _tiff(data: bytes) -> Unusable:
    """The reason for a TIFF that the decoder does not open: what its tags say of its pixels."""
    try:
        header = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8] if 42 in data[2:4] else data[:16])
        header.seek(tags.next)
        tags.load(header)
        bits = tags[_BITS] if isinstance(tags[_BITS], tuple) else (tags[_BITS],)
        numbers = tags.get(_FORMAT, (1,))
        numbers = _NUMBERS.get(numbers[0] if isinstance(numbers, tuple) else numbers, "unknown")
        bands = tags.get(_BANDS, 1)
    except Exception:  # a broken header may raise anything
        return Unusable("unreadable", "it begins as a TIFF, but its tags cannot be read")
    order = ", one band after the other" if tags.get(_PLANAR, 1) == 2 and bands > 1 else ""
    return Unusable(
        "unsupported_format",
        f"a TIFF of {bands} bands of {max(bits)}-bit {numbers} numbers{order} (compression "
        f"{tags.get(_COMPRESSION, 1)}) is not read here: save one band of 8 or 16 bits, or three "
        "of 8 bits",
    )
