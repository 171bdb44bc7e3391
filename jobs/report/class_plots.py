"""Per class, for the page: marginal densities before and after, histograms of similarity, maps."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import RAW
from jobs.warehouse.sql import quoted
from udfs.report import charts

NONE = "none"  # the rule before removal
COMPONENTS = 3
MOST_DENSITIES = 12_000  # rows of `density` in the page, at about 100 bytes; else of one rule alone
BINS = 100  # of a histogram in the page: neighbouring ones are added up
MANY = 400  # histograms: of more each has half as many bins
MOST_MAPS = 2_000_000  # bytes of all heat maps
BYTES_A_CELL = 0.75  # of a heat map's PNG
SMALLEST, LARGEST = 24, 200  # images along a heat map's side

Selection = Mapping[str, Any]  # one of Facts.rules


def densities(
    stage_run: StageRun, labels: Sequence[str], rules: Sequence[Selection], published: int
) -> list[list[Any]]:
    """Rows [class, component, origin, step, counts, {rule: [first cell, counts]}].

    class, rule: their places in `labels` and `rules`; counts: before removal, and after; the first
    cell of those after counted from the first before. After: at every rule where the page has room,
    else at the published one.
    """
    room = len(labels) * (len(rules) + 1) * COMPONENTS <= MOST_DENSITIES
    asked = list(enumerate(rules)) if room else [(published, rules[published])] if rules else []
    places = {(rule["rule"], rule["space"]): place for place, rule in asked}
    names = quoted([NONE, *dict.fromkeys(rule for rule, _ in places)])
    rows = stage_run.query(
        "density",
        "SELECT label, rule, space, component, origin, step, counts FROM rows "
        f"WHERE component <= {COMPONENTS} AND rule IN ({names}) AND label IN ({quoted(labels)})",
    )
    return of_classes(rows, {label: place for place, label in enumerate(labels)}, places)


def of_classes(
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, int],
    places: Mapping[tuple[str, str], int],
) -> list[list[Any]]:
    """`densities` of rows that are there."""
    found: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        if row["rule"] == NONE:
            cells = [row["origin"], row["step"], list(row["counts"]), {}]
            found[row["label"], row["component"]] = [labels[row["label"]], row["component"], *cells]
    for row in rows:
        place = places.get((row["rule"], row["space"]))
        before = found.get((row["label"], row["component"]))
        if place is not None and before is not None:
            first = round((row["origin"] - before[2]) / before[3])
            before[5][place] = [first, list(row["counts"])]
    return [found[key] for key in sorted(found, key=lambda key: (labels[key[0]], key[1]))]


def similarities(stage_run: StageRun, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table `similarities` for the page; empty where there is none."""
    if "similarities" not in stage_run.reads:
        return []
    rows = stage_run.query(
        "similarities",
        f"SELECT * FROM rows WHERE label IN ({quoted(labels)}) ORDER BY label, space",
    )
    return shown_similarities(rows, {label: place for place, label in enumerate(labels)})


def shown_similarities(
    rows: Sequence[Mapping[str, Any]], labels: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Histograms of at most BINS bins, and heat maps of as many images as there is room for."""
    side = map_side(len(rows))
    bins = BINS if len(rows) <= MANY else BINS // 2
    return [
        {"class": labels[row["label"]], "space": row["space"], "sampled": row["sampled"]}
        | _histogram(row, bins)
        | heat_map(row, side)
        for row in rows
    ]


def map_side(maps: int) -> int:
    """Images along the side of each of so many heat maps."""
    fits = int(math.sqrt(MOST_MAPS / (BYTES_A_CELL * 4 / 3 * max(maps, 1))))
    return min(max(fits, SMALLEST), LARGEST)


def _histogram(row: Mapping[str, Any], bins: int) -> dict[str, Any]:
    """The counts without empty ends, in wider bins where they are many."""
    counts = np.asarray(row["counts"] or [0], np.int64)
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
    wide = -(-(last + 1 - first) // bins)
    inside = counts[first : last + 1]
    inside = np.pad(inside, (0, -len(inside) % wide)).reshape(-1, wide).sum(axis=1)
    origin = row["origin"] + first * row["step"]
    return {"origin": origin, "step": row["step"] * wide, "counts": inside.tolist()}


def square(row: Mapping[str, Any], side: int) -> NDArray[np.uint8]:
    """The similarities of the first images of a row of the table, (m, m), m ≤ side."""
    m = len(row["heat_ids"] or [])
    cells = np.frombuffer(row["heat"] or b"", np.uint8)
    if not m or len(cells) != m * m:
        return np.empty((0, 0), np.uint8)
    return cells.reshape(m, m)[:side, :side]


def similarity_of(level: float, space: str) -> float:
    """The similarity that a level 0..255 stands for."""
    return level / 255 if space == RAW else 2 * level / 255 - 1


def heat_map(row: Mapping[str, Any], side: int) -> dict[str, Any]:
    """A PNG as base64, how many images it shows of how many, and the similarity of its dark end."""
    cells = square(row, side)
    if not cells.size:
        return {"map": "", "side": 0, "of": 0, "low": 0.0}
    png = base64.b64encode(charts.heat_map(cells)).decode("ascii")
    low = similarity_of(int(cells.min()), row["space"])
    return {"map": png, "side": len(cells), "of": len(row["heat_ids"]), "low": low}
