"""A strip of pairs from the demo: near-copies that were proved, and two places that look alike.

    .venv/bin/python -m benchmarks.pairs build/demo/warehouse docs/pairs.png

It shows generated images only: run it on the demo's warehouse. The alternative text for the page
is printed.
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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.latents import classes, published
from jobs.settings.duplicates import Rule
from udfs.acquisition.decode import SIDE
from udfs.vectors import cosine

ZOOM, GAP, MARGIN, TEXT = 2, 6, 22, 78  # px, but for the zoom
WORDS = {
    "jpeg": "saved as JPEG again",
    "brightness": "brightness changed",
    "rotation": "turned a little",
    "noise": "noise added",
    "scale": "rescaled",
}


@dataclass(frozen=True)
class Pair:
    """Two images of a class.

    overlap, outline: of a pair of which the second image was removed, because the first shows so
    much of it: the corners (4, 2) of the second in pixels of the first; None where both stay.
    """

    left: str
    right: str
    similarity: float
    overlap: float | None = None
    outline: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Truth:
    """What truth.csv says of an image."""

    root: str
    change: str
    overlap: str


def read_truth(path: Path) -> dict[str, Truth]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["image_id"]: Truth(row["copy_of"] or row["image_id"], row["change"], row["overlap"])
            for row in csv.DictReader(file)
        }


def selected(warehouse: str, kept: bool) -> list[dict[str, Any]]:
    """The images that stay by the published rule, or that go."""
    rule, space = published(warehouse)
    table = DeltaTable(f"{warehouse}/selection").to_pyarrow_dataset()
    chosen = (ds.field("rule") == rule.name) & (ds.field("space") == space)
    # Not `== kept`: by delta-rs's statistics of booleans that would find no file.
    chosen &= ds.field("kept") if kept else ~ds.field("kept")
    names = ["kept_id", "image_id", "similarity", "overlap"]
    names += ["scale", "rotation", "shift_x", "shift_y"]
    rows: list[dict[str, Any]] = table.to_table(columns=names, filter=chosen).to_pylist()
    return rows


def removed_pairs(warehouse: str) -> list[Pair]:
    """Every removed image with the kept one that justifies it, by falling overlap."""
    rows = selected(warehouse, kept=False)
    pairs = [
        Pair(row["kept_id"], row["image_id"], row["similarity"], row["overlap"], outline(row))
        for row in rows
    ]
    return sorted(pairs, key=lambda pair: (-(pair.overlap or 0), pair.right))


def outline(row: dict[str, Any]) -> NDArray[np.float64]:
    """Where the corners of a removed image lie in the one that stays: (4, 2), in its pixels."""
    angle, half = math.radians(row["rotation"]), SIDE / 2
    a, b = row["scale"] * math.cos(angle), row["scale"] * math.sin(angle)
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    shift = np.array([row["shift_x"], row["shift_y"]])
    return np.asarray(corners @ np.array([[a, b], [-b, a]]).T + shift + half - 0.5)


def closest_kept(warehouse: str, truth: dict[str, Truth]) -> Pair:
    """The two kept images of one class and of two places that are most similar."""
    kept = {row["image_id"] for row in selected(warehouse, kept=True)}
    best = Pair("", "", -1.0)
    for _, ids, vectors in classes(warehouse, published(warehouse)[1]):
        rows = [row for row, name in enumerate(ids) if name in kept]
        unit = cosine.unit_rows(vectors[rows], cosine.squared_norms(vectors[rows]))
        roots = np.array([truth[ids[row]].root for row in rows])
        similarity = np.triu(cosine.products(unit, unit), k=1)
        similarity[roots[:, None] == roots[None, :]] = -1
        place = np.unravel_index(int(similarity.argmax()), similarity.shape)
        found = float(similarity[place])
        if found > best.similarity:
            best = Pair(ids[rows[int(place[0])]], ids[rows[int(place[1])]], found)
    return best


def label(image_id: str) -> str:
    return image_id.split("/")[0]


def choose(removed: list[Pair], alike: Pair, truth: dict[str, Truth]) -> list[Pair]:
    """A pair of each of two changes, the two that overlap least of two classes, and look-alikes."""
    chosen: list[Pair] = []
    for change in ("rotation", "scale"):
        known = [
            pair
            for pair in removed
            if truth[pair.right].change == change
            and truth[pair.right].root == pair.left
            and label(pair.left) not in {label(other.left) for other in chosen}
        ]
        chosen.append(known[len(known) // 2])
    for pair in reversed(removed):
        if label(pair.left) not in {label(other.left) for other in chosen}:
            chosen.append(pair)
        if len(chosen) == 4:
            break
    return [*chosen, alike]


def story(pair: Pair, truth: dict[str, Truth]) -> str:
    """What the truth says of a pair."""
    left, right = truth[pair.left], truth[pair.right]
    if left.root != right.root:
        return f"two places, Sim {pair.similarity:.2f}"
    if left.root == pair.left and right.change in WORDS:
        return WORDS[right.change]
    if left.root == pair.left:
        return f"next frame, {float(right.overlap):.0%} overlap"
    return "two frames of one place"


def verdict(pair: Pair) -> str:
    """What is said of a pair."""
    if pair.overlap is None:
        return "no proof: both stay"
    return f"{pair.overlap:.0%} shown: removed"


def pixels(warehouse: str, ids: list[str]) -> dict[str, NDArray[np.uint8]]:
    table = DeltaTable(f"{warehouse}/images").to_pyarrow_dataset()
    rows = table.to_table(columns=["image_id", "pixels"], filter=ds.field("image_id").isin(ids))
    return {
        row["image_id"]: np.frombuffer(row["pixels"], np.uint8).reshape(SIDE, SIDE, 3)
        for row in rows.to_pylist()
    }


def draw(
    pairs: Sequence[Pair], pictures: dict[str, NDArray[np.uint8]], truth: dict[str, Truth]
) -> Figure:
    """The strip: on an opaque light card, so that it reads on light and dark pages alike."""
    shown = ZOOM * SIDE
    wide = 2 * shown + GAP
    width, height = len(pairs) * (wide + MARGIN) + MARGIN, shown + TEXT + MARGIN
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="#fbfbf9")
    FigureCanvasAgg(figure)
    for number, pair in enumerate(pairs):
        left = MARGIN + number * (wide + MARGIN)
        for place, name in enumerate((pair.left, pair.right)):
            box = (left + place * (shown + GAP), TEXT, shown, shown)
            axes = figure.add_axes(
                (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
            )
            axes.imshow(pictures[name], interpolation="nearest")
            axes.set_axis_off()
            if place == 0 and pair.outline is not None:
                closed = np.concatenate([pair.outline, pair.outline[:1]])
                axes.plot(closed[:, 0], closed[:, 1], color="#ffd54f", linewidth=2)
                axes.set_xlim(-0.5, SIDE - 0.5)
                axes.set_ylim(SIDE - 0.5, -0.5)
        colour = "#1b7837" if pair.overlap is None else "#b2182b"
        middle = (left + wide / 2) / width
        for line, (text, ink, weight) in enumerate(
            (
                (verdict(pair), colour, "bold"),
                (story(pair, truth), "#333333", "normal"),
            )
        ):
            figure.text(
                middle,
                (TEXT - 14 - 28 * line) / height,
                text,
                ha="center",
                va="top",
                color=ink,
                fontsize=14,
                fontweight=weight,
            )
    return figure


def alternative(pairs: Sequence[Pair], truth: dict[str, Truth], rule: Rule) -> str:
    told = [f"{label(pair.left)}, {story(pair, truth)}, {verdict(pair)}" for pair in pairs]
    return f"Five pairs of generated aerial images at {rule.title}. " + "; ".join(told) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("warehouse")
    parser.add_argument("target")
    parser.add_argument("--truth", help="default: truth.csv beside the warehouse")
    given = parser.parse_args()
    truth = read_truth(Path(given.truth or Path(given.warehouse).parent / "truth.csv"))
    pairs = choose(removed_pairs(given.warehouse), closest_kept(given.warehouse, truth), truth)
    names = [name for pair in pairs for name in (pair.left, pair.right)]
    figure = draw(pairs, pixels(given.warehouse, names), truth)
    target = Path(given.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, facecolor=figure.get_facecolor())
    print(alternative(pairs, truth, published(given.warehouse)[0]))


if __name__ == "__main__":
    main()
