"""How many proved pairs are right, by the agreement that is asked for.

    .venv/bin/python -m benchmarks.agreement DATA KEPT.npz [--half figures]

KEPT.npz: pairs of tiles and their alignments, as `benchmarks.rates --keep` leaves them. A pair of
tiles of one photograph is right if one lies on the other where it was cut, within 3 px; a pair of
two photographs, if people found that these show the same place (`truth.SAME_PLACE`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks import proofs
from benchmarks.proofs import SAME_PHOTOGRAPH, SAME_PLACE
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
    kept, prune = proofs.Kept.from_command_line(__doc__), Prune()
    within = kept.kinds == SAME_PHOTOGRAPH
    lies_right = displaced(kept.pool, kept.pairs, kept.alignments) <= NEAR
    right = np.where(within, lies_right, kept.kinds == SAME_PLACE)
    heads = ["all proved" if not least else f"overlap ≥ {least:g}" for least in OVERLAPS]
    kind = ("right", "wrong within a photograph", "wrong of two")
    columns = [name for head in heads for name in (head, *kind)]
    print(f"| agreement | {' | '.join(columns)} |\n" + "| --- " * (1 + len(columns)) + "|")
    for agreement in AGREEMENTS:
        cells = [f"**{agreement}**" if agreement == prune.agreement else f"{agreement}"]
        for least in OVERLAPS:
            proved = proofs.score(kept.alignments, prune.proof, least) >= agreement
            share = (proved & right).sum() / max(1, proved.sum())
            wrong = [(proved & ~right & some).sum() for some in (within, ~within)]
            cells += [f"{proved.sum():,}", f"{share:.2%}", *(f"{number:,}" for number in wrong)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    recorded(main)
