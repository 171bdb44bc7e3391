"""Photographs that show the same place: proved tiles propose them, the whole photographs decide.

    .venv/bin/python -m benchmarks.places DATA KEPT.npz [--half figures]

KEPT.npz: pairs of tiles and their alignments, as `benchmarks.rates --keep` leaves them. For each
two photographs with proved tiles, the alignments say where one photograph would lie on the other.
There the correlation of all that both show is computed, which is many times a tile; whoever shows
the same place reaches 0.7 and more. Printed are pairs that benchmarks/truth.py does not name.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks import proofs, truth
from benchmarks.proofs import OTHER
from benchmarks.results import recorded
from jobs.settings.duplicates import Prune

Array = NDArray[np.float64]
AROUND = 2  # pixels around the place that the tiles give, which are tried as well
LEAST_SIDE = 8  # pixels that the photographs must have in common along both axes


def normalised(path: Path) -> Array:
    """A photograph whose contrast is the same everywhere."""
    grey = np.asarray(truth.open_image(path).convert("L"), np.float64)
    high = grey - gaussian_filter(grey, 1.5)
    return np.asarray(high / np.sqrt(gaussian_filter(high * high, 2.25) + 1))


def correlation(first: Array, second: Array, shift: tuple[int, int]) -> tuple[float, float]:
    """Of the parts that both show, and their share of the first.

    shift: what is to be added to a place (x, y) of the first to come to that of the second.
    """
    across, down = shift
    left, right = max(0, -across), min(first.shape[1], second.shape[1] - across)
    top, bottom = max(0, -down), min(first.shape[0], second.shape[0] - down)
    if right - left < LEAST_SIDE or bottom - top < LEAST_SIDE:
        return -1.0, 0.0
    own = first[top:bottom, left:right].ravel()
    other = second[top + down : bottom + down, left + across : right + across].ravel()
    return float(np.corrcoef(own, other)[0, 1]), len(own) / first.size


def best(first: Array, second: Array, middle: Array) -> tuple[float, float]:
    """The highest correlation near a shift, and the share that is in common there."""
    x, y = np.rint(middle).astype(int).tolist()
    steps = range(-AROUND, AROUND + 1)
    return max(correlation(first, second, (x + dx, y + dy)) for dy in steps for dx in steps)


def main() -> None:
    kept, prune = proofs.Kept.from_command_line(__doc__), Prune()
    pool, pairs, found = kept.pool, kept.pairs, kept.alignments
    proved = proofs.score(found, prune.proof) >= prune.agreement
    shifts: dict[tuple[int, int], list[Array]] = defaultdict(list)
    for pair in np.flatnonzero(proved & (kept.kinds == OTHER)).tolist():
        one, other = int(pairs.first[pair]), int(pairs.second[pair])
        moved = np.array([found.shift_x[pair], found.shift_y[pair]])
        shift = pool.corners[other] + moved - pool.corners[one]
        shifts[int(pool.photographs[one]), int(pool.photographs[other])].append(shift)
    paths = dict(truth.photographs(kept.data, truth.TILES, kept.half))
    print("| photographs | pairs of tiles | correlation of the whole | share in common |")
    print("| --- | --- | --- | --- |")
    for (one, other), each in shifts.items():
        names = pool.names[one], pool.names[other]
        first, second = (normalised(paths[name]) for name in names)
        reached, share = best(first, second, np.median(each, axis=0))
        print(f"| {' '.join(names)} | {len(each)} | {reached:.2f} | {share:.0%} |")


if __name__ == "__main__":
    recorded(main)
