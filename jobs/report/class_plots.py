"""The data of the page's plots of a class: densities, histograms of similarity, heat maps."""

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

BEFORE = "none"  # the rule in `density` of the rows before removal
COMPONENTS = 3
MOST_DENSITIES = 12_000  # rows of `density` in the page, of about 100 bytes each
BINS = 100  # of a histogram in the page at most: neighbouring ones are added up
MANY_HISTOGRAMS = 400  # if there are more, each has half as many bins
MOST_MAPS = 2_000_000  # bytes of all heat maps
BYTES_PER_CELL = 0.75  # of a heat map as PNG
SMALLEST, LARGEST = 24, 200  # images along the side of a heat map

RuleRow = Mapping[str, Any]  # one of Summary.rules


def densities(
    stage_run: StageRun, labels: Sequence[str], rules: Sequence[RuleRow], published: int
) -> list[list[Any]]:
    """Return the histograms before and after removal, which are the model of each density.

    Each row is [class, component, origin, step, counts, {rule: [first cell, counts]}]: first the
    histogram before removal, then those after. Class and rule are indices into `labels` and
    `rules`; the first cell after removal is counted from the first cell before. If the page has no
    room for all rules (MOST_DENSITIES), the published one alone is there.
    """
    room = len(labels) * (len(rules) + 1) * COMPONENTS <= MOST_DENSITIES
    shown = list(enumerate(rules)) if room else [(published, rules[published])] if rules else []
    indices = {(rule["rule"], rule["space"]): index for index, rule in shown}
    names = quoted([BEFORE, *dict.fromkeys(rule for rule, _ in indices)])
    rows = stage_run.query(
        "density",
        "SELECT label, rule, space, component, origin, step, counts FROM rows "
        f"WHERE component <= {COMPONENTS} AND rule IN ({names}) AND label IN ({quoted(labels)})",
    )
    return density_rows(rows, {label: index for index, label in enumerate(labels)}, indices)


def density_rows(
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, int],
    rules: Mapping[tuple[str, str], int],
) -> list[list[Any]]:
    """Turn rows of the table `density` into those that `densities` returns.

    labels, rules: the index of each label, and of each rule and space.
    """
    by_marginal: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        if row["rule"] == BEFORE:
            cells = [row["origin"], row["step"], list(row["counts"]), {}]
            key = (row["label"], row["component"])
            by_marginal[key] = [labels[row["label"]], row["component"], *cells]
    for row in rows:
        rule = rules.get((row["rule"], row["space"]))
        before = by_marginal.get((row["label"], row["component"]))
        if rule is not None and before is not None:
            first = round((row["origin"] - before[2]) / before[3])
            before[5][rule] = [first, list(row["counts"])]
    ordered = sorted(by_marginal, key=lambda key: (labels[key[0]], key[1]))
    return [by_marginal[key] for key in ordered]


def similarities(stage_run: StageRun, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Read the table `similarities` for the page; empty if it was not computed."""
    if "similarities" not in stage_run.reads:
        return []
    rows = stage_run.query(
        "similarities",
        f"SELECT * FROM rows WHERE label IN ({quoted(labels)}) ORDER BY label, space",
    )
    return similarity_rows(rows, {label: index for index, label in enumerate(labels)})


def similarity_rows(
    rows: Sequence[Mapping[str, Any]], labels: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Turn rows of the table `similarities` into histograms and heat maps for the page.

    A histogram has at most BINS bins; a heat map shows as many images as the page has room for.
    labels: the index of each label.
    """
    side = map_side(len(rows))
    bins = BINS if len(rows) <= MANY_HISTOGRAMS else BINS // 2
    return [
        {"class": labels[row["label"]], "space": row["space"], "sampled": row["sampled"]}
        | _histogram(row, bins)
        | heat_map(row, side)
        for row in rows
    ]


def map_side(maps: int) -> int:
    """Return how many images each heat map shows along its side, if there are so many maps."""
    largest = int(math.sqrt(MOST_MAPS / (BYTES_PER_CELL * 4 / 3 * max(maps, 1))))
    return min(max(largest, SMALLEST), LARGEST)


def _histogram(row: Mapping[str, Any], bins: int) -> dict[str, Any]:
    """Return the counts without empty ends, in wider bins if there are too many."""
    counts = np.asarray(row["counts"] or [0], np.int64)
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
    width = -(-(last + 1 - first) // bins)
    inside = counts[first : last + 1]
    inside = np.pad(inside, (0, -len(inside) % width)).reshape(-1, width).sum(axis=1)
    origin = row["origin"] + first * row["step"]
    return {"origin": origin, "step": row["step"] * width, "counts": inside.tolist()}


def _heat_levels(row: Mapping[str, Any], side: int) -> NDArray[np.uint8]:
    """Return the similarities of the first m ≤ side images as levels 0..255, (m, m)."""
    m = len(row["heat_ids"] or [])
    cells = np.frombuffer(row["heat"] or b"", np.uint8)
    if not m or len(cells) != m * m:
        return np.empty((0, 0), np.uint8)
    return cells.reshape(m, m)[:side, :side]


def similarity_of(level: float, space: str) -> float:
    """Return the similarity of a level 0..255: [0, 1] in the raw space, else [−1, 1]."""
    return level / 255 if space == RAW else 2 * level / 255 - 1


def heat_map(row: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return a heat map as PNG in base64, and the similarity of its darkest cell.

    side: the number of images to show at most; the result tells how many of how many are shown.
    """
    cells = _heat_levels(row, side)
    if not cells.size:
        return {"map": "", "side": 0, "of": 0, "low": 0.0}
    png = base64.b64encode(charts.heat_map(cells)).decode("ascii")
    low = similarity_of(int(cells.min()), row["space"])
    return {"map": png, "side": len(cells), "of": len(row["heat_ids"]), "low": low}
