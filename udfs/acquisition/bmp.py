"""BMP pictures of 16 bits a pixel with 6 of green, which Pillow opens and does not decode."""

from __future__ import annotations

import numpy as np
from PIL import BmpImagePlugin, Image

from udfs.acquisition.unusable import Unusable

_KIND = "BGR;16"  # how Pillow calls 5 bits of red, 6 of green and 5 of blue
_FIVE, _SIX = 31, 63  # the greatest values of 5 and 6 bits


def read(image: BmpImagePlugin.BmpImageFile, data: bytes) -> Image.Image | None:
    """Return an RGB image; None if Pillow decodes the picture itself. Raises Unusable.

    image: as Pillow has opened it, not loaded. data: the bytes of the file.
    """
    tile = image.tile[0] if image.tile else None
    if tile is None or not isinstance(tile.args, tuple) or tile.args[0] != _KIND:
        return None
    _, stride, direction = tile.args
    size = stride * image.height
    content = data[tile.offset : tile.offset + size]
    if len(content) < size:
        raise Unusable(
            "truncated",
            f"the file ends at {len(data)} of {tile.offset + size} bytes: copy it again",
        )
    values = np.frombuffer(content, "<u2").reshape(image.height, -1)[::direction, : image.width]
    parts = ((values >> 11, _FIVE), (values >> 5 & _SIX, _SIX), (values & _FIVE, _FIVE))
    levels = [np.rint(part * (255 / most)).astype(np.uint8) for part, most in parts]
    return Image.fromarray(np.stack(levels, axis=2))
