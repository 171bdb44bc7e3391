"""How many proved pairs are right, by the agreement that is asked for.

    .venv/bin/python -m benchmarks.agreement DATA KEPT.npz [--half figures]

KEPT.npz: pairs of tiles and their alignments, as `benchmarks.rates --keep` leaves them. A pair of
tiles of one photograph is right if one lies on the other where it was cut, within 3 px; a pair of
two photographs, if people found that these show the same place (`truth.SAME_PLACE`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import proofs, truth
from benchmarks.proofs import OTHER, SAME_PHOTOGRAPH
from benchmarks.results import recorded
from benchmarks.truth import Pool
from jobs.settings.duplicates import Prune
from udfs.registration import Alignments

AGREEMENTS = (0.3, 0.4, 0.5, 0.6)
OVERLAPS = (0.0, 0.5, 0.7)
NEAR = 3.0  # pixels


def displaced(pool: Pool, pairs: proofs.Pairs, found: Alignments) -> NDArray[np.float64]:
    """Pixels between where tiles were laid and where they were cut, along the worse axis: (m,).

    It means something for pairs of one photograph alone.
    """
    moved = np.column_stack([found.shift_x, found.shift_y])
    cut = pool.corners[pairs.second] - pool.corners[pairs.first]
    return np.asarray(np.abs(cut + moved).max(axis=1), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--half", choices=(truth.CHOOSE, truth.FIGURES), default=truth.FIGURES)
    given = parser.parse_args()
    pool, prune = truth.pool(given.data, given.half, 32), Prune()
    pairs, found = proofs.load(given.kept)
    kinds = proofs.kinds(pool, pairs.first, pairs.second, proofs.places(pool, truth.SAME_PLACE))
    within = kinds == SAME_PHOTOGRAPH
    right = np.where(within, displaced(pool, pairs, found) <= NEAR, kinds != OTHER)
    heads = ["all proved" if not least else f"overlap ≥ {least:g}" for least in OVERLAPS]
    kind = ("right", "wrong within a photograph", "wrong of two")
    columns = [name for head in heads for name in (head, *kind)]
    print(f"| agreement | {' | '.join(columns)} |\n" + "| --- " * (1 + len(columns)) + "|")
    for agreement in AGREEMENTS:
        cells = [f"**{agreement}**" if agreement == prune.agreement else f"{agreement}"]
        for least in OVERLAPS:
            proved = proofs.score(found, prune.proof, least) >= agreement
            share = (proved & right).sum() / max(1, proved.sum())
            wrong = [(proved & ~right & some).sum() for some in (within, ~within)]
            cells += [f"{proved.sum():,}", f"{share:.2%}", *(f"{number:,}" for number in wrong)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    recorded(main)
