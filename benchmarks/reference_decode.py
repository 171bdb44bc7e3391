"""Decodes each kind of pixels by a reference and by this project: the largest difference of levels.

    .venv/bin/python -m benchmarks.reference_decode

The files are made here, by tifffile and Pillow. The reference is NumPy on the values that were
written, under the range that `ingest.range = "auto"` has chosen; beside it stands what Pillow alone
shows. A row without numbers: Pillow does not read the file, or another frame of it.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from benchmarks.results import recorded
from udfs.acquisition import decode
from udfs.acquisition.ranges import Depth

SIDE = 96
MOST = 10**6  # px
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A file, and the values that are shown of it: (h, w) or (h, w, 3), NaN where there is none."""

    name: str
    data: bytes
    values: NDArray[Any]
    inverted: bool = False
    depth: Depth = field(default_factory=lambda: Depth("auto"))


def main() -> None:
    """Print the table."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    print("| pixels | range shown | ours | levels | Pillow alone | levels |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in cases():
        frame = decode.frame(case.data, MOST, case.depth)
        ours, shown = np.asarray(frame.image), frame.shown or (0.0, 255.0)
        right = reference(case, *shown)
        pillow, levels = of_pillow(case.data, right)
        cells = (
            *(case.name, f"{shown[0]:g} … {shown[1]:g}", difference(ours, right)),
            *(np.unique(ours).size, pillow, levels),
        )
        print("| " + " | ".join(map(str, cells)) + " |")


def reference(case: Case, low: float, high: float) -> Levels:
    """Return the values as RGB levels, by the definition."""
    values = case.values.astype(float)
    levels = np.rint(np.clip((values - low) * 255 / (high - low), 0, 255))
    levels = np.nan_to_num(255 - levels if case.inverted else levels).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


def of_pillow(data: bytes, right: Levels) -> tuple[int | str, int | str]:
    """Return the largest difference of what Pillow alone shows, and how many levels that has."""
    try:
        with warnings.catch_warnings(action="ignore"):
            levels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return "–", "–"
    if levels.shape != right.shape:
        return "–", "–"
    return difference(levels, right), np.unique(levels).size


def difference(levels: Levels, right: Levels) -> int:
    """Return the largest difference of two pictures of the same size."""
    return int(np.abs(levels.astype(int) - right.astype(int)).max())


def scene(seed: int, bands: int, side: int = SIDE) -> NDArray[np.float64]:
    """Return a smooth picture whose values fill 0…1: (side, side, bands)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    out = np.zeros((side, side, bands))
    for _ in range(8):
        across, down, width = draw.uniform(0, 1, 3)
        blob = np.exp(-((x - across) ** 2 + (y - down) ** 2) / (0.02 + 0.2 * width))
        out += blob[..., None] * draw.uniform(-1, 1, bands)
    out -= out.min()
    out /= out.max()
    return out


def cases() -> Iterator[Case]:
    """Yield a file of each kind of pixels."""
    grey, colours, seven = scene(1, 1)[..., 0], scene(2, 3), scene(3, 7)
    for bits in (10, 12, 16):
        values = whole(grey, 2**bits - 1)
        yield Case(f"grey, {bits} of 16 bits, PNG", png(values), values)
        yield Case(f"grey, {bits} of 16 bits, TIFF", tiff(values), values)
    values = whole(grey, 65535)
    inverted = tiff(values, photometric="miniswhite")
    yield Case("grey, 16 bits, white is zero", inverted, values, inverted=True)
    values = whole(grey, 2**32 - 1, "u4")
    yield Case("grey, unsigned 32 bits", tiff(values), values)
    values = whole(grey, 3000, "i2") - 1000
    yield Case("grey, signed 16 bits, Hounsfield units", tiff(values), values)
    values = (grey * 255).astype("f4")
    yield Case("grey, float32 in 0…255", tiff(values), values)
    heights = (grey * 534 + 812).astype("f4")
    yield Case("heights in metres, float32", tiff(heights), heights)
    yield Case("heights in metres, float64", tiff(heights.astype("f8")), heights)
    holes = heights.copy()
    holes[:9] = np.nan
    yield Case("heights with NaN", tiff(holes), holes)
    filled = np.where(np.isnan(holes), np.float32(-9999), holes)
    tag = [(42113, "s", 0, "-9999", True)]
    yield Case("heights with no data by a tag", tiff(filled, extratags=tag), holes)
    for bits in (12, 16):
        values = whole(colours, 2**bits - 1)
        yield Case(f"RGB, {bits} of 16 bits", tiff(values), values)
        data = tiff(values, compression="zlib", predictor=True)
        yield Case(f"RGB, {bits} of 16 bits, deflated", data, values)
        yield Case(f"RGB, {bits} of 16 bits, band by band", tiff(values, separate=True), values)
    values = whole(seven, 4095)
    yield Case("7 bands of 12 of 16 bits", tiff(values), values[..., :3])
    chosen = Depth("auto", bands=(5, 3, 1))
    shown = values[..., [4, 2, 0]]
    yield Case("7 bands, bands = [5, 3, 1]", tiff(values), shown, depth=chosen)
    data = tiff(values, separate=True, byteorder=">", bigtiff=True, tile=(32, 48))
    yield Case("7 bands, band by band, tiled BigTIFF", data, shown, depth=chosen)
    values = whole(colours, 255, "u1")
    yield Case("RGB, 8 bits", tiff(values), values)
    yield Case("RGB, 8 bits, a reduced page first", reduced_first(values), values)


def whole(values: NDArray[np.float64], most: int, kind: str = "u2") -> NDArray[Any]:
    """Return values 0…1 as whole numbers 0…most."""
    return np.rint(values * most).astype(kind)


def png(values: NDArray[Any]) -> bytes:
    """Return a PNG of 16-bit grey."""
    target = io.BytesIO()
    Image.fromarray(values).save(target, "PNG")
    return target.getvalue()


def tiff(values: NDArray[Any], *, separate: bool = False, **options: Any) -> bytes:
    """Return a TIFF; separate: one band after the other."""
    target = io.BytesIO()
    options.setdefault("photometric", "rgb" if values.ndim == 3 else "minisblack")
    if separate:
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
        options["planarconfig"] = "separate"
    tifffile.imwrite(target, values, metadata=None, **options)
    return target.getvalue()


def reduced_first(values: NDArray[Any]) -> bytes:
    """Return a TIFF whose first page is a reduced copy of the second."""
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as file:
        file.write(values[::4, ::4], subfiletype=1, photometric="rgb")
        file.write(values, photometric="rgb")
    return target.getvalue()


if __name__ == "__main__":
    recorded(main)
