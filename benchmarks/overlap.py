"""How similar are tiles that truly overlap? The share of pairs above each T, by true overlap.

The ids of tiles (`<path>#x,y`) tell the overlap of any two tiles of one photograph. Run it on the
warehouse of a tiled set:

    .venv/bin/python -m benchmarks.overlap WAREHOUSE [--side 64] [--thresholds 0.97 0.95 0.93]

With `--proof` the warehouse was pruned by overlap rules, best at a stride that gives many overlaps,
such as 8. Two tables by true overlap: how many pairs were given up, as they overlap too little for
the rules that tried them; how many of the others, which were registered to the end or refused, are
proved; and how far the overlap that was measured is off. And, for each rule, of the removed images
the true overlap with the image that stays, which the rule promises to be at least so large, and of
the pairs of images that overlap so much, how many are left after removal.
"""

from __future__ import annotations

import argparse
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray

from benchmarks.latents import classes
from benchmarks.results import recorded
from jobs.settings.duplicates import Prune
from udfs.registration import Alignments, proved
from udfs.vectors import cosine

EDGES = (0.875, 0.75, 0.7, 0.5, 0.25, 1e-9)  # of bands of true overlap
KINDS = ("50 % (neighbours)", "25 % (diagonal)", "0 % (same photograph)", "other photographs")


def places(ids: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The photograph of each tile as a number, and its upper-left pixel (n, 2)."""
    photographs, corners = [], []
    for name in ids:
        photograph, _, corner = name.rpartition("#")
        photographs.append(photograph)
        corners.append([int(number) for number in corner.split(",")])
    _, numbers = np.unique(photographs, return_inverse=True)
    return numbers, np.array(corners, np.int64).reshape(-1, 2)


def tally(
    ids: list[str], latents: NDArray[np.float32], side: int, thresholds: list[float]
) -> NDArray[np.int64]:
    """Pairs of one class by kind of overlap (rows): all of them, and those above each T."""
    photograph, corner = places(ids)
    unit = cosine.unit_rows(latents, cosine.squared_norms(latents))
    counts = np.zeros((len(KINDS), 1 + len(thresholds)), np.int64)
    for start in range(0, len(ids), 1024):
        rows = slice(start, min(start + 1024, len(ids)))
        similarity = cosine.products(unit[rows], unit)
        later = np.arange(len(ids))[None, :] > np.arange(rows.start, rows.stop)[:, None]
        same = photograph[rows, None] == photograph[None, :]
        shared = np.clip(side - np.abs(corner[rows, None] - corner[None, :]), 0, side).prod(axis=2)
        half, quarter = shared * 2 == side * side, shared * 4 == side * side
        kinds = (same & half, same & quarter, same & (shared == 0), ~same)
        for number, kind in enumerate(kinds):
            pairs = similarity[kind & later]
            counts[number, 0] += len(pairs)
            counts[number, 1:] += [int((pairs > threshold).sum()) for threshold in thresholds]
    return counts


def true_overlap(ids: list[str], others: list[str], side: int) -> NDArray[np.float64]:
    """The share of the area that tiles (m,) have in common; 0 of different photographs."""
    photographs, corners = places([*ids, *others])
    count = len(ids)
    shared = np.clip(side - np.abs(corners[:count] - corners[count:]), 0, side).prod(axis=1)
    return np.where(photographs[:count] == photographs[count:], shared / side**2, 0.0)


def bands(overlaps: NDArray[np.float64]) -> NDArray[np.int64]:
    """The band of EDGES that each overlap lies in, the largest first."""
    return np.searchsorted(-np.array(EDGES), -overlaps, side="left")


def name_of(band: int) -> str:
    """A band as a row of a table is headed."""
    high = 1.0 if band == 0 else EDGES[band - 1]
    low = EDGES[band] if band < len(EDGES) else 0.0
    return "0 %" if band == len(EDGES) else f"{low:.1%} up to {high:.1%}"


def registered(warehouse: str, side: int) -> None:
    """Print how many of the registered pairs are proved, by true overlap."""
    given = Prune()
    names = [field.name for field in fields(Alignments)]
    table = DeltaTable(f"{warehouse}/alignments").to_pyarrow_table(
        columns=["image_id", "other_id", *names]
    )
    true = true_overlap(
        table.column("image_id").to_pylist(), table.column("other_id").to_pylist(), side
    )
    found_of = Alignments(**{name: table.column(name).to_numpy() for name in names})
    proof, given_up = proved(found_of, given.proof, given.agreement), found_of.given_up
    off = np.abs(found_of.overlap - true)
    heads = "given up | others | proved | median error of the overlap | at most, of 99 %"
    print(f"| true overlap | {heads} |")
    print("| --- " * 6 + "|")
    for band in range(len(EDGES) + 1):
        in_band = bands(true) == band
        some, found = in_band & ~given_up, in_band & proof
        cells = [f"{(in_band & given_up).sum():,}", f"{some.sum():,}"]
        cells.append(f"{found.sum() / max(some.sum(), 1):.1%}")
        cells += [
            f"{np.quantile(off[found], share):.4f}" if found.any() else "" for share in (0.5, 0.99)
        ]
        print(f"| {name_of(band)} | {' | '.join(cells)} |")


def left(warehouse: str, side: int) -> None:
    """Print what each rule removed and what it left, by true overlap."""
    selection = DeltaTable(f"{warehouse}/selection").to_pyarrow_table(
        columns=["image_id", "label", "rule", "kept", "kept_id"]
    )
    for rule in sorted(set(selection.column("rule").to_pylist())):
        rows = selection.filter(pc.equal(selection.column("rule"), rule))
        removed = rows.filter(pc.invert(rows.column("kept")))
        ids, keepers = (removed.column(name).to_pylist() for name in ("image_id", "kept_id"))
        of_removed = np.bincount(bands(true_overlap(ids, keepers, side)), minlength=len(EDGES) + 1)
        before, after = pairs_by_overlap(rows, side)
        print(f"\n{rule}: {len(removed):,} of {len(rows):,} images removed\n")
        print("| true overlap | removed for an image with it | pairs before | pairs left |")
        print("| --- " * 4 + "|")
        for band in range(len(EDGES) + 1):
            cells = [f"{of_removed[band]:,}", f"{before[band]:,}", f"{after[band]:,}"]
            print(f"| {name_of(band)} | {' | '.join(cells)} |")


def pairs_by_overlap(rows: pa.Table, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of tiles of one photograph by their true overlap: all, and of tiles that are kept."""
    photographs, corners = places(rows.column("image_id").to_pylist())
    kept = np.asarray(rows.column("kept").to_numpy(zero_copy_only=False), np.bool_)
    found = np.zeros((2, len(EDGES) + 1), np.int64)
    order = np.argsort(photographs, kind="stable")
    for tiles in np.split(order, np.flatnonzero(np.diff(photographs[order])) + 1):
        i, j = np.triu_indices(len(tiles), 1)
        first, second = tiles[i], tiles[j]
        shared = np.clip(side - np.abs(corners[first] - corners[second]), 0, side).prod(axis=1)
        band = bands(shared / side**2)
        both = kept[first] & kept[second]
        found[0] += np.bincount(band, minlength=len(EDGES) + 1)
        found[1] += np.bincount(band[both], minlength=len(EDGES) + 1)
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.97, 0.95, 0.93])
    parser.add_argument("--proof", action="store_true", help="of overlap rules")
    given = parser.parse_args()
    if given.proof:
        registered(given.warehouse, given.side)
        left(given.warehouse, given.side)
        return
    total = np.zeros((len(KINDS), 1 + len(given.thresholds)), np.int64)
    for _, ids, latents in classes(given.warehouse):
        total += tally(ids, latents, given.side, given.thresholds)
    heads = " | ".join(f"Sim > {threshold:g}" for threshold in given.thresholds)
    print(f"| true overlap of area | pairs | {heads} |")
    print("| --- " * (2 + len(given.thresholds)) + "|")
    for kind, row in zip(KINDS, total, strict=True):
        shares = " | ".join(f"{count / max(row[0], 1):.3%}" for count in row[1:])
        print(f"| {kind} | {row[0]:,} | {shares} |")


if __name__ == "__main__":
    recorded(main)
