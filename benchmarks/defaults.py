"""Which space and threshold to start from: what each finds and what it removes wrongly, by default.

Sets of photographs of the choosing half of which all, one in twenty or none have a copy, changed by
one of the families of benchmarks/changes.py in turn (mirrored and turned ones apart), or each has
ten, one of every family; and sets of few photographs without any: a threshold must serve them all.
Each set is one class, pruned as the product prunes it; whitening is fitted on the set itself. A
copy is found where it is removed for an image of its own photograph; an image is removed wrongly
where it is removed for another's. Shares are means over the sets of a kind. Chosen is what finds
most, on average over the kinds with copies, among what wrongly removes at most 2 % of the images in
every kind: some photographs of one thing are near-copies.

    .venv/bin/python -m benchmarks.defaults DATA --model WEIGHTS [--axes 64 128 256 512]

DATA: the folder with ucmerced/ and clothing/. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import truth
from benchmarks.changes import TURNED
from benchmarks.results import recorded
from jobs.autoencoder import models
from udfs.autoencoder import inference
from udfs.duplicates import thresholds
from udfs.duplicates.greedy import cover
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening

KINDS = (truth.TILES, truth.CLOTHING)
SIZES = (100, 1000)  # photographs of a set
MOST_SETS = 5  # of one size
MANY = (10, 100)  # photographs of a set in which each has a copy of every family
FEW = (3, 10, 30)  # photographs of a set without copies
MOST_FEW = 30  # sets of one such size
COPIED = (1.0, 0.05, 0.0)  # the share of photographs with a copy
FIXED = {
    "raw": (0.98, 0.97, 0.96, 0.95, 0.93, 0.91),
    "whitened": (0.95, 0.92, 0.9, 0.88, 0.86, 0.85, 0.84, 0.82, 0.8, 0.75, 0.7),
}
RATES = (1e-3, 3e-4, 1e-4, 3e-5)
WRONG = 0.02  # of a set's images, at most, on average over the sets of a kind

Rule = tuple[str, str, float]  # space, kind, number


@dataclass(frozen=True)
class Copied:
    """One class: latents (n + copies, width), originals first; and the photograph of each."""

    name: str
    latents: Matrix
    photographs: np.typing.NDArray[np.int64]
    originals: int


@dataclass(frozen=True)
class Outcome:
    """Shares: of the copies that were found (None without any), of all images removed wrongly."""

    threshold: float
    found: float | None
    wrong: float


def sets(originals: Matrix, copies: Sequence[Matrix], kind: str) -> Iterator[Copied]:
    """Of each size a few sets of other photographs, or as many as there are."""
    for size in SIZES:
        for number in range(min(MOST_SETS, len(originals) // size)):
            rows = np.arange(number * size, (number + 1) * size)
            for share in COPIED:
                some = rows[: round(share * len(rows))]
                changed = [copies[place % len(copies)][row] for place, row in enumerate(some)]
                latents = np.stack([*originals[rows], *changed])
                name = f"{kind}, {size:,}, {share:.0%} copied"
                yield Copied(name, latents, np.concatenate([rows, some]), len(rows))
    for size in MANY:
        for number in range(min(MOST_SETS, len(originals) // size)):
            rows = np.arange(number * size, (number + 1) * size)
            latents = np.concatenate([originals[rows], *(changed[rows] for changed in copies)])
            name = f"{kind}, {size:,}, {len(copies)} copies of each"
            yield Copied(name, latents, np.tile(rows, 1 + len(copies)), len(rows))
    for size in FEW:
        for number in range(min(MOST_FEW, len(originals) // size)):
            rows = np.arange(number * size, (number + 1) * size)
            yield Copied(f"{kind}, {size:,}", originals[rows], rows, len(rows))


def spaces(latents: Matrix, axes: Sequence[int]) -> Iterator[tuple[str, Matrix]]:
    """The latents themselves, and whitened with at most so many axes."""
    yield "raw", latents
    moments = Moments.of(latents)
    for most in axes:
        yield f"whitened {most}", Whitening.fitted(moments, most)(latents)


def pruned(images: Copied, vectors: Matrix, threshold: float) -> Outcome:
    """What a greedy cover does, the originals first."""
    covered = cover(None, vectors, threshold)
    removed = np.flatnonzero(~covered.kept)
    own = images.photographs[removed] == images.photographs[covered.keeper[removed]]
    copies = len(vectors) - images.originals
    found = float(own.sum() / copies) if copies else None
    return Outcome(threshold, found, float((~own).sum() / len(vectors)))


def outcomes(images: Copied, axes: Sequence[int]) -> Iterator[tuple[Rule, Outcome]]:
    """Of every rule in every space."""
    for space, vectors in spaces(images.latents, axes):
        for threshold in FIXED[space.split()[0]]:
            yield (space, "fixed", threshold), pruned(images, vectors, threshold)
        angles = thresholds.pair_angles(vectors)
        moments = thresholds.AngleMoments.of(angles)
        cells = thresholds.angle_histogram(angles, moments.step)
        for rate in RATES:
            if moments.is_sufficient(rate):
                threshold = thresholds.pair_rate(cells, rate)
                yield (space, "pair_rate", rate), pruned(images, vectors, threshold)


def encoded(data: Path, kind: str, weights: bytes, threads: int) -> Iterator[Copied]:
    """The sets of a kind of images."""
    planted = truth.planted(data, kind, truth.CHOOSE, MOST_SETS * max(SIZES))
    encode = inference.encoder(weights, device="cpu", batch=128, threads=threads)
    families = [family for family in planted.copies if family not in TURNED]
    originals, *copies = (
        encode(np.ascontiguousarray(part.reshape(len(part), -1)))
        for part in (planted.originals, *(planted.copies[family] for family in families))
    )
    yield from sets(originals, copies, kind)


def table(found: dict[Rule, dict[str, list[Outcome]]]) -> None:
    """A row a rule: T, found and wrong of each kind of set; what serves all of them is marked."""
    names = list(dict.fromkeys(name for by_set in found.values() for name in by_set))
    print(f"| space | rule | found, mean | wrong, most | {' | '.join(names)} |")
    print("| --- " * (4 + len(names)) + "|")
    served: list[tuple[float, Rule]] = []
    for rule, by_set in found.items():
        cells, shares, worst = [], [], 0.0
        for name in names:
            several = by_set.get(name, [])
            if not several:
                cells.append("too few pairs")
                continue
            wrong = float(np.mean([one.wrong for one in several]))
            worst = max(worst, wrong)
            threshold = np.median([one.threshold for one in several])
            copies = [one.found for one in several if one.found is not None]
            if copies:
                shares.append(float(np.mean(copies)))
            told = f"{np.mean(copies):.0%} found, " if copies else ""
            cells.append(f"{told}{wrong:.1%} wrong (T {threshold:.2f})")
        mean = float(np.mean(shares))
        if worst <= WRONG and len(by_set) == len(names):
            served.append((mean, rule))
        space, kind, number = rule
        print(f"| {space} | {kind} {number} | {mean:.1%} | {worst:.1%} | {' | '.join(cells)} |")
    if served:
        mean, (space, kind, number) = max(served)
        print(f"\nChosen: {space}, {kind} {number}: {mean:.1%} found")
    else:
        print(f"\nNone removes at most {WRONG:.0%} wrongly in every set")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--axes", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    weights = models.read_given(given.model)
    found: dict[Rule, dict[str, list[Outcome]]] = {}
    for kind in KINDS:
        for images in encoded(given.data, kind, weights, given.threads):
            for rule, outcome in outcomes(images, given.axes):
                found.setdefault(rule, {}).setdefault(images.name, []).append(outcome)
    table(found)


if __name__ == "__main__":
    recorded(main)
