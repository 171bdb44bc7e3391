"""What the processes that decode files, and those that ask them, say to each other.

A message is a JSON object and some bytes. The first one is a Decoding. A request has the key
`items`, a list of Item, and the bytes that they bring along. Each item is answered by messages with
`tiles`, whose pixels are the bytes, and with `code`: null if more messages follow, else that of
`rejects`, or "" for an image.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from udfs.acquisition.unusable import Unusable

LENGTHS = struct.Struct("<II")  # of the JSON object and of the bytes


@dataclass(frozen=True)
class Decoding:
    """How files are read, decoded and cut: settings of [ingest].

    tile, stride: None where frames stay whole. max_seconds: of processor time, for a file. within:
    the folders below which files are read; None where the driver has listed them.
    """

    max_pixels: int
    tile: int | None = None
    stride: int | None = None
    max_bytes: int = 1 << 30
    max_seconds: int = 60
    within: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Item:
    """A file to decode, or the bytes of one.

    size: of the bytes that come with the request; None: the process reads the file at `path`. skip:
    tiles that were answered already, by a process that died later.
    """

    path: str
    size: int | None
    skip: int = 0


def message(content: dict[str, Any], data: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    text = json.dumps(content).encode()
    return LENGTHS.pack(len(text), len(data)) + text + data


def too_many_bytes(size: int, most: int) -> Unusable:
    """Return the reason for a file of `size` bytes."""
    return Unusable(
        "too_large",
        f"the file has {size} bytes: more than ingest.max_bytes = {most}; raise it, or cut the "
        "frame into smaller files",
    )
