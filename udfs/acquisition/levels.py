"""The levels of a decoded image of 8 bits, as RGB. `samples` has deeper ones."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageStat

STRIP = 2**18  # px that are looked at at once: a large frame is not in memory twice
FLAT = 8  # levels; what spans fewer in each channel is one colour to the eye


def rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit image in RGB: itself if it is already. The image given is closed otherwise.

    Transparency is left out, but where it alone draws the picture (`drawn_by_alpha`).
    """
    if image.mode == "RGB":
        return image
    converted = image.convert("RGB")
    if image.has_transparency_data and is_flat(converted):
        converted = drawn_by_alpha(converted, image.convert("RGBA").getchannel("A"))
    image.close()
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


def strips(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the first row, and the row after the last one, of parts of about STRIP pixels."""
    width, height = size
    rows = max(1, STRIP // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
