"""True pairs found at the default of each method, and where so many false pairs are flagged.

A false pair: two tiles of one class, of different photographs that do not show the same place. A
score is a number in [−1, 1], as a cosine or a registration is. Use `Measured` for the scores of a
method, `end_at` for the threshold at a rate, and `tables` to print what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import proofs
from benchmarks.changes import TRAINED, TURNED
from benchmarks.intervals import bootstrap, middle
from benchmarks.proofs import Indices
from benchmarks.spaces import BINS
from benchmarks.truth import Crops, Planted, Pool

Array = NDArray[np.float64]
Counts = NDArray[np.int64]  # of scores by bins, falling from 1
RATES = (1e-5, 1e-6, 1e-7)
EDGES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.95)  # of the bins of true overlap


@dataclass(frozen=True)
class Measured:
    """What a method says of true pairs, and how often it says as much of false ones.

    planted: (photographs, families). crops: (pairs,). false: scores of the false pairs, by kinds of
    pairs (rows of `proofs`) and bins. default: the score above which a pair is flagged by default.
    """

    name: str
    planted: Array
    crops: Array
    false: Counts
    default: float | None


@dataclass(frozen=True)
class Truths:
    """What scores are held against."""

    families: Sequence[str]
    photographs: Indices  # of each crop
    overlaps: Array  # of each crop

    @classmethod
    def of(cls, images: Planted, crops: Crops) -> Truths:
        """Of copies and crops."""
        return cls(list(images.copies), crops.photographs, crops.overlaps)


def bins_of(scores: Array) -> Counts:
    """The bin of each score, from 0 for a score of 1."""
    return np.clip(((1 - scores) * (BINS / 2)).astype(np.int64), 0, BINS - 1)


def score_at(end: int) -> float:
    """The lower edge of the last bin before `end`."""
    return 1 - 2 * end / BINS


def end_at(false: Counts, rate: float) -> int:
    """Bins before this one hold at most this share of the false pairs."""
    most = rate * false.sum()
    return int(np.searchsorted(false.cumsum(), most, side="right"))


def tally(scores: Array, weight: int = 1) -> Counts:
    """How many scores there are in each bin."""
    return weight * np.bincount(bins_of(scores), minlength=BINS)


def same_class(vectors_likeness: object, pool: Pool, same: NDArray[np.bool_]) -> Counts:
    """Likenesses of all pairs of tiles of one class by kinds of pairs: (3, BINS)."""
    found = np.zeros((3, BINS), np.int64)
    for rows, columns in proofs.blocks_of_classes(pool):
        likeness = vectors_likeness(rows, columns)  # type: ignore[operator]
        upper = np.triu_indices(len(rows), 1)
        first, second = rows[upper[0]], columns[upper[1]]
        kind = proofs.kinds(pool, first, second, same)
        bins = bins_of(likeness[upper])
        for number in range(3):
            found[number] += np.bincount(bins[kind == number], minlength=BINS)
    return found


def share(flags: NDArray[np.bool_], photographs: Indices) -> tuple[float, float, float]:
    """The share of pairs that are flagged, and its interval by bootstrap over photographs."""
    numbers = np.unique(photographs, return_inverse=True)[1]
    sums = np.column_stack([np.bincount(numbers, weights=flags), np.bincount(numbers)])
    drawn = bootstrap(sums.astype(np.float64))
    low, high = middle(drawn[:, 0] / drawn[:, 1])
    return float(flags.mean()), low, high


def _cell(flags: NDArray[np.bool_], photographs: Indices) -> str:
    mean, low, high = share(flags, photographs)
    return f"{mean:.3f} ({low:.3f}–{high:.3f})"


def points(measured: Measured) -> list[tuple[str, int]]:
    """The places at which a method is judged: their names and ends."""
    found = []
    if measured.default is not None:
        found.append(("default", int(bins_of(np.array(measured.default)))))
    return found + [(f"{rate:.0e}", end_at(measured.false[proofs.OTHER], rate)) for rate in RATES]


def tables(methods: Sequence[Measured], truths: Truths) -> None:
    """Recall of planted copies, by families, and of crops, by true overlap."""
    moved = [place for place, name in enumerate(truths.families) if name not in TURNED]
    unseen = [place for place in moved if truths.families[place] not in TRAINED]
    names = [truths.families[place] for place in moved] + list(TURNED)
    order = moved + [truths.families.index(name) for name in TURNED]
    print(f"| method | at | T | all ten | never in training | {' | '.join(names)} | false pairs |")
    print("| --- " * (6 + len(names)) + "|")
    for one in methods:
        for at, end in points(one):
            flags = bins_of(one.planted) < end
            cells = [
                _cells(flags[:, moved]),
                _cells(flags[:, unseen]),
                *(f"{flags[:, place].mean():.3f}" for place in order),
                f"{one.false[proofs.OTHER, :end].sum():,}",
            ]
            print(f"| {' | '.join([one.name, at, f'{score_at(end):.4f}', *cells])} |")
    print()
    spans = list(zip(EDGES[:-1], EDGES[1:], strict=True))
    heads = [f"{low:.0%}–{high:.0%}" for low, high in spans]
    print(f"| method | at | T | {' | '.join(heads)} | false pairs |")
    print("| --- " * (4 + len(heads)) + "|")
    for one in methods:
        for at, end in points(one):
            flags = bins_of(one.crops) < end
            cells = []
            for low, high in spans:
                some = (truths.overlaps >= low) & (truths.overlaps < high)
                cells.append(_cell(flags[some], truths.photographs[some]))
            cells.append(f"{one.false[proofs.OTHER, :end].sum():,}")
            print(f"| {' | '.join([one.name, at, f'{score_at(end):.4f}', *cells])} |")


def _cells(flags: NDArray[np.bool_]) -> str:
    """The share of all flags (photographs, families), with its interval."""
    photographs = np.repeat(np.arange(len(flags)), flags.shape[1])
    return _cell(flags.ravel(), photographs)
