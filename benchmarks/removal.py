"""A picture of one proved removal: the image that stays, the removed one, and one over the other.

    ./spark-submit.sh sample --images build/small/images --set sample.scenes=12
    ./spark-submit.sh pipeline --images build/small/images --warehouse build/small/warehouse
    .venv/bin/python -m benchmarks.removal build/small/warehouse docs/removal.png --label town

Of the class it takes the removed image that shares least with the one that stays. Run it on
generated images, which anybody may publish. The alternative text for the page is printed.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.latents import published
from benchmarks.results import recorded
from udfs.acquisition.decode import SIDE

Pixels = NDArray[np.uint8]  # (SIDE, SIDE, 3)
ZOOM, GAP, MARGIN, TEXT = 3, 28, 20, 62  # px, but for the zoom
OUTLINE, INK, CARD = "#ffd54f", "#333333", "#fbfbf9"


@dataclass(frozen=True)
class Removal:
    """A removed image with its evidence, as table `selection` has it.

    scale, rotation (degrees, anticlockwise as seen), shift (right, down; pixels): where it lies in
    the frame of the image that stays. true_overlap: what truth.csv says; None if it does not know.
    """

    kept: str
    removed: str
    overlap: float
    scale: float
    rotation: float
    shift: tuple[float, float]
    true_overlap: float | None

    def to_kept(self) -> NDArray[np.float64]:
        """(2, 2): offsets from the centre of the removed image to offsets in the one that stays."""
        angle = math.radians(self.rotation)
        a, b = self.scale * math.cos(angle), self.scale * math.sin(angle)
        return np.array([[a, b], [-b, a]])

    def outline(self) -> NDArray[np.float64]:
        """(4, 2): the corners of the removed image, in pixels of the one that stays."""
        half = SIDE / 2
        corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
        return np.asarray(corners @ self.to_kept().T + self.shift + half - 0.5)


def true_overlaps(path: Path) -> dict[str, float]:
    """The overlaps of shifted frames that `sample` wrote down."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["overlap"]]
    return {row["image_id"]: float(row["overlap"]) for row in rows}


def removals(warehouse: str, label: str, truth: dict[str, float]) -> list[Removal]:
    """What the published rule removed of a class, the least overlap first."""
    rule, space = published(warehouse)
    table = DeltaTable(f"{warehouse}/selection").to_pyarrow_dataset()
    wanted = (ds.field("rule") == rule.name) & (ds.field("space") == space)
    # Not `== False`: by delta-rs's statistics of booleans that would find no file.
    wanted &= (ds.field("label") == label) & ~ds.field("kept")
    names = ["kept_id", "image_id", "overlap", "scale", "rotation", "shift_x", "shift_y"]
    rows: list[dict[str, Any]] = table.to_table(columns=names, filter=wanted).to_pylist()
    found = [
        Removal(
            row["kept_id"], row["image_id"], row["overlap"], row["scale"], row["rotation"],
            (row["shift_x"], row["shift_y"]), truth.get(row["image_id"]),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda each: (each.overlap, each.removed))


def pictures(warehouse: str, ids: Sequence[str]) -> dict[str, Pixels]:
    table = DeltaTable(f"{warehouse}/images").to_pyarrow_dataset()
    wanted = ds.field("image_id").isin(list(ids))
    rows = table.to_table(columns=["image_id", "pixels"], filter=wanted).to_pylist()
    return {
        row["image_id"]: np.frombuffer(row["pixels"], np.uint8).reshape(SIDE, SIDE, 3)
        for row in rows
    }


def laid_over(kept: Pixels, removed: Pixels, removal: Removal) -> tuple[Pixels, tuple[int, int]]:
    """Both images on one canvas, with their mean where they overlap.

    Returns the canvas (h, w, 3), white where neither is, and the place (right, down) of its
    upper-left pixel in the frame of the image that stays.
    """
    corners = np.concatenate([removal.outline(), [[-0.5, -0.5], [SIDE - 0.5, SIDE - 0.5]]])
    left, top = (int(edge) for edge in np.floor(corners.min(axis=0) + 0.5))
    right, bottom = (int(edge) for edge in np.ceil(corners.max(axis=0) - 0.5))
    rows, columns = np.mgrid[top : bottom + 1, left : right + 1].astype(np.float64)
    frame = np.stack([columns, rows], axis=-1)  # (h, w, 2), of the image that stays
    centre = SIDE / 2 - 0.5
    own = (frame - centre - removal.shift) @ np.linalg.inv(removal.to_kept()).T + centre
    kept_there = inside(frame)[..., None]
    removed_there = inside(own)[..., None]
    both = kept_there * sampled(kept, frame) + removed_there * sampled(removed, own)
    counts = kept_there.astype(np.int64) + removed_there
    canvas = np.where(counts > 0, both / np.maximum(counts, 1), 255)
    return canvas.round().astype(np.uint8), (left, top)


def inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(…, 2) → (…): whether points lie in an image, whose pixels reach half a pixel further."""
    return np.asarray(((points > -0.5) & (points < SIDE - 0.5)).all(axis=-1))


def sampled(image: Pixels, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(SIDE, SIDE, 3), (h, w, 2) → (h, w, 3): an image at points (right, down), bilinear."""
    where = np.moveaxis(points, -1, 0)[::-1]
    channels = np.moveaxis(image.astype(np.float64), -1, 0)
    layers = [ndimage.map_coordinates(each, where, order=1, mode="nearest") for each in channels]
    return np.stack(layers, axis=-1)


def captions(removal: Removal) -> list[tuple[str, str]]:
    """Two lines below each panel: what it is, and what is to be seen."""
    known = removal.true_overlap
    truth = "" if known is None else f" (in truth {known:.0%})"
    shift = ", ".join(f"{abs(each):.1f}" for each in removal.shift)
    return [
        ("stays", "yellow: where the other lies"),
        ("removed", f"shift {shift} px, turned {abs(removal.rotation):.1f}°"),
        ("one laid over the other", f"{removal.overlap:.0%} is shown by both{truth}"),
    ]


def draw(removal: Removal, found: dict[str, Pixels]) -> Figure:
    """Three panels on an opaque light card, which reads on light and dark pages alike."""
    kept, removed = found[removal.kept], found[removal.removed]
    canvas, corner = laid_over(kept, removed, removal)
    panels = [(kept, (0, 0)), (removed, (0, 0)), (canvas, corner)]
    widths = [ZOOM * picture.shape[1] for picture, _ in panels]
    tall = ZOOM * max(picture.shape[0] for picture, _ in panels)
    width = sum(widths) + 2 * GAP + 2 * MARGIN
    height = tall + TEXT + MARGIN
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=CARD)
    FigureCanvasAgg(figure)
    left = MARGIN
    texts = captions(removal)
    for (picture, (x, y)), wide, (title, line) in zip(panels, widths, texts, strict=True):
        high = ZOOM * picture.shape[0]
        low = TEXT + (tall - high) / 2
        axes = figure.add_axes((left / width, low / height, wide / width, high / height))
        axes.imshow(picture, interpolation="nearest", extent=_extent(picture, x, y))
        axes.set_axis_off()
        if title != "removed":
            _outline(axes, removal.outline())
            axes.set_xlim(x - 0.5, x + picture.shape[1] - 0.5)
            axes.set_ylim(y + picture.shape[0] - 0.5, y - 0.5)
        middle = (left + wide / 2) / width
        top = TEXT - 10
        figure.text(middle, top / height, title, ha="center", va="top", color=INK,
                    fontsize=12, fontweight="bold")  # fmt: skip
        figure.text(middle, (top - 24) / height, line, ha="center", va="top", color=INK,
                    fontsize=9)  # fmt: skip
        left += wide + GAP
    return figure


def _extent(picture: Pixels, x: int, y: int) -> tuple[float, float, float, float]:
    return (x - 0.5, x + picture.shape[1] - 0.5, y + picture.shape[0] - 0.5, y - 0.5)


def _outline(axes: Axes, corners: NDArray[np.float64]) -> None:
    closed = np.concatenate([corners, corners[:1]])
    axes.plot(closed[:, 0], closed[:, 1], color=OUTLINE, linewidth=2)


def main() -> list[Path]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("target", type=Path)
    parser.add_argument("--label", default="town")
    parser.add_argument("--truth", type=Path, help="default: truth.csv beside the warehouse")
    given = parser.parse_args()
    truth = true_overlaps(given.truth or Path(given.warehouse).parent / "truth.csv")
    removal = removals(given.warehouse, given.label, truth)[0]
    figure = draw(removal, pictures(given.warehouse, [removal.kept, removal.removed]))
    given.target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.target, facecolor=figure.get_facecolor())
    told = "; ".join(f"{title}: {line}" for title, line in captions(removal))
    print(f"Two generated aerial images of the class {given.label}. {told}.")
    return [given.target]


if __name__ == "__main__":
    recorded(main)
