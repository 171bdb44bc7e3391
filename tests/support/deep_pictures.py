"""Pictures of more than 8 bits, as scanners, cameras and satellites write them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.support.hostile_files import chunk


def scene(seed: int, bands: int = 1, side: int = 72) -> NDArray[np.float64]:
    """A smooth picture of values that fill 0…1: (side, side), or (side, side, bands)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    out = np.zeros((side, side, bands))
    for _ in range(6):
        centre_x, centre_y, radius = draw.uniform(0, 1, 3)
        blob = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (0.02 + 0.2 * radius))
        out += blob[..., None] * draw.uniform(-1, 1, bands)
    out -= out.min()
    out /= out.max()
    return out[..., 0] if bands == 1 else out


def whole_numbers(values: NDArray[np.float64], most: int, kind: str = "u2") -> NDArray[Any]:
    """Values 0…1 as whole numbers 0…most."""
    return np.rint(values * most).astype(kind)


def png(values: NDArray[Any], significant: int = 0) -> bytes:
    """A PNG of 16-bit grey; significant: the bits that its chunk sBIT states, if any."""
    target = io.BytesIO()
    Image.fromarray(values).save(target, "PNG")
    data = target.getvalue()
    if significant:
        data = data[:33] + chunk(b"sBIT", bytes([significant])) + data[33:]
    return data


def tiff(values: NDArray[Any], *, no_data: str = "", **options: Any) -> bytes:
    """A TIFF of (h, w) or (h, w, bands) values, by tifffile; no_data: as GDAL writes it."""
    target = io.BytesIO()
    if values.ndim == 3 and options.get("planarconfig") == "separate":
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
    if "photometric" not in options:
        options["photometric"] = "rgb" if values.ndim == 3 else "minisblack"
    tags = options.pop("extratags", [])
    if no_data:
        tags = [*tags, (42113, "s", 0, no_data, True)]
    tifffile.imwrite(target, values, extratags=tags, metadata=None, **options)
    return target.getvalue()


def expected(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """The definition: (h, w) or (h, w, 3) values as RGB levels of (h, w, 3)."""
    scaled = (values.astype(float) - low) * 255 / (high - low)
    shown = np.rint(np.clip(np.nan_to_num(scaled), 0, 255)).astype(np.uint8)
    return np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown
