"""What a file would cost is told before it is decoded."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.support.decoding import refused, whole
from tests.support.hostile_files import tiff_in_one_tile
from tests.support.pictures import encoded, picture
from udfs.acquisition import limits
from udfs.acquisition.decode import SIDE


def test_a_tile_of_a_tiff_is_limited_as_a_frame_is() -> None:
    """A codec decodes a tile whole: 9 MB for this image of 64x64 px, and 2 GB for larger ones."""
    reason = refused(tiff_in_one_tile(64, 1760))
    assert reason.code == "too_large"
    assert "its tiles have 1760x1760 px" in reason.message
    assert whole(tiff_in_one_tile(64, 992)).max() == 0


@pytest.mark.parametrize(("scans", "code"), [(90, None), (110, "too_slow")])
def test_a_jpeg_has_a_hundred_scans_at_most(scans: int, code: str | None) -> None:
    data = encoded(Image.fromarray(picture(3)), "JPEG", progressive=True)
    own = limits.jpeg_scans(data, 1000)
    last = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + last * (scans - own) + data[-2:]
    assert limits.jpeg_scans(many, 1000) == scans
    if code:
        assert refused(many).code == code
    else:
        assert whole(many).shape == (SIDE, SIDE, 3)


def test_what_stands_in_a_segment_or_after_the_end_is_no_scan() -> None:
    """Cameras append films and further pictures, and thumbnails are pictures of their own."""
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 500
    data = encoded(Image.fromarray(picture(3)), "JPEG", exif=exif) + b"\xff\xda" * 500
    assert limits.jpeg_scans(data, 1000) == 1
    assert whole(data).shape == (SIDE, SIDE, 3)
