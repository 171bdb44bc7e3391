"""What is no image is told by name, with what to do."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import TiffImagePlugin

from tests.support.decoding import refused
from udfs.acquisition.contents import identified


def zipped() -> bytes:
    target = io.BytesIO()
    zipfile.ZipFile(target, "w").writestr(zipfile.ZipInfo("a.jpg"), b"picture")
    return target.getvalue()


def targa(kind: int, bits: int) -> bytes:
    """The beginning of a Targa file of 300×200 px without a palette."""
    return struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, 300, 200, bits, 32) + b"a" * 90


def jpeg_frame(marker: int, bits: int, height: int = 8) -> bytes:
    """A JPEG with the marker and the bits of its frame, and no scan."""
    sides = struct.pack(">BHHB", bits, height, 8, 1)
    frame = bytes([0xFF, marker]) + struct.pack(">H", 11) + sides + bytes([1, 17, 0])
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9) + frame + bytes(2000)


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"<!DOCTYPE html>\n<html>gone</html>", "not_an_image", "an HTML page: download it again"),
        (b"\xef\xbb\xbf  <html>" + b"x" * 9000, "not_an_image", "an HTML page"),
        (b'{"error": "not found"}', "not_an_image", "JSON"),
        (b"[1, 2", "not_an_image", "text"),
        (b"a,b\n1,2\n", "not_an_image", "text: leave it out"),
        ("größe\n".encode() * 900, "not_an_image", "text"),
        (b"<?xml version='1.0'?>\n<annotation/>", "not_an_image", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_an_image", "git lfs pull"),
        (b"\n <svg xmlns='x'/>", "unsupported_format", "SVG is not read here: convert it"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", "unsupported_format", "SVG"),
        (zipped(), "not_an_image", "a zip archive: unpack it"),
        (gzip.compress(b"picture", mtime=0), "not_an_image", "a gzip archive"),
        (b"\0\0\0\x18ftypmp42" + bytes(90), "not_an_image", "an MP4 video: save its frames"),
        (b"\0\0\0\x14ftypqt  " + bytes(90), "not_an_image", "a QuickTime video"),
        (b"\x1a\x45\xdf\xa3" + bytes(90), "not_an_image", "WebM video"),
        (b"\0\0\0\x18ftypheix" + bytes(90), "unsupported_format", "HEIC is not read here"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90), "unsupported_format", "JPEG XL"),
        (bytes(128) + b"DICM" + bytes(90), "unsupported_format", "DICOM"),
        (b"\x93NUMPY\x01\0" + bytes(90), "not_an_image", "a NumPy array"),
        (b"PAR1" + bytes(90), "not_an_image", "ingest.source = parquet"),
        (b"\0\0\0\1Bud1" + bytes(90), "not_an_image", "macOS"),
        (b"\x8aMNG\r\n\x1a\n" + bytes(90), "unsupported_format", "MNG is not read here: convert"),
        (b"\x8bJNG\r\n\x1a\n" + bytes(90), "unsupported_format", "JNG"),
        (b"P7\nWIDTH 4\nHEIGHT 4\n", "unsupported_format", "PAM of netpbm"),
        (b"id=ImageMagick  version=1.0\n", "unsupported_format", "MIFF of ImageMagick"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "unsupported_format", "Radiance HDR"),
        (b"/* XPM */\nstatic char *a[] = {\n", "unsupported_format", "XPM"),
        (b"#define face_width 4\n", "unsupported_format", "XBM"),
        (b"#define WIDTH 4\n", "not_an_image", "text"),
        (b"\xb6\xa6\xf2\x08@" + bytes(90), "unsupported_format", "an image of VIPS"),
        (b"EHFA_HEADER_TAG\0" + bytes(90), "unsupported_format", "an image of ERDAS"),
        (b"CDF\x01" + bytes(90), "not_an_image", "a netCDF file: save what it shows"),
        (targa(10, 24), "unsupported_format", "Targa is not read here: convert"),
        (targa(2, 32), "unsupported_format", "Targa"),
        (b"\1\1\1" + targa(1, 8)[3:] + b"TRUEVISION-XFILE.\0", "unsupported_format", "Targa"),
        (targa(4, 24), "unreadable", "no image in a known format"),
        (jpeg_frame(0xC3, 9), "unsupported_format", "lossless JPEG of 9 bits is not read here"),
        (jpeg_frame(0xC1, 12), "unsupported_format", "JPEG of 12 bits is not read here"),
        (b"\r\n" + jpeg_frame(0xC0, 8), "unreadable", "white space stands before the first byte"),
        (jpeg_frame(0xC0, 8, height=0), "unsupported_format", "tells its height after its pixels"),
        (bytes(4096), "unreadable", "its bytes are zeros"),
        (bytes(range(128, 256)), "unreadable", "no image in a known format"),
    ],
)
def test_what_the_bytes_are_is_told(data: bytes, code: str, said: str) -> None:
    reason = refused(data)
    assert reason.code == code
    assert said in reason.message


def tiff(bands: int, kind: str, planar: int, order: str) -> bytes:
    """An uncompressed TIFF of 4×4 px, of any number of bands."""
    values = np.zeros((4, 4, bands), kind)
    start = b"II*\0" if order == "<" else b"MM\0*"
    tags = TiffImagePlugin.ImageFileDirectory_v2(start + bytes(4))
    size = values.dtype.itemsize
    entries = {256: 4, 257: 4, 258: (8 * size,) * bands, 259: 1, 262: 1, 277: bands, 278: 4}
    entries |= {273: 8, 279: values.nbytes, 284: planar, 339: ("uif".index(kind[0]) + 1,) * bands}
    for tag, value in entries.items():
        tags[tag] = value
    target = io.BytesIO()
    target.write(start + struct.pack(f"{order}I", 8 + values.nbytes) + values.tobytes())
    tags.save(target)
    return target.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bands", "kind", "planar", "said"),
    [
        (13, "u2", 1, "a TIFF of 13 bands of 16-bit unsigned numbers (compression 1)"),
        (1, "f8", 1, "a TIFF of 1 bands of 64-bit floating-point numbers"),
        (6, "i4", 2, "32-bit signed numbers, one band after the other"),
    ],
)
def test_a_tiff_that_pillow_does_not_open_is_told_by_its_tags(
    order: str, bands: int, kind: str, planar: int, said: str
) -> None:
    """They are read by another library; this is what is told where that cannot."""
    reason = identified(tiff(bands, kind, planar, order))
    assert reason.code == "unsupported_format"
    assert said in reason.message
    assert "save one band of 8 or 16 bits, or three of 8 bits" in reason.message


def test_a_broken_tiff_is_none_of_other_bands() -> None:
    assert refused(b"II*\0\xff\xff\xff\x7f" + bytes(2000)).code in ("unreadable", "truncated")
