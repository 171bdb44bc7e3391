"""What decoding makes of a file, and what it takes, as tests look at it."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from udfs.acquisition.decode import PIXELS, SIDE, Tile, decode
from udfs.acquisition.unusable import Unusable

LIMIT = 10**6


def decoded(data: bytes) -> Tile:
    """The only image of a file."""
    (tile,) = decode(data, max_pixels=LIMIT, tile=None, stride=None)
    return tile


def whole(data: bytes) -> NDArray[np.uint8]:
    """The pixels of the only image of a file: (64, 64, 3)."""
    tile = decoded(data)
    assert tile.suffix == ""
    assert len(tile.pixels) == PIXELS
    return np.frombuffer(tile.pixels, np.uint8).reshape(SIDE, SIDE, 3)


def refused(data: bytes, **wanted: Any) -> Unusable:
    with pytest.raises(Unusable) as caught:
        decode(data, **({"max_pixels": LIMIT, "tile": None, "stride": None} | wanted))
    return caught.value


def png_of(side: int) -> bytes:
    """A PNG that claims to be side x side px."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


def peak_bytes(file: Path, tile: int | None = None, stride: int | None = None) -> int:
    """The most memory of a process that goes through the images of a file, without the file."""
    script = (
        "import pathlib, resource\n"
        "from udfs.acquisition.decode import stream\n"
        f"data = pathlib.Path({str(file)!r}).read_bytes()\n"
        f"for tile in stream(data, max_pixels=10**8, tile={tile}, stride={stride}): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - len(data))"
    )
    return int(printed(script))


def printed(script: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
