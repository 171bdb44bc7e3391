"""Broken or large metadata cost no picture; a picture that ends early is none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.support.decoding import decoded, refused
from tests.support.pictures import encoded, picture
from udfs.acquisition import metadata
from udfs.acquisition.limits import check_whole
from udfs.acquisition.unusable import Unusable

IMAGE = Image.fromarray(picture(4)).resize((96, 80))
PNG = encoded(IMAGE, "PNG")
JPEG = encoded(IMAGE, "JPEG", quality=95)
WEBP = encoded(IMAGE, "WEBP", lossless=True)
BROKEN_EXIF = b"\x00\x08\x00\x02\x01\x12\x00\x03"


def chunk(kind: bytes, payload: bytes, *, right: bool = True) -> bytes:
    """A chunk of a PNG, with a right check sum or a wrong one."""
    digest = zlib.crc32(kind + payload) if right else 0
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", digest)


def with_chunk(part: bytes) -> bytes:
    """The PNG with one more chunk after its header."""
    return PNG[:33] + part + PNG[33:]


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """The JPEG with more segments at its beginning."""
    parts = [bytes([0xFF, m]) + struct.pack(">H", len(p) + 2) + p for m, p in segments]
    return JPEG[:2] + b"".join(parts) + JPEG[2:]


def with_broken_exif() -> bytes:
    target = io.BytesIO()
    IMAGE.save(target, "WEBP", lossless=True, exif=b"Exif\0\0" + BROKEN_EXIF)
    return target.getvalue()


DEFLATED = zlib.compress(bytes(80 << 20))


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        (with_chunk(chunk(b"eXIf", BROKEN_EXIF)), PNG),
        (with_chunk(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      12\nno hex!")), PNG),
        (with_chunk(chunk(b"tEXt", b"a\0b", right=False)), PNG),
        (with_chunk(chunk(b"pHYs", b"\0")), PNG),
        (with_chunk(chunk(b"zTXt", b"a\0\0" + DEFLATED)), PNG),
        (with_chunk(chunk(b"iCCP", b"a\0\0" + DEFLATED)), PNG),
        (with_segments((0xE1, b"Exif\0\0" + BROKEN_EXIF), (0xE1, b"xmp"), (0xFE, b"hello")), JPEG),
        (with_broken_exif(), WEBP),
    ],
)
def test_metadata_cost_no_picture(data: bytes, clean: bytes) -> None:
    assert decoded(data) == decoded(clean)


def test_what_says_which_side_is_up_is_kept_where_it_is_whole() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    IMAGE.save(target, "PNG", exif=exif)
    turned = target.getvalue()
    broken = turned[:33] + chunk(b"tEXt", b"a\0b", right=False) + turned[33:]
    assert decoded(broken) == decoded(turned)
    assert (decoded(broken).width, decoded(broken).height) == (80, 96)


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP])
def test_nothing_else_is_dropped(data: bytes) -> None:
    rest = metadata.without(data)
    assert rest is None or decoded(rest) == decoded(data)
    assert metadata.without(b"GIF89a") is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("end", [b"", bytes(4000), b"\xff\xd9"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_a_jpeg_that_ends_early_is_truncated(
    share: float, end: bytes, options: dict[str, bool | int]
) -> None:
    target = io.BytesIO()
    IMAGE.save(target, "JPEG", quality=95, **options)
    data = target.getvalue()
    assert refused(data[: int(len(data) * share)] + end).code == "truncated"


@pytest.mark.parametrize("after", [b"", bytes(5000), b"\0\0\0\x18ftypmp42" + b"x" * 900, JPEG])
def test_what_follows_a_whole_jpeg_does_not_matter(after: bytes) -> None:
    assert decoded(JPEG + after) == decoded(JPEG)


def test_a_jpeg_without_its_end_marker_is_whole() -> None:
    check_whole(JPEG[:-2])
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        target = io.BytesIO()
        IMAGE.save(target, "JPEG", quality=95, **options)
        data = target.getvalue()
        assert decoded(data[:-2]).pixels == decoded(data).pixels
        assert refused(data[:-40]).code == "truncated"
    with pytest.raises(Unusable):
        check_whole(JPEG[: len(JPEG) // 2] + b"\xff\xd9")


def art(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Lines, as alpha: (96, 96)."""
    alpha = np.zeros((96, 96), np.uint8)
    draw = np.random.default_rng(seed)
    for x, y in draw.integers(5, 80, (6, 2)):
        alpha[y : y + 10, x : x + 3] = 255
        alpha[y : y + 3, x : x + 10] = 255
    return alpha


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("form", ["RGBA", "LA", "P", "WEBP"])
def test_a_drawing_in_alpha_alone_is_seen(ink: int, form: str) -> None:
    drawings = []
    for seed in (1, 2):
        alpha = art(seed)
        target = io.BytesIO()
        rgba = np.dstack([np.full((96, 96, 3), ink, np.uint8), alpha])
        image = Image.fromarray(rgba, "RGBA")
        if form == "P":
            image = Image.fromarray((alpha > 0).astype(np.uint8), "P")
            image.putpalette([ink] * 6)
            image.save(target, "PNG", transparency=0)
        elif form == "WEBP":
            image.save(target, "WEBP", lossless=True, exact=True)
        else:
            image.convert(form).save(target, "PNG")
        (tile,) = [decoded(target.getvalue())]
        pixels = np.frombuffer(tile.pixels, np.uint8).reshape(64, 64, 3)
        expected = alpha if ink else 255 - alpha
        small = Image.fromarray(np.repeat(expected[..., None], 3, 2)).resize(
            (64, 64), Image.Resampling.BILINEAR
        )
        assert np.array_equal(pixels, np.asarray(small))
        drawings.append(tile.pixels_sha256)
    assert len(set(drawings)) == 2


def test_alpha_that_is_another_band_is_left_out() -> None:
    """Files of red, green, blue and near infrared often call the fourth band alpha."""
    rgb = np.asarray(IMAGE.convert("RGB"))
    near_infrared = np.zeros((80, 96), np.uint8)
    near_infrared[20:40] = 200
    target = io.BytesIO()
    Image.fromarray(np.dstack([rgb, near_infrared]), "RGBA").save(target, "TIFF")
    assert decoded(target.getvalue()).pixels_sha256 == decoded(PNG).pixels_sha256
