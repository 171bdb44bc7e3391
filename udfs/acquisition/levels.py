"""The levels of a decoded image as 8-bit RGB, in a few bytes a pixel whatever its mode is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat

STRIP = 2**18  # px that are looked at at once: a large frame is not in memory twice
FLAT = 8  # levels; what spans fewer in each channel is one colour to the eye
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")

Levels = Callable[[NDArray[np.generic]], NDArray[np.uint8]]


def rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB: itself if it is already. The image given is closed otherwise.

    Transparency is left out, but where it alone draws the picture (`drawn_by_alpha`).
    """
    if image.mode == "RGB":
        return image
    grey = eight_bit(image)
    converted = grey.convert("RGB")
    if grey.has_transparency_data and is_flat(converted):
        converted = drawn_by_alpha(converted, grey.convert("RGBA").getchannel("A"))
    grey.close()
    return converted


def is_flat(image: Image.Image) -> bool:
    """Return whether no channel of an RGB image spans FLAT levels: it shows nothing."""
    return all(high - low < FLAT for low, high in ImageStat.Stat(image).extrema)


def count(pixels: bytes) -> int:
    """Return how many of the 256 levels occur in pixels: below FLAT the image shows nothing."""
    return int(np.count_nonzero(np.bincount(np.frombuffer(pixels, np.uint8), minlength=256)))


def drawn_by_alpha(ink: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return an image of one colour, whose drawing is what of it is transparent, on a ground.

    The ground is white below a dark ink, and black below a light one. Where the colours show
    something by themselves, alpha is left out: it may be another band, such as near infrared.
    """
    ((low, high),) = ImageStat.Stat(alpha).extrema
    if high - low < FLAT:
        return ink
    is_dark = ImageStat.Stat(ink.convert("L")).mean[0] < 128
    ground = Image.new("RGB", ink.size, "white" if is_dark else "black")
    return Image.composite(ink, ground, alpha)


def eight_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as round(v/257), which Pillow would clip at 255, and float grey in 0…1.

    Other images are returned as they are. The image given is closed if another one is returned.
    """
    if image.mode in _SIXTEEN_BIT:
        return _by_strips(image, _of_sixteen_bits)
    if image.mode == "F":
        return _by_strips(image, _of_floats)
    return image


def strips(image: Image.Image) -> list[tuple[int, int]]:
    """Return the first row, and the row after the last one, of parts of about STRIP pixels."""
    rows = max(1, STRIP // image.width)
    return [(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def _by_strips(image: Image.Image, levels: Levels) -> Image.Image:
    grey = Image.new("L", image.size)
    for top, bottom in strips(image):
        strip = image.crop((0, top, image.width, bottom))
        grey.paste(Image.fromarray(levels(np.asarray(strip))), (0, top))
    image.close()
    return grey


def _of_sixteen_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = np.clip(values.astype(np.int64), 0, 65535)
    return ((wide + 128) // 257).astype(np.uint8)


def _of_floats(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = np.nan_to_num(values.astype(np.float64), posinf=1.0, neginf=0.0)
    return np.rint(np.clip(wide, 0.0, 1.0) * 255).astype(np.uint8)
