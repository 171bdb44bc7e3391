"""Read the files that images were made of once more, on the executors, as they are.

`Originals.read` gives the bytes of an image's file. A tile has no file of its own: it is cut out of
its frame and becomes a PNG.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from jobs.acquisition import listing
from jobs.acquisition.allowed_paths import is_allowed
from jobs.acquisition.value_ranges import ValueRanges
from udfs.acquisition import decode, formats
from udfs.acquisition.unusable import Unusable

# First bytes of the formats that are read, and the endings by which loaders know them. A name in
# the source may have another ending, or none.
ENDINGS = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"RIFF", "webp"),
    (b"II", "tif"),
    (b"MM", "tif"),
    (b"BM", "bmp"),
    (b"P1", "pbm"),
    (b"P4", "pbm"),
    (b"P2", "pgm"),
    (b"P5", "pgm"),
    (b"P3", "ppm"),
    (b"P6", "ppm"),
)
FULL = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]+:/")  # paths that say where a file lies
MOST_BYTES = 2**31 - 1
MOST_PIXELS = 2**31 - 1  # of a frame: ingest has decoded it before, within its own limit
AGAIN = "run the pipeline again first"


class NotAsIngested(Exception):  # noqa: N818 (its message becomes that of a JobError)
    """Raised for a file that is gone, or is no longer the one that was ingested."""


class Original(NamedTuple):
    """The bytes of an image, and the ending of names that tells their format."""

    data: bytes
    ending: str


@dataclass
class Originals:
    """Reads files of images; a frame is decoded once for tiles that follow each other.

    has_digest: whether `sha256` of an image is that of its file, and not of its vector. within: the
    folders in which files must lie; None where the digest tells that a file is the right one.
    ranges: how ingest showed pictures of more than 8 bits.
    """

    has_digest: bool = True
    within: tuple[str, ...] | None = None
    ranges: ValueRanges = field(default_factory=ValueRanges)
    _frame_id: str = field(default="", init=False, repr=False)
    _frame: Image.Image | None = field(default=None, init=False, repr=False)

    def read(self, row: Mapping[str, Any]) -> Original:
        """Return an image's bytes.

        row: image_id, label, frame_id, path, content (the bytes, null if they lie in the file at
        `path`), sha256, size_bytes, and of a tile x, y, width and height in pixels; x is null for a
        whole image. Raises NotAsIngested.
        """
        if row["x"] is None:
            data = self._file(row)
            return Original(data, ending(data))
        if self._frame is None or self._frame_id != row["frame_id"]:
            self._frame, self._frame_id = self._decoded(row), row["frame_id"]
        x, y = row["x"], row["y"]
        tile = self._frame.crop((x, y, x + row["width"], y + row["height"]))
        target = io.BytesIO()
        tile.save(target, format="png")
        return Original(target.getvalue(), "png")

    def _decoded(self, row: Mapping[str, Any]) -> Image.Image:
        try:
            depth = self.ranges.depth(row["label"])
            return decode.frame(self._file(row), MOST_PIXELS, depth).image
        except (Unusable, MemoryError) as failure:
            raise NotAsIngested(f"{row['image_id']}: cannot be decoded: {failure}") from failure

    def _file(self, row: Mapping[str, Any]) -> bytes:
        data = row["content"]
        if data is None:
            data = self._mounted(row)
        changed = decode.sha256(data) != row["sha256"] if self.has_digest else False
        size = row["size_bytes"]
        if changed or (size is not None and len(data) != size):
            raise NotAsIngested(f"{row['image_id']}: its file changed since it was read: {AGAIN}")
        return bytes(data)

    def _mounted(self, row: Mapping[str, Any]) -> bytes:
        path = row["path"]
        if path is None or not FULL.match(path):
            raise NotAsIngested(
                f"{row['image_id']}: its bytes are in the table that it came from: give --images "
                "and the settings of [ingest] that it was read with. If they were given, the table "
                f"changed: {AGAIN}"
            )
        if self.within is not None and not is_allowed(path, self.within):
            raise NotAsIngested(f"{row['image_id']}: {path} leads out of the table's folder")
        try:
            return listing.read(path, MOST_BYTES)
        except (OSError, Unusable) as failure:
            reason = getattr(failure, "strerror", None) or failure
            raise NotAsIngested(
                f"{row['image_id']}: {path} cannot be read ({reason}): if it is gone, {AGAIN}"
            ) from failure


def ending(data: bytes) -> str:
    """Return the ending of the names of files that begin like this, without the dot.

    >>> ending(b"GIF89a"), ending(b"....ftypavif"), ending(b"?")
    ('gif', 'avif', 'img')
    """
    known = next((name for first, name in ENDINGS if data.startswith(first)), None)
    return known or formats.ending_of(data) or "img"
