"""What a file would cost is told before it is decoded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.decoding import refused, whole
from tests.support.hostile_files import tiff_in_one_tile
from tests.support.pictures import encoded, picture
from udfs.acquisition import limits
from udfs.acquisition.decode import SIDE, decode
from udfs.acquisition.unusable import Unusable


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


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 80}, {"lossless": True, "exif": b"Exif\0\0"}]
)
def test_the_frame_of_a_webp_is_known_before_it_is_opened(options: dict[str, Any]) -> None:
    data = encoded(Image.new("RGB", (90, 70)), "WEBP", **options)
    assert limits.webp_pixels(data) == 90 * 70
    assert limits.webp_pixels(b"RIFF" + bytes(40)) == 0
    with pytest.raises(Unusable, match="6300 px"):
        decode(data, max_pixels=6299, tile=None, stride=None)


LITTLE_MEMORY = """
import pathlib, resource, sys
from udfs.acquisition.decode import stream
from udfs.acquisition.unusable import Unusable
data = pathlib.Path(sys.argv[1]).read_bytes()
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
for mebibytes in range(2, 90, 4):
    limit = pages * resource.getpagesize() + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        print(len(list(stream(data, max_pixels=10**8, tile=None, stride=None))))
    except MemoryError:
        print("memory")
    except Unusable as reason:
        print(reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True, "method": 0}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("GIF", {}),
        ("BMP", {}),
    ],
)
def test_a_lack_of_memory_is_never_the_files_fault(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Some decoders call a file broken when they cannot have the memory that they ask for."""
    (tmp_path / "file").write_bytes(encoded(Image.new("RGB", (1500, 1500)), kind, **options))
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\n")[:-1]) == {"memory", "1"}
