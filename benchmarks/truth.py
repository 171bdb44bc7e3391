"""Real images whose copies are known because they were made here; the source files in two halves.

One half of the photographs (by a hash of their path) is for choosing settings and for training, the
other for the figures. Of each photograph one original is compared, so two originals are of
different photographs. Use `planted` for copies that were changed, `crops` for two frames of one
photograph whose overlap and transform are known, and `pool` for all tiles of a half.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.changes import BICUBIC, FAMILIES
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


# Photographs of the half for the figures that show the same place. They were proposed by proved
# tiles, and confirmed by benchmarks/places.py, which lays the whole photographs over each other, or
# by eye. Some are of two classes.
SAME_PLACE = frozenset(
    frozenset(f"{place}.jpg" for place in pair.split())
    for pair in (
        "airplane/airplane01 airplane/airplane02",
        "airplane/airplane19 runway/runway20",
        "airplane/airplane56 airplane/airplane57",
        "airplane/airplane74 airplane/airplane75",
        "airplane/airplane75 airplane/airplane76",
        "airplane/airplane90 airplane/airplane91",
        "baseballdiamond/baseballdiamond41 baseballdiamond/baseballdiamond45",
        "baseballdiamond/baseballdiamond48 baseballdiamond/baseballdiamond49",
        "baseballdiamond/baseballdiamond60 baseballdiamond/baseballdiamond61",
        "baseballdiamond/baseballdiamond75 baseballdiamond/baseballdiamond76",
        "baseballdiamond/baseballdiamond88 tenniscourt/tenniscourt88",
        "baseballdiamond/baseballdiamond91 baseballdiamond/baseballdiamond93",
        "buildings/buildings66 intersection/intersection64",
        "denseresidential/denseresidential80 tenniscourt/tenniscourt77",
        "golfcourse/golfcourse66 golfcourse/golfcourse67",
        "harbor/harbor49 harbor/harbor50",
        "harbor/harbor87 harbor/harbor88",
        "harbor/harbor98 harbor/harbor99",
        "intersection/intersection50 mobilehomepark/mobilehomepark04",
        "intersection/intersection88 mediumresidential/mediumresidential49",
        "mobilehomepark/mobilehomepark82 mobilehomepark/mobilehomepark83",
        "overpass/overpass65 overpass/overpass66",
        "parkinglot/parkinglot24 parkinglot/parkinglot36",
        "parkinglot/parkinglot29 parkinglot/parkinglot30",
        "river/river87 river/river88",
        "runway/runway28 runway/runway29",
        "sparseresidential/sparseresidential04 sparseresidential/sparseresidential05",
        "sparseresidential/sparseresidential26 sparseresidential/sparseresidential27",
        "sparseresidential/sparseresidential75 sparseresidential/sparseresidential76",
        "storagetanks/storagetanks09 storagetanks/storagetanks10",
        "storagetanks/storagetanks59 storagetanks/storagetanks60",
        "storagetanks/storagetanks73 storagetanks/storagetanks75",
        "storagetanks/storagetanks90 storagetanks/storagetanks95",
        "storagetanks/storagetanks90 storagetanks/storagetanks96",
        "tenniscourt/tenniscourt24 tenniscourt/tenniscourt25",
        "tenniscourt/tenniscourt37 tenniscourt/tenniscourt38",
    )
)
FRAME = 80  # px of a photograph that the larger part of `crops` shows
LARGEST_SCALE, LARGEST_ROTATION = 1.4, 15.0  # of a crop; degrees
LEAST_OVERLAP, MOST_OVERLAP = 0.3, 0.95


@dataclass(frozen=True)
class Planted:
    """Originals, one a photograph; a copy of each by every family; and what spaces are fitted on.

    copies: row by row those of the originals. others: of the same photographs, originals as well.
    """

    originals: Pixels
    copies: dict[str, Pixels]
    others: Pixels


@dataclass(frozen=True)
class Crops:
    """Pairs of frames cut out of one photograph: (n, 64, 64, 3) each, and what is known of them.

    photographs: (n,), which photograph. overlaps: (n,), the share of the copy that lies inside the
    original. matrices: (n, 2, 3), from the copy's pixels to the original's, in pixels of the 64×64
    frames from their centres, as `udfs.registration.Alignments.matrices`.
    """

    originals: Pixels
    copies: Pixels
    photographs: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    matrices: NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Tiles (n, 64, 64, 3) of many photographs, with their classes, photographs and corners."""

    pixels: Pixels
    labels: NDArray[np.int64]
    photographs: NDArray[np.int64]
    corners: NDArray[np.int64]
    names: list[str]  # of the photographs

    def __len__(self) -> int:
        return len(self.pixels)


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
    return decode.frame(path.read_bytes(), 2**30).image


def seen(image: Image.Image) -> Pixels:
    """An image at 64×64, as `ingest` stores it: (64, 64, 3)."""
    (only,) = decode.tiles(decode.Frame(image), None, None)
    return np.frombuffer(only.pixels, np.uint8).reshape(SIDE, SIDE, 3)


def tiles(image: Image.Image, stride: int) -> Iterator[Pixels]:
    """The tiles of a photograph: (64, 64, 3) each; none of one that is smaller than a tile."""
    if min(image.size) >= SIDE:
        for tile in decode.tiles(decode.Frame(image), SIDE, stride):
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


def pool(data: Path, half: str, stride: int, most: int = 10_000) -> Pool:
    """All tiles of 64 px of at most so many UC Merced photographs of one half."""
    pixels: list[Pixels] = []
    places: list[tuple[int, int, int, int]] = []
    files = photographs(data, TILES, half)[:most]
    classes = sorted({name.split("/")[0] for name, _ in files})
    for number, (name, path) in enumerate(files):
        image = open_image(path)
        corners = (
            range(0, image.height - SIDE + 1, stride),
            range(0, image.width - SIDE + 1, stride),
        )
        label = classes.index(name.split("/")[0])
        places += [(label, number, x, y) for y in corners[0] for x in corners[1]]
        pixels += tiles(image, stride)
    known = np.array(places)
    names = [name for name, _ in files]
    return Pool(np.stack(pixels), known[:, 0], known[:, 1], known[:, 2:], names)


def crops(data: Path, half: str, most: int, each: int) -> Crops:
    """Pairs of overlapping frames, so many of each of at most so many UC Merced photographs.

    The original is an upright frame of FRAME px. The copy is turned and has another scale; it lies
    in a direction drawn at random, so far away that the overlap is what was drawn. Both are scaled
    to 64×64, the copy from three times that size, so that neither is sampled too coarsely.
    """
    originals, copies, overlaps, matrices, numbers = [], [], [], [], []
    for number, (name, path) in enumerate(photographs(data, TILES, half)[:most]):
        draw = np.random.default_rng(list(hashlib.sha256(f"crops|{name}".encode()).digest()))
        image = open_image(path)
        for _ in range(each):
            matrix, centre = _crop(np.array(image.size, np.float64), draw)
            left, top = centre - FRAME / 2
            frame = (left, top, left + FRAME, top + FRAME)
            original = image.transform((FRAME, FRAME), Image.Transform.EXTENT, frame, BICUBIC)
            originals.append(seen(original))
            copies.append(seen(_cut(image, matrix, centre)))
            overlaps.append(overlap_of(matrix))
            matrices.append(matrix)
            numbers.append(number)
    return Crops(
        np.stack(originals), np.stack(copies), np.array(numbers), np.array(overlaps),
        np.stack(matrices),
    )  # fmt: skip


def _crop(size: NDArray[np.float64], draw: Draw) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix from a copy to its original, and the original's centre, both in the photograph.

    What does not lie inside the photograph, or cannot have the overlap, is drawn again.
    """
    half = SIDE / 2
    while True:
        overlap = draw.uniform(LEAST_OVERLAP, MOST_OVERLAP)
        scale = LARGEST_SCALE ** draw.uniform(-1, 1)
        angle = math.radians(draw.uniform(-LARGEST_ROTATION, LARGEST_ROTATION))
        turn = scale * np.array(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        towards = draw.uniform(0, 2 * math.pi)
        way = np.array([math.cos(towards), math.sin(towards)])
        centre = np.array([draw.uniform(FRAME / 2, side - FRAME / 2) for side in size])
        matrix = _at_overlap(turn, way, overlap)
        if matrix is None:
            continue
        corners = matrix @ np.array(
            [[-half, half, -half, half], [-half, -half, half, half], [1] * 4]
        )
        inside = centre[:, None] + corners * FRAME / SIDE
        if (inside >= 0).all() and (inside <= size[:, None]).all():
            return matrix, centre


def _at_overlap(
    turn: NDArray[np.float64], way: NDArray[np.float64], overlap: float
) -> NDArray[np.float64] | None:
    """The matrix of a shift in a direction at which so much overlaps, by halving; None: nowhere."""
    near, far = 0.0, 3.0 * SIDE
    if overlap_of(np.column_stack([turn, near * way])) < overlap:
        return None
    for _ in range(12):
        middle = (near + far) / 2
        if overlap_of(np.column_stack([turn, middle * way])) >= overlap:
            near = middle
        else:
            far = middle
    return np.column_stack([turn, near * way])


def overlap_of(matrix: NDArray[np.float64]) -> float:
    """The share of the pixels of a 64×64 frame that a matrix (2, 3) takes into the other frame."""
    middles = np.arange(SIDE) + 0.5 - SIDE / 2
    x, y = np.meshgrid(middles, middles)
    moved = np.tensordot(matrix[:, :2], np.stack([x, y]), axes=1) + matrix[:, 2, None, None]
    return float((np.abs(moved) <= SIDE / 2).all(axis=0).mean())


def _cut(
    image: Image.Image, matrix: NDArray[np.float64], centre: NDArray[np.float64]
) -> Image.Image:
    """What a copy shows, at three times 64 px a side."""
    times = 3
    linear = matrix[:, :2] * FRAME / SIDE / times
    start = centre + matrix[:, 2] * FRAME / SIDE - linear @ np.full(2, times * SIDE / 2)
    (a, b), (c, d) = linear.tolist()
    data = (a, b, float(start[0]), c, d, float(start[1]))
    return image.transform((times * SIDE, times * SIDE), Image.Transform.AFFINE, data, BICUBIC)


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
