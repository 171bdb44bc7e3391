"""A synthetic aerial survey: procedural terrain, frames flown with overlap, near-copies, truth.

Everything follows from the seed: the same bytes from run to run, and a scene is the same whatever
other scenes and classes are rendered.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

Picture = NDArray[np.float64]  # (rows, columns, 3), levels 0..1
Draw = np.random.Generator
OVERLAPS = (0.95, 0.85, 0.7, 0.5)  # of the area; below a half a frame is no copy of another
FORMATS: tuple[tuple[str, dict[str, int]], ...] = (
    ("png", {}),
    ("jpg", {"quality": 95}),
    ("webp", {"quality": 95}),
    ("tiff", {}),
    ("bmp", {}),
)
SINGLES = 0.5  # share of the scenes that are photographed once
SUN = (-0.6, -0.8)  # where shadows fall from


@dataclass(frozen=True)
class Rendered:
    """One file of the survey, and what is known of it.

    image_id: its path below the root; copy_of: the original it is a copy of, by `change`; overlap:
    share of the original's area, of a shift only; broken: a file that cannot be used.
    """

    image_id: str
    data: bytes
    copy_of: str | None = None
    change: str | None = None
    overlap: float | None = None
    broken: bool = False


def survey(*, labels: int, scenes: int, side: int, seed: int) -> Iterator[Rendered]:
    """Every file of a survey of `labels` classes (at most 8) with `scenes` places each.

    side: px of a frame. About half of the scenes are photographed once; of the others there are
    shifted, re-encoded, brightened, rotated, noisy or rescaled copies. Last come four broken files.
    """
    if not 1 <= labels <= len(TERRAINS):
        raise ValueError(f"labels: {labels}, must lie between 1 and {len(TERRAINS)}")
    for label in list(TERRAINS)[:labels]:
        for number in range(scenes):
            yield from scene(label, number, side, seed)
    yield from broken_files(next(iter(TERRAINS)), side)


def scene(label: str, number: int, side: int, seed: int) -> list[Rendered]:
    """The original of one place, and its copies."""
    draw = _generator(seed, label, number)
    ground = render(label, 2 * side, draw)
    margin = side // 2
    frame = _cut(ground, margin, margin, side)
    original, first = _encoded(f"{label}/{label}_{number:04}", frame, number)
    files = [Rendered(original, first)]
    if draw.random() < SINGLES:
        return files
    wanted = draw.permutation(len(COPIES) + len(OVERLAPS))[: draw.integers(2, 6)]
    for choice in sorted(int(place) for place in wanted):
        if choice < len(OVERLAPS):
            files.append(_shifted(ground, original, side, OVERLAPS[choice], number, draw))
        else:
            change = list(COPIES)[choice - len(OVERLAPS)]
            stem = original.rsplit(".", 1)[0]
            extension, data = COPIES[change](ground, side, draw)
            files.append(Rendered(f"{stem}_{change}.{extension}", data, original, change))
    return files


def _shifted(
    ground: Picture, original: str, side: int, share: float, number: int, draw: Draw
) -> Rendered:
    """The next frame along the flight line: moved so that about `share` of the area is the same."""
    pixels = round((1 - share) * side)
    horizontal, sign = draw.random() < 0.7, 1 if draw.random() < 0.5 else -1
    dx, dy = (sign * pixels, 0) if horizontal else (0, sign * pixels)
    frame = _cut(ground, side // 2 + dx, side // 2 + dy, side)
    frame = frame + draw.normal(0, 0.008, frame.shape)  # another exposure: noise of its own
    stem = original.rsplit(".", 1)[0]
    name, data = _encoded(f"{stem}_shift{round(100 * share)}", frame, number)
    return Rendered(name, data, original, "shift", (side - pixels) / side)


def _jpeg(ground: Picture, side: int, draw: Draw) -> tuple[str, bytes]:
    quality = int(draw.integers(40, 86))
    return "jpg", _save(_centre(ground, side), "jpg", {"quality": quality})


def _brightness(ground: Picture, side: int, draw: Draw) -> tuple[str, bytes]:
    gain = draw.uniform(0.85, 1.18) * draw.uniform(0.96, 1.04, 3)
    return "png", _save(
        np.clip(_centre(ground, side), 0, 1) ** draw.uniform(0.9, 1.1) * gain, "png"
    )


def _rotation(ground: Picture, side: int, draw: Draw) -> tuple[str, bytes]:
    angle = draw.uniform(1, 4) * (1 if draw.random() < 0.5 else -1)
    turned = _image(ground).rotate(angle, Image.Resampling.BICUBIC)
    return "png", _save(_centre(np.asarray(turned) / 255, side), "png")


def _noise(ground: Picture, side: int, draw: Draw) -> tuple[str, bytes]:
    frame = _centre(ground, side)
    return "png", _save(frame + draw.normal(0, 0.03, frame.shape), "png")


def _scale(ground: Picture, side: int, draw: Draw) -> tuple[str, bytes]:
    small = _image(_centre(ground, side)).resize((side // 2, side // 2), Image.Resampling.BOX)
    back = small.resize((side, side), Image.Resampling.BICUBIC)
    return "webp", _save(np.asarray(back) / 255, "webp", {"quality": 90})


COPIES: dict[str, Callable[[Picture, int, Draw], tuple[str, bytes]]] = {
    "jpeg": _jpeg,
    "brightness": _brightness,
    "rotation": _rotation,
    "noise": _noise,
    "scale": _scale,
}


def broken_files(label: str, side: int) -> list[Rendered]:
    """Files that cannot be used: each becomes a reject with its reason."""
    whole = _save(np.full((side, side, 3), 0.5), "jpg", {"quality": 90})
    # A PNG that claims 40,000 x 40,000 px, 8 bits, RGB.
    size = (40_000).to_bytes(4, "big")
    header = _chunk(b"IHDR", size + size + bytes((8, 2, 0, 0, 0)))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb = b"\x89PNG\r\n\x1a\n" + header + pixels + _chunk(b"IEND", b"")
    content = {
        "truncated.jpg": whole[: len(whole) * 2 // 3],
        "empty.jpg": b"",
        "notes.jpg": b"This is a text that somebody named .jpg\n",
        "huge.png": bomb,
    }
    return [Rendered(f"{label}/{name}", data, broken=True) for name, data in content.items()]


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    check = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + check


# Terrain: each function paints a square of ground, light from SUN.


def render(label: str, side: int, draw: Draw) -> Picture:
    """A square of ground of a class, levels 0..1 (side, side, 3)."""
    picture = TERRAINS[label](side, draw)
    haze = draw.uniform(0, 0.06)
    light = draw.uniform(0.85, 1.1)
    picture = picture * light * (1 - haze) + haze
    return np.clip(picture + draw.normal(0, 0.012, picture.shape), 0, 1)


def _noise_field(side: int, draw: Draw, roughness: float = 2.0) -> NDArray[np.float64]:
    """Fractal noise by spectral synthesis, mean 0 and unit spread: (side, side)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(draw.normal(size=(side, side))) / frequency**roughness
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(field / field.std())


def _tinted(base: tuple[float, float, float], draw: Draw, spread: float = 0.05) -> Picture:
    return np.clip(np.asarray(base) + draw.normal(0, spread, 3), 0.03, 0.97)


def _blend(low: Picture, high: Picture, share: NDArray[np.float64]) -> Picture:
    return low + (high - low) * np.clip(share, 0, 1)[..., None]


def _relief(height: Picture, strength: float) -> Picture:
    """Light and shade of a surface lit from SUN."""
    down, right = np.gradient(height)
    return np.asarray(1 + strength * (right * SUN[0] + down * SUN[1]))


def _turned(side: int, draw: Draw) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates along and across a random direction, px."""
    angle = draw.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side] - side / 2
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _field(side: int, draw: Draw) -> Picture:
    """Parcels of crops with furrows."""
    along, across = _turned(side, draw)
    colours = [(0.36, 0.47, 0.2), (0.62, 0.55, 0.3), (0.45, 0.36, 0.24), (0.28, 0.42, 0.18)]
    widths = draw.uniform(0.25, 0.7, 2) * side
    parcel = np.floor((along + draw.uniform(0, side)) / widths[0]) + 7 * np.floor(
        (across + draw.uniform(0, side)) / widths[1]
    )
    picture = np.zeros((side, side, 3))
    for number in np.unique(parcel):
        chosen = parcel == number
        colour = _tinted(colours[draw.integers(len(colours))], draw, 0.04)
        period, depth = draw.uniform(3, 9), draw.uniform(0.02, 0.12)
        wave = np.sin(2 * np.pi * (across if draw.random() < 0.5 else along) / period)
        picture[chosen] = (colour * (1 + depth * wave)[..., None])[chosen]
    return picture * (1 + 0.06 * _noise_field(side, draw, 1.4))[..., None]


def _forest(side: int, draw: Draw) -> Picture:
    """Crowns with light and shade, and clearings."""
    crowns = draw.uniform(1.3, 4.0)
    height = ndimage.gaussian_filter(draw.normal(size=(side, side)), crowns)
    height = height / height.std()
    dark, light = _tinted((0.09, 0.2, 0.08), draw, 0.03), _tinted((0.3, 0.42, 0.17), draw, 0.04)
    picture = _blend(dark, light, 0.45 + 0.3 * height) * _relief(height, 0.9)[..., None]
    clearing = _noise_field(side, draw, 2.2) > draw.uniform(0.9, 2.2)
    soft = ndimage.gaussian_filter(clearing.astype(float), 1.2)
    return _blend(picture, np.broadcast_to(_tinted((0.5, 0.5, 0.28), draw), picture.shape), soft)


def _water(side: int, draw: Draw) -> Picture:
    """Waves, glint and sometimes a shore."""
    along, across = _turned(side, draw)
    swell = _noise_field(side, draw, 1.5)
    wave = np.sin((across + 3 * swell) * 2 * np.pi / draw.uniform(5, 18))
    deep, pale = _tinted((0.05, 0.2, 0.32), draw, 0.05), _tinted((0.2, 0.42, 0.5), draw, 0.05)
    picture = _blend(deep, pale, 0.4 + draw.uniform(0.08, 0.25) * wave + 0.15 * swell)
    if draw.random() < 0.6:
        shore = along + 8 * _noise_field(side, draw, 2.2) - draw.uniform(0.04, 0.3) * side
        sand = np.broadcast_to(_tinted((0.78, 0.7, 0.5), draw), picture.shape)
        picture = _blend(picture, sand, ndimage.gaussian_filter((shore > 0).astype(float), 2))
        foam = np.exp(-((shore / 2.0) ** 2))
        picture = _blend(picture, np.ones_like(picture), 0.7 * foam)
    return picture


def _desert(side: int, draw: Draw) -> Picture:
    """Dunes and scattered shrubs."""
    _, across = _turned(side, draw)
    bend = draw.uniform(4, 14) * _noise_field(side, draw, 2.3)
    phase = (across + bend) / draw.uniform(12, 36)
    dune = np.abs((phase % 1) - draw.uniform(0.6, 0.85))
    low, high = _tinted((0.55, 0.38, 0.22), draw), _tinted((0.88, 0.72, 0.48), draw)
    picture = _blend(low, high, 0.25 + 1.1 * dune + 0.05 * _noise_field(side, draw, 1.0))
    spots = draw.random((side, side)) > 1 - draw.uniform(0, 0.006)
    shrub = ndimage.gaussian_filter(spots.astype(float), 0.9) * 5
    return _blend(picture, np.broadcast_to(_tinted((0.25, 0.28, 0.14), draw), picture.shape), shrub)


def _built(side: int, draw: Draw, ground: tuple[float, float, float]) -> Picture:
    """Streets and houses with roofs and shadows."""
    base = np.asarray(_tinted(ground, draw)) * (1 + 0.08 * _noise_field(side, draw, 1.2))[..., None]
    image = _image(np.clip(base, 0, 1))
    wide = int(side * 1.5)
    layer = image.resize((wide, wide), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(layer)
    block, street = int(draw.integers(26, 52)), int(draw.integers(5, 10))
    asphalt = _ink(_tinted((0.36, 0.36, 0.38), draw, 0.03))
    for start in range(int(draw.integers(0, block)), wide, block):
        pen.rectangle((start, 0, start + street, wide), fill=asphalt)
        pen.rectangle((0, start, wide, start + street), fill=asphalt)
    roofs = [(0.62, 0.3, 0.22), (0.55, 0.52, 0.5), (0.75, 0.72, 0.68), (0.35, 0.33, 0.36)]
    for top in range(0, wide, block):
        for left in range(0, wide, block):
            for _ in range(int(draw.integers(1, 4))):
                _house(pen, left, top, block, street, _tinted(roofs[draw.integers(4)], draw), draw)
    turned = layer.rotate(draw.uniform(0, 90), Image.Resampling.BICUBIC)
    return _cut(np.asarray(turned) / 255, (wide - side) // 2, (wide - side) // 2, side)


def _house(
    pen: ImageDraw.ImageDraw,
    left: int,
    top: int,
    block: int,
    street: int,
    roof: Picture,
    draw: Draw,
) -> None:
    free = block - street - 6
    width, height = (int(draw.integers(6, max(8, free // 2 + 4))) for _ in range(2))
    x = left + street + 2 + int(draw.integers(0, max(1, free - width)))
    y = top + street + 2 + int(draw.integers(0, max(1, free - height)))
    pen.rectangle((x + 2, y + 2, x + width + 2, y + height + 2), fill=(38, 38, 44))
    pen.rectangle((x, y, x + width, y + height), fill=_ink(roof))
    pen.rectangle((x, y, x + width, y + height // 2), fill=_ink(roof * 1.15))


def _town(side: int, draw: Draw) -> Picture:
    """Houses and streets in green."""
    return _built(side, draw, (0.35, 0.42, 0.24))


def _road(side: int, draw: Draw) -> Picture:
    """A road with markings and cars through open land."""
    along, across = _turned(side, draw)
    land = [(0.4, 0.45, 0.24), (0.58, 0.5, 0.34), (0.3, 0.36, 0.2)][draw.integers(3)]
    picture = np.asarray(_tinted(land, draw)) * (1 + 0.1 * _noise_field(side, draw, 1.5))[..., None]
    bend = draw.uniform(0, 9) * np.sin(along / side * draw.uniform(1, 4))
    distance = across + bend + draw.uniform(-0.15, 0.15) * side
    half = draw.uniform(6, 14)
    asphalt = np.broadcast_to(_tinted((0.38, 0.38, 0.4), draw, 0.03), picture.shape)
    picture = _blend(picture, asphalt, (half - np.abs(distance)) / 1.2)
    dashes = (np.abs(distance) < 0.6) & ((along % 12) < 6)
    edges = np.abs(np.abs(distance) - half + 1.2) < 0.5
    picture[dashes | edges] = 0.88
    for _ in range(int(draw.integers(2, 9))):
        place = draw.uniform(-side / 2, side / 2)
        lane = half / 2 * (1 if draw.random() < 0.5 else -1)
        car = (np.abs(along - place) < 3.2) & (np.abs(distance - lane) < 1.6)
        picture[np.roll(car, (2, 1), (0, 1))] *= 0.55
        picture[car] = _tinted((0.6, 0.5, 0.5), draw, 0.3)
    return picture


def _orchard(side: int, draw: Draw) -> Picture:
    """Trees in rows, each with its shadow."""
    along, across = _turned(side, draw)
    soil = np.asarray(_tinted((0.55, 0.48, 0.32), draw))
    picture = soil * (1 + 0.07 * _noise_field(side, draw, 1.3))[..., None]
    gap, row = draw.uniform(7, 13), draw.uniform(8, 16)
    jitter = ndimage.gaussian_filter(draw.normal(size=(2, side, side)), (0, 3, 3)) * 4
    u = (along + jitter[0] + draw.uniform(0, gap)) % gap - gap / 2
    v = (across + jitter[1] + draw.uniform(0, row)) % row - row / 2
    radius = draw.uniform(2.2, 0.42 * gap)
    crown = np.clip(radius - np.hypot(u, v), 0, 1)
    shadow = np.roll(crown, (2, 2), (0, 1))
    picture = picture * (1 - 0.5 * shadow)[..., None]
    leaf = (
        np.asarray(_tinted((0.2, 0.36, 0.13), draw, 0.03))
        * _relief(-np.hypot(u, v), 0.25)[..., None]
    )
    return _blend(picture, leaf, crown)


def _harbour(side: int, draw: Draw) -> Picture:
    """Quays and boats on water."""
    along, across = _turned(side, draw)
    water = _water_only(side, draw)
    quay = np.broadcast_to(_tinted((0.62, 0.6, 0.56), draw, 0.04), water.shape)
    gap = draw.uniform(22, 40)
    pier = (np.abs((across + draw.uniform(0, gap)) % gap - gap / 2) < 1.8) & (along > -0.3 * side)
    shore = along > draw.uniform(0.2, 0.6) * side
    picture = _blend(water, quay, (pier | shore).astype(float))
    for _ in range(int(draw.integers(8, 26))):
        a, c = draw.uniform(-0.5, 0.5, 2) * side
        length, beam = draw.uniform(4, 9), draw.uniform(1.4, 2.6)
        hull = ((along - a) / beam) ** 2 + ((across - c) / length) ** 2 < 1
        picture[np.roll(hull, (1, 1), (0, 1))] *= 0.7
        picture[hull] = _tinted((0.85, 0.84, 0.82), draw, 0.08)
        picture[((along - a) / beam) ** 2 + ((across - c) / length) ** 2 < 0.2] *= 0.75
    return picture


def _water_only(side: int, draw: Draw) -> Picture:
    swell = _noise_field(side, draw, 1.3)
    deep = _tinted((0.06, 0.2, 0.28), draw, 0.04)
    return _blend(deep, _tinted((0.16, 0.34, 0.4), draw, 0.03), 0.4 + 0.25 * swell)


TERRAINS: dict[str, Callable[[int, Draw], Picture]] = {
    "field": _field,
    "forest": _forest,
    "water": _water,
    "town": _town,
    "road": _road,
    "desert": _desert,
    "orchard": _orchard,
    "harbour": _harbour,
}


def _generator(seed: int, label: str, number: int) -> Draw:
    digest = hashlib.sha256(f"{seed}|{label}|{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _cut(picture: Picture, left: int, top: int, side: int) -> Picture:
    return picture[top : top + side, left : left + side]


def _centre(picture: Picture, side: int) -> Picture:
    start = (picture.shape[0] - side) // 2
    return _cut(picture, start, start, side)


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def _ink(colour: Picture) -> tuple[int, int, int]:
    red, green, blue = (int(255 * level) for level in np.clip(colour, 0, 1))
    return red, green, blue


def _encoded(stem: str, picture: Picture, number: int) -> tuple[str, bytes]:
    """The formats take turns."""
    extension, options = FORMATS[number % len(FORMATS)]
    return f"{stem}.{extension}", _save(picture, extension, options)


def _save(picture: Picture, extension: str, options: dict[str, int] | None = None) -> bytes:
    names = {"jpg": "JPEG", "tiff": "TIFF"}
    target = io.BytesIO()
    sharp = _image(picture).filter(ImageFilter.UnsharpMask(1, 40, 2))
    sharp.save(target, names.get(extension, extension.upper()), **(options or {}))
    return target.getvalue()
