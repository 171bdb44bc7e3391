"""The levels of a decoded image as 8-bit RGB, in a few bytes a pixel whatever its mode is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP = 2**18  # px that are looked at at once: a large frame is not in memory twice
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")

Levels = Callable[[NDArray[np.generic]], NDArray[np.uint8]]


def rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB: itself if it is already. The image given is closed otherwise."""
    if image.mode == "RGB":
        return image
    grey = eight_bit(image)
    converted = grey.convert("RGB")
    grey.close()
    return converted


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
