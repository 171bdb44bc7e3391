"""Real images whose copies are known because they were made here; the source files in two halves.

One half of the photographs (by a hash of their path) is for choosing settings and for training, the
other for the figures. Of each photograph one original is compared, so two originals are of
different photographs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.changes import FAMILIES
from udfs.acquisition import decode
from udfs.acquisition.decode import SIDE

Pixels = NDArray[np.uint8]  # (n, 64, 64, 3)
Draw = np.random.Generator
CHOOSE, FIGURES = "choose", "figures"
TILES, CLOTHING, OVERLAP = "tiles", "clothing", "overlap"
FOLDERS = {TILES: "ucmerced", OVERLAP: "ucmerced", CLOTHING: "clothing"}
SHARES = {
    "90 %": 0.9,
    "75 %": 0.75,
    "50 %": 0.5,
    "25 %": 0.25,
}  # of the area, by a move along a side


@dataclass(frozen=True)
class Planted:
    """Originals, one a photograph; a copy of each by every family; and what spaces are fitted on.

    copies: row by row those of the originals. others: of the same photographs, originals as well.
    """

    originals: Pixels
    copies: dict[str, Pixels]
    others: Pixels


def half_of(name: str) -> str:
    """Which half a photograph belongs to, by the sha256 of its path below the folder."""
    return (CHOOSE, FIGURES)[hashlib.sha256(name.encode()).digest()[0] & 1]


def photographs(data: Path, what: str, half: str) -> list[tuple[str, Path]]:
    """Path below the folder, and file, of one half.

    In the order of a hash, so that any first n of them are of all classes.
    """
    root = data / FOLDERS[what]
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.jpg")}
    names = [name for name in files if half_of(name) == half]
    names.sort(key=lambda name: hashlib.sha256(f"order|{name}".encode()).digest())
    return [(name, files[name]) for name in names]


def open_image(path: Path) -> Image.Image:
    """A file as `ingest` sees it."""
    return decode.frame(path.read_bytes(), 2**30)


def seen(image: Image.Image) -> Pixels:
    """An image at 64×64, as `ingest` stores it: (64, 64, 3)."""
    (only,) = decode.tiles(image, None, None)
    return np.frombuffer(only.pixels, np.uint8).reshape(SIDE, SIDE, 3)


def tiles(image: Image.Image, stride: int) -> Iterator[Pixels]:
    """The tiles of a photograph: (64, 64, 3) each; none of one that is smaller than a tile."""
    if min(image.size) >= SIDE:
        for tile in decode.tiles(image, SIDE, stride):
            yield np.frombuffer(tile.pixels, np.uint8).reshape(SIDE, SIDE, 3)


def planted(data: Path, what: str, half: str, most: int) -> Planted:
    """Copies planted into tiles of 64 px, or into whole photographs, of at most so many files.

    Of what is a tile one place a photograph is drawn, by its name; changes are made before the
    image is scaled to 64×64. With `overlap` the copies are tiles of the same photograph that share
    some of the area.
    """
    originals: list[Pixels] = []
    others: list[Pixels] = []
    copies: dict[str, list[Pixels]] = {
        name: [] for name in (SHARES if what == OVERLAP else FAMILIES)
    }
    for name, path in photographs(data, what, half)[:most]:
        draw = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        image = open_image(path)
        if what == OVERLAP:
            place = draw.integers(0, np.array(image.size) - SIDE + 1)
            original = _tile(image, place)
            for share, size in SHARES.items():
                copies[share].append(seen(_tile(image, _moved(place, size, image, draw))))
        else:
            whole = what == CLOTHING
            original = (
                image if whole else _tile(image, draw.integers(0, np.array(image.size) - SIDE + 1))
            )
            for family, change in FAMILIES.items():
                copies[family].append(seen(change(original, draw)))
        originals.append(seen(original))
        if what != CLOTHING:
            others += tiles(image, SIDE)
    stacked = {name: np.stack(rows) for name, rows in copies.items()}
    more = np.stack(others) if others else np.empty((0, SIDE, SIDE, 3), np.uint8)
    return Planted(np.stack(originals), stacked, more)


def _tile(image: Image.Image, place: NDArray[np.int64]) -> Image.Image:
    left, top = place.tolist()
    return image.crop((left, top, left + SIDE, top + SIDE))


def _moved(
    place: NDArray[np.int64], share: float, image: Image.Image, draw: Draw
) -> NDArray[np.int64]:
    """The corner of a tile that shares so much of the area: moved along a side, in the image."""
    by = round((1 - share) * SIDE)
    room = np.array(image.size) - SIDE
    ways = [
        moved
        for moved in (place + np.array(way) * by for way in ((1, 0), (-1, 0), (0, 1), (0, -1)))
        if (moved >= 0).all() and (moved <= room).all()
    ]
    return np.asarray(ways[int(draw.integers(len(ways)))], np.int64)
