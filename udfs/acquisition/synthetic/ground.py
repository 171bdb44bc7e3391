"""Building blocks of synthetic terrain: noise, tones, coordinates, light, shapes and shadows.

`udfs.acquisition.synthetic.terrain` composes its classes of these. All random numbers come from the
generator that is passed, named `draw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field = NDArray[np.float64]  # (side, side)
Picture = NDArray[np.float64]  # (side, side, 3), levels 0..1
Colour = NDArray[np.float64]  # (3,)
Draw = np.random.Generator
Tone = tuple[float, float, float]

SUN = (-0.6, -0.8)  # right, down: the direction towards the sun
FINE = 2  # shapes are drawn at this multiple of the resolution and averaged
SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
RING = np.stack([np.cos(np.arange(10) * np.pi / 5), np.sin(np.arange(10) * np.pi / 5)], axis=1)


@lru_cache(maxsize=16)
def _divisors(side: int, roughness: float) -> Field:
    """Return |frequency|^roughness on the half-plane of a real Fourier transform, 1 at frequency 0.

    Its callers ask for few values of roughness, each many times.
    """
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    return np.asarray(frequency**roughness)


def fractal(side: int, draw: Draw, roughness: float) -> Field:
    """Return noise with the spectrum frequency^−roughness, mean 0 and deviation 1: (side, side)."""
    spectrum = scipy.fft.rfft2(draw.normal(size=(side, side))) / _divisors(side, roughness)
    spectrum[0, 0] = 0
    field = scipy.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(field / field.std())


def smooth(side: int, draw: Draw, cells: int) -> Field:
    """Return hills and hollows, about `cells` along a side, of deviation 1.2: (side, side)."""
    coarse = draw.normal(size=(cells + 1, cells + 1)).astype(np.float32)
    hills = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(hills, np.float64) * 1.4


def blurred(side: int, draw: Draw, spread: float) -> Field:
    """Return white noise smoothed over `spread` px, of deviation 1, as for tree crowns."""
    field = scipy.ndimage.gaussian_filter(draw.normal(size=(side, side)), spread, mode="wrap")
    return np.asarray(field / field.std())


def tinted(base: Tone | Colour, draw: Draw, spread: float = 0.04) -> Colour:
    """Return a tone with random changes of brightness and hue, each level in 0.03…0.97: (3,)."""
    lighter = 1 + draw.normal(0, 3 * spread)
    tone = np.asarray(base) * lighter + draw.normal(0, spread / 2, 3)
    return np.asarray(np.clip(tone, 0.03, 0.97))


def any_of(tones: Sequence[Tone], draw: Draw) -> Colour:
    """Return one of the tones, tinted: (3,)."""
    return tinted(tones[int(draw.integers(len(tones)))], draw)


def blend(low: Picture | Colour, high: Picture | Colour, share: Field) -> Picture:
    """Mix two pictures or colours: `low` where the share is 0, `high` where it is 1."""
    return np.asarray(low + (high - low) * np.clip(share, 0, 1)[..., None])


def relief(height: Field, strength: float) -> Field:
    """Return the light on a surface lit from SUN, 1 where it is flat: (side, side)."""
    down, right = np.gradient(height)
    return np.asarray(1 + strength * (right * SUN[0] + down * SUN[1]))


def turned(side: int, angle: float) -> tuple[Field, Field]:
    """Return the coordinates along and across a direction, in px from the centre."""
    y, x = np.mgrid[:side, :side] - side / 2
    return (
        x * np.cos(angle) + y * np.sin(angle),
        y * np.cos(angle) - x * np.sin(angle),
    )


def winding(along: Field, across: Field, draw: Draw) -> Field:
    """Return the signed distance in px from a winding line that crosses the square."""
    bend = draw.uniform(0, 12) * np.sin(along / draw.uniform(14, 40) + draw.uniform(0, 6.3))
    return np.asarray(across + bend + draw.uniform(-0.3, 0.3) * len(across))


class Pen:
    """Draws solid, anti-aliased shapes with shadows.

    Coordinates run along and across a direction, in px from the centre. Shapes of one pen cover
    each other in the order they are drawn; their shadows fall on the ground below all of them.
    """

    def __init__(self, side: int, angle: float) -> None:
        self.half = side / 2
        self.turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        blank = (FINE * side, FINE * side)
        self.layer, self.shade = Image.new("RGBA", blank), Image.new("L", blank)
        self.shapes, self.shadows = ImageDraw.Draw(self.layer), ImageDraw.Draw(self.shade)

    def shows(self, point: tuple[float, float], margin: float) -> bool:
        """Return whether a point lies in the square, or less than `margin` px from it."""
        return bool(np.abs(point @ self.turn).max() < self.half + margin)

    def polygon(self, corners: NDArray[np.float64], colour: Colour, height: float = 0) -> None:
        """Draw a polygon. corners: (n, 2); height: length of the shadow in px."""
        points = corners @ self.turn + self.half
        if height:
            fallen = points - height * np.array(SUN)
            self.shadows.polygon((FINE * fallen).ravel().tolist(), fill=130)
        ink = (255 * np.clip(colour, 0, 1)).astype(int)
        self.shapes.polygon((FINE * points).ravel().tolist(), fill=(*ink.tolist(), 255))

    def box(
        self,
        centre: tuple[float, float],
        length: float,
        width: float,
        colour: Colour,
        height: float = 0,
    ) -> None:
        """Draw a rectangle. length: along the direction; width: across it; both in px."""
        self.polygon(SQUARE * (length, width) + centre, colour, height)

    def disc(
        self, centre: tuple[float, float], radius: float, colour: Colour, height: float = 0
    ) -> None:
        """Draw a disc. radius: in px."""
        self.polygon(RING * radius + centre, colour, height)

    def over(self, ground: Picture) -> Picture:
        """Return the ground with the shadows and the shapes on it."""
        shade = np.asarray(self.shade.reduce(FINE), np.float64)[..., None] / 255
        # The colours are premultiplied, so that averaging does not darken the edges.
        shapes = np.asarray(self.layer.convert("RGBa").reduce(FINE), np.float64) / 255
        return np.asarray(ground * (1 - shade) * (1 - shapes[..., 3:]) + shapes[..., :3])
