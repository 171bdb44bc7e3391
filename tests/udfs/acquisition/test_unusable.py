"""Every unusable file has a code and a message, and no parser but those needed sees it."""

from __future__ import annotations

import pickle

import pytest
from PIL import Image

from tests.support.decoding import png_of, printed, refused
from tests.support.pictures import encoded, picture
from udfs.acquisition.unusable import FORMATS, Unusable

GOOD = encoded(Image.fromarray(picture(8)), "PNG")


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", "empty", "no bytes"),
        (b"\x07\x81no text", "unreadable", "no image in a known format"),
        (GOOD[: len(GOOD) // 2], "truncated", "ends too early"),
        (GOOD[:8], "truncated", "within its header"),
        (png_of(40_000), "too_large", "raise it, or cut the frame"),
        (png_of(1_200), "too_large", "1440000 pixels"),
        (b"%PDF-1.7", "unsupported_format", "PDF is not read here"),
        (b"\x00\x00\x00\x20ftypheic" + bytes(40), "unsupported_format", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format", "PostScript"),
    ],
)
def test_unusable_files_have_a_reason(data: bytes, code: str, message: str) -> None:
    reason = refused(data)
    assert reason.code == code
    assert message in reason.message


def test_a_reason_survives_the_way_from_a_worker() -> None:
    reason = pickle.loads(pickle.dumps(Unusable("empty", "no bytes")))
    assert (reason.code, reason.message) == ("empty", "no bytes")


def test_only_the_formats_that_are_read_have_parsers() -> None:
    """A file of another format is told by its first bytes; no parser of such formats is loaded."""
    script = (
        "from PIL import Image\n"
        "from udfs.acquisition.decode import decode\n"
        "for data in (b'', b'no picture', b'%!PS-Adobe-3.0 EPSF-3.0', b'icns' + bytes(60)):\n"
        "    try: decode(data, max_pixels=9, tile=None, stride=None)\n"
        "    except Exception: pass\n"
        "print(*sorted(Image.OPEN))"
    )
    assert set(printed(script).split()) - {"MPO"} == set(FORMATS)
