"""What registering a pair costs on a core: once an image, of refused pairs, and of proved ones.

    .venv/bin/python -m benchmarks.registration DATA

DATA: the folder with ucmerced/. Tiles of 64 px at a stride of 32. Pairs: neighbours in one
photograph, of which half is the same, and tiles of two photographs of one class; they are told
apart by what becomes of them. Each kind is timed with all pictures prepared, in interleaved runs,
in processor time of one thread. The floor, measured in the same runs, is the inverse Fourier
transforms of the coarse search, which no pair can do without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from benchmarks import truth
from benchmarks.results import recorded
from benchmarks.truth import Pool
from jobs.settings.duplicates import Prune
from udfs.registration import Alignments, Registrar, coarse, grey_of, pictures, proved

Indices = NDArray[np.int64]
STRIDE = 32
IMAGES = 200  # few enough that a registrar keeps what it prepared
PAIRS = 300  # of a kind, at most
FLOOR = "the floor: Fourier transforms of the coarse search"


@dataclass(frozen=True)
class Kind:
    """Pairs that end alike."""

    name: str
    images: Indices
    others: Indices


def near_and_far(pool: Pool, count: int) -> tuple[Indices, Indices]:
    """Pairs among so many tiles: neighbours in a photograph, and tiles of other photographs."""
    first, second = np.triu_indices(count, 1)
    same = pool.photographs[first] == pool.photographs[second]
    apart = np.abs(pool.corners[first] - pool.corners[second]).sum(axis=1)
    wanted = (same & (apart == STRIDE)) | (~same & (pool.labels[first] == pool.labels[second]))
    return first[wanted], second[wanted]


def few(pool: Pool, count: int) -> Pool:
    """So many tiles of a few photographs of each of a few classes."""
    order = np.lexsort((pool.photographs, pool.labels))
    spread = np.unique(np.linspace(0, len(pool) - 1, 5).astype(int))[:-1]
    rows = np.concatenate([order[start : start + count // len(spread)] for start in spread])
    return Pool(
        pool.pixels[rows], pool.labels[rows], pool.photographs[rows], pool.corners[rows], pool.names
    )


def kinds(pool: Pool, registrar: Registrar) -> list[Kind]:
    """Pairs by what becomes of them."""
    first, second = near_and_far(pool, len(pool))
    drawn = np.random.default_rng(0).permutation(len(first))[: 20 * PAIRS]
    first, second = first[drawn], second[drawn]
    found: Alignments = registrar.align(first, second)
    settings = Prune()
    sure = proved(found, settings.proof, settings.agreement)
    refined = found.blocks > 0
    ends = {
        "refused by the coarse search": ~refined & ~found.flat,
        "refined and refused": refined & ~sure & ~found.flat,
        "proved": sure,
    }
    some = {name: np.flatnonzero(flags)[:PAIRS] for name, flags in ends.items()}
    return [Kind(name, first[rows], second[rows]) for name, rows in some.items() if len(rows)]


def timed(ways: dict[str, tuple[Callable[[], object], int]], runs: int) -> dict[str, list[float]]:
    """Processor milliseconds of each, a piece, in interleaved runs."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, (way, pieces) in ways.items():
            before = time.thread_time()
            way()
            if run > 0:  # the first one prepares and compiles
                found[name].append(1e3 * (time.thread_time() - before) / pieces)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    pool = few(truth.pool(given.data, truth.CHOOSE, STRIDE, given.photographs), IMAGES)
    grey = grey_of(pool.pixels)
    registrar = Registrar(grey)
    planes = len(coarse.PLANES)
    spectra = np.ones((planes, coarse.PADDED, coarse.PADDED // 2 + 1), np.complex64)
    shape = (coarse.PADDED, coarse.PADDED)

    def prepare_first() -> None:
        for picture in grey:
            coarse.template_spectra(pictures.Prepared.of(picture))

    def prepare_other() -> None:
        for picture in grey:
            coarse.other_spectra(pictures.Prepared.of(picture), 1.0)

    def transforms() -> None:
        for _ in range(IMAGES):
            scipy.fft.irfft2(spectra, s=shape)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        FLOOR: (transforms, IMAGES),
        "once an image, as the first of pairs": (prepare_first, len(grey)),
        "once an image, as the second of pairs": (prepare_other, len(grey)),
    }
    for kind in kinds(pool, registrar):
        pairs = kind.images, kind.others
        ways[f"{kind.name}: a pair"] = (lambda p=pairs: registrar.align(*p), len(kind.images))  # type: ignore[misc]
    found = timed(ways, given.runs)
    floor = statistics.median(found[FLOOR])
    print("| what | measured | processor ms | runs | of the floor |")
    print("| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        middle = statistics.median(runs)
        span = f"{min(runs):.2f}–{max(runs):.2f}"
        print(f"| {name} | {ways[name][1]:,} | {middle:.2f} | {span} | {middle / floor:.1f} |")


if __name__ == "__main__":
    recorded(main)
