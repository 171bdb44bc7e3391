"""Procedural ground as seen from above, in eight classes: use `render`, or TERRAINS for the names.

Aerial photographs of one class differ in colour, in light and above all in their layout. So every
class consists of large shapes (parcels, stands, shores, quarters), by which an encoder that sees
64x64 px can tell two scenes apart, under fine texture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from udfs.acquisition.synthetic.ground import (
    Draw,
    Pen,
    Picture,
    Tone,
    any_of,
    blend,
    blurred,
    fractal,
    relief,
    smooth,
    tinted,
    turned,
    winding,
)

CROPS: tuple[Tone, ...] = (
    (0.34, 0.46, 0.18),
    (0.66, 0.58, 0.34),
    (0.44, 0.34, 0.23),
    (0.18, 0.33, 0.13),
    (0.74, 0.71, 0.26),
    (0.58, 0.47, 0.34),
    (0.29, 0.24, 0.19),
    (0.52, 0.61, 0.31),
)
OPEN_LAND: tuple[Tone, ...] = (
    (0.4, 0.46, 0.23),
    (0.62, 0.54, 0.36),
    (0.28, 0.36, 0.18),
    (0.48, 0.4, 0.28),
    (0.68, 0.64, 0.46),
    (0.2, 0.28, 0.14),
)
GROUND = OPEN_LAND + CROPS
TREES: tuple[tuple[Tone, Tone], ...] = (
    ((0.05, 0.13, 0.08), (0.16, 0.28, 0.15)),
    ((0.11, 0.22, 0.07), (0.36, 0.47, 0.18)),
    ((0.2, 0.26, 0.12), (0.58, 0.6, 0.32)),
    ((0.3, 0.19, 0.08), (0.6, 0.42, 0.16)),
)
ROOFS: tuple[Tone, ...] = (
    (0.62, 0.3, 0.22),
    (0.55, 0.52, 0.5),
    (0.78, 0.75, 0.71),
    (0.33, 0.32, 0.36),
    (0.7, 0.5, 0.36),
)
QUARTERS: tuple[Tone, ...] = (
    (0.36, 0.44, 0.24),
    (0.24, 0.34, 0.17),
    (0.56, 0.53, 0.48),
    (0.5, 0.42, 0.31),
    (0.44, 0.48, 0.3),
)
DARKEST = 0.4  # share of full light on a slope away from the sun, under a cloud
MOST_GAIN = 2.5  # largest gain of an exposure; more would show the noise of a calm sea


def render(label: str, side: int, draw: Draw) -> Picture:
    """Return a square of ground of a class in random light: (side, side, 3), levels 0…1.

    label: a name in TERRAINS. side: in px, of about half a metre each. Cost: some 10 ms for 144 px.
    """
    return _lit(TERRAINS[label](side, draw), draw)


def _lit(picture: Picture, draw: Draw) -> Picture:
    """Light the ground: slopes, sometimes the shadow of a cloud, and the colour of the light."""
    side = len(picture)
    slopes = smooth(side, draw, int(draw.integers(2, 5)))
    light = 1 + draw.uniform(0.08, 0.32) * slopes
    if draw.random() < 0.3:
        cloud = np.clip(2 * smooth(side, draw, 2) + draw.uniform(-1, 1), 0, 1)
        light = light * (1 - draw.uniform(0.3, 0.55) * cloud)
    light = np.maximum(light, DARKEST)
    warmth = draw.uniform(-0.08, 0.08)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    return _exposed(picture * light[..., None] * tint, draw)


def _exposed(picture: Picture, draw: Draw) -> Picture:
    """Stretch the tones over most of the range, as the providers of surveys do."""
    tones = picture.mean(axis=2)
    low, high = np.percentile(tones, (2, 98))
    gain = min(draw.uniform(0.6, 0.9) / (high - low), MOST_GAIN)
    return np.asarray(np.clip((picture - (low + high) / 2) * gain + draw.uniform(0.4, 0.56), 0, 1))


def _land(side: int, draw: Draw, tones: Sequence[Tone]) -> Picture:
    """Paint open land: two or three covers in large patches, under fine texture."""
    picture = blend(any_of(tones, draw), any_of(tones, draw), 0.5 + 4 * smooth(side, draw, 3))
    if draw.random() < 0.6:
        patch = 4 * (fractal(side, draw, 1.8) - draw.uniform(0.2, 1.2))
        picture = blend(picture, any_of(tones, draw), patch)
    return picture * (1 + 0.07 * fractal(side, draw, 1.2))[..., None]


# The classes: each function paints a square of ground, (side, side, 3).


def _field(side: int, draw: Draw) -> Picture:
    """Parcels of crops with furrows, between hedges or tracks."""
    along, across = turned(side, draw.uniform(0, np.pi))
    width, depth = draw.uniform(30, 100, 2)
    u = (along + draw.uniform(-0.3, 0.3) * across + draw.uniform(0, width)) / width
    row = np.floor(u)
    # Each row of parcels is cut at its own positions.
    v = across / depth + np.sin(37.7 * row + draw.uniform(0, 6.3))
    _, parcel = np.unique(100 * row + np.floor(v), return_inverse=True)
    parcel = parcel.reshape(side, side)
    count = int(parcel.max()) + 1
    colours = np.stack([any_of(CROPS, draw) for _ in range(count)])
    period, height = draw.uniform(3, 9, count), draw.uniform(0.0, 0.14, count)
    lengthwise = draw.random(count) < 0.5
    wave = np.sin(2 * np.pi * np.where(lengthwise[parcel], across, along) / period[parcel])
    picture = colours[parcel] * (1 + height[parcel] * wave)[..., None]
    picture = picture * (1 + 0.05 * fractal(side, draw, 1.4))[..., None]
    border = np.minimum((0.5 - np.abs(u % 1 - 0.5)) * width, (0.5 - np.abs(v % 1 - 0.5)) * depth)
    edge = tinted(((0.16, 0.25, 0.1), (0.7, 0.63, 0.48))[draw.integers(2)], draw)
    return blend(picture, edge, draw.uniform(0, 2.5) - border)


def _forest(side: int, draw: Draw) -> Picture:
    """Stands of different trees, clearings, sometimes a track."""
    stands = []
    for stand in draw.permutation(len(TREES))[:3]:
        low, high = TREES[stand]
        crowns = blurred(side, draw, draw.uniform(1.2, 3.2))
        tone = blend(tinted(low, draw), tinted(high, draw, 0.06), 0.45 + 0.3 * crowns)
        stands.append(tone * relief(crowns, 0.7)[..., None])
    picture = blend(stands[0], stands[1], 0.5 + 6 * smooth(side, draw, 3))
    picture = blend(picture, stands[2], 6 * (smooth(side, draw, 3) - draw.uniform(0.2, 1)))
    bare = tinted((0.55, 0.52, 0.31), draw, 0.06)
    if draw.random() < 0.8:
        clearing = 5 * (fractal(side, draw, 1.8) - draw.uniform(0, 1.3))
        meadow = any_of(OPEN_LAND, draw) * (1 + 0.08 * fractal(side, draw, 1.2))[..., None]
        picture = blend(picture, meadow, clearing)
    if draw.random() < 0.25:
        pond = smooth(side, draw, 3) - draw.uniform(0.5, 1.5)
        picture = blend(picture, tinted((0.16, 0.26, 0.32), draw, 0.06), 12 * pond)
    if draw.random() < 0.4:
        track = winding(*turned(side, draw.uniform(0, np.pi)), draw)
        picture = blend(picture, bare * 1.15, draw.uniform(1.5, 3.5) - np.abs(track))
    return picture


def _water(side: int, draw: Draw) -> Picture:
    """Waves over deep and shallow water, glint, sometimes a shore."""
    along, across = turned(side, draw.uniform(0, np.pi))
    swell = fractal(side, draw, 1.5)
    wave = np.sin((across + 3 * swell) * 2 * np.pi / draw.uniform(5, 18))
    deep = tinted(
        ((0.04, 0.16, 0.3), (0.08, 0.22, 0.24), (0.05, 0.1, 0.18))[draw.integers(3)], draw
    )
    pale = tinted(((0.2, 0.46, 0.52), (0.36, 0.44, 0.38), (0.3, 0.5, 0.46))[draw.integers(3)], draw)
    depth = draw.uniform(0.1, 0.8) + draw.uniform(0.25, 0.6) * smooth(side, draw, 2)
    picture = blend(deep, pale, depth + draw.uniform(0.04, 0.18) * wave + 0.06 * swell)
    glint = draw.uniform(0, 0.8) * np.clip(smooth(side, draw, 2) + 0.3 * wave - 0.5, 0, 1)
    picture = blend(picture, np.array([0.9, 0.92, 0.9]), glint)
    if draw.random() < 0.75:
        shore = along + draw.uniform(6, 22) * smooth(side, draw, 3) - draw.uniform(-0.2, 0.3) * side
        sand = tinted((0.76, 0.68, 0.5), draw)
        scrub = tinted((0.34, 0.4, 0.2), draw)
        beach = blend(sand, scrub, (shore - draw.uniform(8, 40)) / 4)
        picture = blend(picture, beach, shore / 3)
        picture = blend(picture, np.ones(3), 0.8 * np.exp(-((shore / 2.0) ** 2)))
    return picture


def _town(side: int, draw: Draw) -> Picture:
    """Quarters between streets: lawns, yards and parks, with houses and trees."""
    angle = draw.uniform(0, np.pi / 2)
    pen, streets = Pen(side, angle), Pen(side, angle)
    block, street = draw.uniform(26, 58, 2), draw.uniform(4, 10)
    asphalt = tinted((0.38, 0.38, 0.4), draw, 0.05)
    picture = np.broadcast_to(asphalt, (side, side, 3))
    reach = int(0.75 * side / min(block)) + 1
    offset = draw.uniform(0, 1, 2)
    crowded = draw.uniform(0.2, 1)
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            centre = ((i + offset[0]) * block[0], (j + offset[1]) * block[1])
            if pen.shows(centre, block.max()):
                inner = block - street
                streets.box(centre, inner[0], inner[1], any_of(QUARTERS, draw))
                _quarter(pen, centre, inner, crowded, draw)
    ground = streets.over(picture) * (1 + 0.06 * fractal(side, draw, 1.2))[..., None]
    return pen.over(ground)


def _quarter(
    pen: Pen, centre: tuple[float, float], inner: NDArray[np.float64], crowded: float, draw: Draw
) -> None:
    """Draw what stands in one quarter: a hall, some houses, or trees."""
    use = draw.random()
    if use < 0.2 * crowded:
        length, width = inner * draw.uniform(0.5, 0.85, 2)
        pen.box(centre, length, width, any_of(ROOFS, draw), 3)
        return
    for _ in range(draw.poisson(1 + 4 * crowded) if use < 0.85 else 0):
        length, width = draw.uniform(6, 15, 2)
        free = np.maximum(inner - (length, width), 0) / 2
        x, y = np.asarray(centre) + draw.uniform(-1, 1, 2) * free
        roof = any_of(ROOFS, draw)
        pen.box((x, y), length, width, roof, 2.5)
        pen.box((x, y - width / 4), length, width / 2, roof * 1.18)
    for _ in range(draw.poisson(2 if use < 0.85 else 9)):
        x, y = np.asarray(centre) + draw.uniform(-0.5, 0.5, 2) * inner
        pen.disc((x, y), draw.uniform(1.2, 3.2), tinted((0.17, 0.28, 0.12), draw, 0.03), 1.5)


def _road(side: int, draw: Draw) -> Picture:
    """A road with markings and cars through open land, sometimes a second one across it."""
    angle = draw.uniform(0, np.pi)
    along, across = turned(side, angle)
    offset, half = draw.uniform(-0.22, 0.22) * side, draw.uniform(4, 12)
    distance = across - offset
    # The land differs on the two sides of the road.
    picture = np.where(
        (distance > 0)[..., None], _land(side, draw, GROUND), _land(side, draw, GROUND)
    )
    asphalt = tinted((0.4, 0.4, 0.42), draw, 0.06)
    verge = tinted((0.6, 0.56, 0.42), draw)
    if draw.random() < 0.35:
        slant = along - draw.uniform(-0.3, 0.3) * side + draw.uniform(-0.5, 0.5) * across
        picture = blend(picture, verge, (0.6 * half + 2 - np.abs(slant)) / 1.2)
        picture = blend(picture, asphalt * 1.1, (0.6 * half - np.abs(slant)) / 1.2)
    picture = blend(picture, verge, (half + draw.uniform(0, 5) - np.abs(distance)) / 1.2)
    picture = blend(picture, asphalt, (half - np.abs(distance)) / 1.2)
    dashes = (np.abs(distance) < 0.6) & ((along % 12) < 6)
    edges = np.abs(np.abs(distance) - half + 1.2) < 0.5
    picture[dashes | edges] = 0.88
    pen = Pen(side, angle)
    for _ in range(draw.integers(1, 8)):
        lane = half / 2 * (1 if draw.random() < 0.5 else -1)
        centre = (draw.uniform(-0.6, 0.6) * side, offset + lane)
        paint = np.clip(draw.uniform(0.1, 0.9) + draw.normal(0, 0.12, 3), 0, 1)
        pen.box(centre, draw.uniform(6, 14), min(3.4, 0.8 * half), paint, 1.5)
    for _ in range(draw.poisson(8)):
        away = (half + draw.uniform(4, 40)) * (1 if draw.random() < 0.5 else -1)
        centre = (draw.uniform(-0.7, 0.7) * side, offset + away)
        pen.disc(centre, draw.uniform(2, 4.5), tinted((0.15, 0.25, 0.1), draw, 0.03), 2)
    return pen.over(picture)


def _desert(side: int, draw: Draw) -> Picture:
    """Dunes, outcrops of rock, pans of salt or clay, and shrubs."""
    _, across = turned(side, draw.uniform(0, np.pi))
    phase = (across + draw.uniform(5, 20) * smooth(side, draw, 3)) / draw.uniform(14, 50)
    dune = np.abs((phase % 1) - draw.uniform(0.6, 0.85))
    low, high = tinted((0.46, 0.33, 0.22), draw, 0.05), tinted((0.84, 0.7, 0.5), draw, 0.06)
    texture = 0.04 * fractal(side, draw, 1.0) + draw.uniform(0.2, 0.5) * smooth(side, draw, 4)
    picture = blend(low, high, draw.uniform(0.1, 0.5) + draw.uniform(0.3, 1.1) * dune + texture)
    covers: tuple[Tone, ...] = (
        (0.3, 0.23, 0.19),
        (0.92, 0.88, 0.78),
        (0.62, 0.34, 0.22),
        (0.5, 0.48, 0.44),
    )
    for cover in covers:
        if draw.random() < 0.5:
            height = fractal(side, draw, 1.7)
            rough = tinted(cover, draw) * relief(height, 1.5)[..., None]
            picture = blend(picture, rough, 5 * (height - draw.uniform(0.1, 1.3)))
    pen = Pen(side, 0)
    for x, y in draw.uniform(-0.5, 0.5, (draw.integers(0, 60), 2)) * side:
        pen.disc((x, y), draw.uniform(0.8, 2.2), tinted((0.24, 0.27, 0.14), draw, 0.03), 1)
    return pen.over(picture)


def _orchard(side: int, draw: Draw) -> Picture:
    """Plots of trees in rows, young and old, on bare soil or grass, or just cleared."""
    angle = draw.uniform(0, np.pi)
    plots, pen = Pen(side, angle), Pen(side, angle)
    gap, row = draw.uniform(7, 14), draw.uniform(8, 16)
    leaf = tinted(((0.17, 0.32, 0.12), (0.34, 0.4, 0.24), (0.24, 0.3, 0.1))[draw.integers(3)], draw)
    plot, cut = draw.uniform(26, 64, 2), draw.uniform(0, 64, 2)
    reach = 0.72 * side
    trees = np.stack(
        np.meshgrid(np.arange(-reach, reach, gap), np.arange(-reach, reach, row), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    numbers, owner = np.unique(np.floor((trees + cut) / plot), axis=0, return_inverse=True)
    owner = owner.ravel()
    for number in numbers:
        middle = (number + 0.5) * plot - cut
        plots.box((middle[0], middle[1]), plot[0], plot[1], any_of(GROUND, draw))
    patches = 1 + 0.2 * smooth(side, draw, 4) + 0.07 * fractal(side, draw, 1.2)
    picture = plots.over(np.full((side, side, 3), 0.5)) * patches[..., None]
    ages = draw.uniform(0.25, 0.5, len(numbers)) * (draw.random(len(numbers)) > 0.2)
    radii = min(gap, row) * ages[owner] * draw.uniform(0.8, 1.15, len(trees))
    radii[draw.random(len(trees)) < draw.uniform(0, 0.2)] = 0
    trees = trees + draw.normal(0, 0.5, trees.shape)
    tones = 1 + draw.normal(0, 0.1, len(trees))
    visible = (radii > 1) & (np.abs(trees @ pen.turn).max(axis=1) < side / 2 + 6)
    for (x, y), radius, tone in zip(trees[visible], radii[visible], tones[visible], strict=True):
        pen.disc((x, y), radius, leaf * tone, 0.6 * radius)
    return pen.over(picture)


def _harbour(side: int, draw: Draw) -> Picture:
    """Quays with sheds and containers, piers, and boats on water."""
    angle = draw.uniform(0, 2 * np.pi)
    along, _ = turned(side, angle)
    deep = tinted(((0.06, 0.2, 0.28), (0.12, 0.2, 0.2), (0.04, 0.12, 0.22))[draw.integers(3)], draw)
    swell = smooth(side, draw, 2) + 0.4 * fractal(side, draw, 1.2)
    water = blend(deep, tinted((0.24, 0.4, 0.44), draw), 0.3 + 0.25 * swell)
    edge = draw.uniform(-0.2, 0.4) * side
    concrete = blend(
        tinted((0.62, 0.6, 0.56), draw, 0.05),
        tinted((0.42, 0.42, 0.42), draw, 0.05),
        0.5 + 3 * smooth(side, draw, 3),
    )
    picture = blend(water, concrete, along - edge)
    pen = Pen(side, angle)
    for _ in range(draw.integers(2, 12)):
        length, width = draw.uniform(5, 26), draw.uniform(5, 18)
        centre = (
            edge + draw.uniform(0.5, 1) * length + draw.exponential(25),
            draw.uniform(-0.7, 0.7) * side,
        )
        pen.box(centre, length, width, any_of(ROOFS, draw), 3)
    gap, reach = draw.uniform(20, 46), draw.uniform(15, 70)
    timber = tinted((0.6, 0.56, 0.5), draw, 0.06)
    for pier in np.arange(-0.75 * side, 0.75 * side, gap) + draw.uniform(0, gap):
        pen.box((edge - reach / 2, pier), reach, 3.5, timber, 1)
        _moor(pen, edge, reach, float(pier), draw)
    return pen.over(picture)


def _moor(pen: Pen, edge: float, reach: float, pier: float, draw: Draw) -> None:
    """Draw boats on both sides of a pier; a berth may be free."""
    taken = draw.uniform(0.2, 0.9)
    for berth in np.arange(edge - reach + 3, edge - 4, 6):
        for side in (-1, 1):
            if draw.random() < taken:
                length, beam = draw.uniform(7, 12), draw.uniform(3, 4.2)
                hull = np.array([(-0.5, 0), (-0.5, 0.6), (0, 1), (0.5, 0.6), (0.5, 0)])
                corners = np.array([berth, pier]) + hull * (beam, side * length) + (0, side * 2.5)
                white = tinted((0.85, 0.84, 0.82), draw, 0.05)
                pen.polygon(corners, white, 1)
                pen.box((berth, pier + side * (2.5 + 0.35 * length)), beam / 2, 3, white * 0.6)


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
