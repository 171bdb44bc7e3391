"""What the processes that decode files, and those that ask them, say to each other.

A message is a JSON object and some bytes. The first one is a Decoding. A request has the keys
`items`, a list of Item with the bytes that they bring along, and `want`, one of those below. Each
item is answered by messages with `tiles`, whose pixels are the bytes, or `spread`, and with `code`:
null if more messages follow, else that of `rejects`, or "" for an image.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from udfs.acquisition.ranges import AUTO, Depth, Range
from udfs.acquisition.unusable import Unusable

LENGTHS = struct.Struct("<II")  # of the JSON object and of the bytes
# What is wanted of files: their images, whether they are images, or how deep samples spread.
TILES, REASON, SPREAD = "tiles", "reason", "spread"


@dataclass(frozen=True)
class Decoding:
    """How files are read, decoded and cut: settings of [ingest].

    tile, stride: None where frames stay whole. max_seconds: of processor time, for a file. within:
    the folders below which files are read; None where the driver has listed them. range, bands: as
    in `ranges.Depth`.
    """

    max_pixels: int
    tile: int | None = None
    stride: int | None = None
    max_bytes: int = 1 << 30
    max_seconds: int = 60
    within: tuple[str, ...] | None = None
    range: str | Range = AUTO
    bands: tuple[int, ...] = ()

    def depth(self, fixed: Mapping[str, Range]) -> Depth:
        """Return how deep pictures are shown, with the ranges that are fixed for a file's class."""
        rule = self.range if isinstance(self.range, str) else (self.range[0], self.range[1])
        known = {kind: (low, high) for kind, (low, high) in fixed.items()}
        return Depth(rule, known, tuple(self.bands))


@dataclass(frozen=True)
class Item:
    """A file to decode, or the bytes of one.

    size: of the bytes that come with the request; None: the process reads the file at `path`. skip:
    tiles that were answered already, by a process that died later. ranges: of its class, by kind.
    """

    path: str
    size: int | None
    skip: int = 0
    ranges: Mapping[str, Range] = field(default_factory=dict)


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
