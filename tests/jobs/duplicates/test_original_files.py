"""Endings by what the bytes are, and frames that are decoded once."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.acquisition.value_ranges import ValueRanges
from jobs.duplicates.original_files import NotAsIngested, Originals, ending
from tests.support.deep_pictures import expected, png, scene, whole_numbers
from tests.support.exports import noise
from tests.support.pictures import encoded
from udfs.acquisition import decode
from udfs.acquisition.ranges import AUTO, Depth

KINDS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_ending_tells_the_format(kind: str) -> None:
    assert ending(encoded(noise(1), kind)) == KINDS[kind]


def test_an_ending_tells_which_portable_map_it_is() -> None:
    for mode, name in {"1": "pbm", "L": "pgm", "RGB": "ppm"}.items():
        assert ending(encoded(noise(1).convert(mode), "PPM")) == name


def row(data: bytes, **more: Any) -> dict[str, Any]:
    known = {"image_id": "a", "label": "a", "frame_id": "a", "path": None, "x": None, "y": None}
    digest = hashlib.sha256(data).hexdigest()
    return known | {"content": data, "sha256": digest, "size_bytes": len(data)} | more


def test_a_frame_is_decoded_once_for_tiles_that_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = noise(1)
    data, calls = encoded(frame, "PNG"), []
    real = decode.frame

    def counted(data: bytes, most: int, depth: Depth) -> decode.Frame:
        calls.append(most)
        return real(data, most, depth)

    monkeypatch.setattr(decode, "frame", counted)
    originals = Originals()
    for x in (0, 16, 32):
        # The bytes come with the first tile of a frame alone.
        content = data if x == 0 else None
        tile = originals.read(
            row(data, content=content, x=x, y=8, width=16, height=20, image_id=f"a#{x},8")
        )
        opened = Image.open(io.BytesIO(tile.data))
        assert opened.tobytes() == frame.crop((x, 8, x + 16, 28)).tobytes()
    assert len(calls) == 1


def test_a_tile_of_12_bits_is_shown_with_the_range_of_its_class() -> None:
    values = whole_numbers(scene(1, side=64), 4095)
    data = png(values)
    ranges = {label: {"uint16": (0.0, most)} for label, most in (("a", 4095.0), ("b", 65535.0))}
    originals = Originals(ranges=ValueRanges(by_class=ranges, rule=AUTO))
    for label in ("a", "b"):
        given = row(data, x=8, y=16, width=24, height=32, label=label, frame_id=label)
        tile = np.asarray(Image.open(io.BytesIO(originals.read(given).data)))
        shown = expected(values, *ranges[label]["uint16"])[16:48, 8:32]
        assert np.array_equal(tile, shown)
        assert (tile.max() > 20) == (label == "a")


def test_a_frame_that_can_no_longer_be_decoded_is_named() -> None:
    with pytest.raises(NotAsIngested, match="a: cannot be decoded: not_an_image"):
        Originals().read(row(b"no image", x=0, y=0, width=1, height=1))
    with pytest.raises(NotAsIngested, match="its file changed"):
        Originals(has_digest=False).read(row(b"short", size_bytes=7))
