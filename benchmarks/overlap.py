"""How similar are tiles that truly overlap? The share of pairs above each T, by true overlap.

The ids of tiles (`<path>#x,y`) tell the overlap of any two tiles of one photograph. Run it on the
warehouse of a tiled set:

    .venv/bin/python -m benchmarks.overlap WAREHOUSE [--side 64] [--thresholds 0.97 0.95 0.93]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.latents import classes
from udfs.vectors import cosine

KINDS = ("50 % (neighbours)", "25 % (diagonal)", "0 % (same photograph)", "other photographs")


def places(ids: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The photograph of each tile as a number, and its upper-left pixel (n, 2)."""
    photographs, corners = [], []
    for name in ids:
        photograph, _, corner = name.rpartition("#")
        photographs.append(photograph)
        corners.append([int(number) for number in corner.split(",")])
    _, numbers = np.unique(photographs, return_inverse=True)
    return numbers, np.array(corners)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.97, 0.95, 0.93])
    given = parser.parse_args()
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
    main()
