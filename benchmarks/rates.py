"""True pairs found at the default of each method, and where so many false pairs are flagged.

    .venv/bin/python -m benchmarks.rates DATA [--model ours=WEIGHTS] [--half choose] [--keep FOLDER]

DATA: the folder with ucmerced/. True pairs are planted copies (benchmarks/changes.py) and crops of
one photograph whose overlap is known (`truth.crops`). A false pair: two tiles of 64 px at a stride
of 32, of one class and of different photographs that do not show the same place
(`truth.SAME_PLACE`: what people found by looking). All such pairs are compared. By the rules with
proof those above `prune.candidates` are registered, or a part of them that is drawn (`--proofs`),
which then stands for all.

A score is a number in [−1, 1]: a cosine; or the agreement of a registration, where the rest of the
evidence suffices. At a rate the threshold is put where at most that share of the false pairs is
flagged. Hashes have the usual defaults: 10 bits of 64, and 31 of 256 for PDQ. Needs
benchmarks/requirements.txt, and for fastdup the Python of another environment. With `--keep` the
pairs and their alignments are written, to be looked at.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import proofs, quality, truth
from benchmarks.changes import TRAINED, TURNED
from benchmarks.intervals import bootstrap, middle
from benchmarks.proofs import OTHER, Indices
from benchmarks.results import recorded
from benchmarks.spaces import BINS, SmallAxes, Sums, cosines
from benchmarks.truth import Crops, Pixels, Planted, Pool
from jobs.autoencoder import models
from jobs.settings.duplicates import AXES, CANDIDATES, GRADIENTS, RAW, WHITENED, Prune
from udfs.autoencoder import inference
from udfs.registration import Alignments, grey_of
from udfs.registration.gradients import gradient_vectors
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening

Array = NDArray[np.float64]
Counts = NDArray[np.int64]  # of scores by bins, falling from 1
RATES = (1e-5, 1e-6, 1e-7)
CROPS = 4  # of each photograph
ALIKE = 10_000  # pairs of look-alikes
PROOFS = (1, 2, 5, 10, 20, 50, 100)  # an image, of the curve
NUMBERS = {
    RAW: 0.95,
    WHITENED: 0.85,
    GRADIENTS: 0.85,
}  # the middle one of the thresholds without proof
FASTDUP = 0.9  # its `threshold`
EDGES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.95)  # of the bins of true overlap


@dataclass(frozen=True)
class Measured:
    """What a method says of true pairs, and how often it says as much of false ones.

    planted: (photographs, families). crops: (pairs,). false: (BINS,), how many false pairs have a
    score in each bin. default: the score above which a pair is flagged by default.
    """

    name: str
    planted: Array
    crops: Array
    false: Array
    default: float


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


def end_at(false: Array, rate: float) -> int:
    """Bins before this one hold at most this share of the false pairs."""
    most = rate * false.sum()
    return int(np.searchsorted(false.cumsum(), most, side="right"))


def tally(scores: Array) -> Counts:
    """How many scores there are in each bin."""
    return np.bincount(bins_of(scores), minlength=BINS)


def same_class(vectors: Matrix, pool: Pool, same: NDArray[np.bool_]) -> Counts:
    """Cosines of all pairs of tiles of one class by kinds of pairs: (3, BINS)."""
    found = np.zeros((3, BINS), np.int64)
    for rows, columns in proofs.blocks_of_classes(pool):
        likeness = cosines(vectors[rows], vectors[columns])
        upper = np.triu_indices(len(rows), 1)
        first, second = rows[upper[0]], columns[upper[1]]
        kind = proofs.kinds(pool, first, second, same)
        bins = bins_of(likeness[upper].astype(np.float64))
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
    found = [("default", int(bins_of(np.array(measured.default))))]
    return found + [(f"{rate:.0e}", end_at(measured.false, rate)) for rate in RATES]


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
                f"{one.false[:end].sum():,.0f}",
            ]
            print(f"| {' | '.join([one.name, at, f'{score_at(end):.4f}', *cells])} |")
    print()
    spans = list(itertools.pairwise(EDGES))
    heads = spans_of_overlap()
    print(f"| method | at | T | {' | '.join(heads)} | false pairs |")
    print("| --- " * (4 + len(heads)) + "|")
    for one in methods:
        for at, end in points(one):
            flags = bins_of(one.crops) < end
            cells = []
            for low, high in spans:
                some = (truths.overlaps >= low) & (truths.overlaps < high)
                cells.append(_cell(flags[some], truths.photographs[some]))
            cells.append(f"{one.false[:end].sum():,.0f}")
            print(f"| {' | '.join([one.name, at, f'{score_at(end):.4f}', *cells])} |")


def spans_of_overlap() -> list[str]:
    """The heads of columns for crops by their true overlap."""
    spans = [f"{100 * low:.0f}–{100 * high:.0f} %" for low, high in itertools.pairwise(EDGES)]
    return [f"overlap {spans[0]}", *spans[1:]]


def _cells(flags: NDArray[np.bool_]) -> str:
    """The share of all flags (photographs, families), with its interval."""
    photographs = np.repeat(np.arange(len(flags)), flags.shape[1])
    return _cell(flags.ravel(), photographs)


@dataclass(frozen=True)
class Images:
    """What is compared. same: which photographs show the same place."""

    planted: Planted
    crops: Crops
    pool: Pool
    same: NDArray[np.bool_]
    threads: int

    @classmethod
    def of(cls, data: Path, half: str, most: int, threads: int) -> Images:
        """Read, cut and change."""
        planted = truth.planted(data, truth.TILES, half, most)
        crops = truth.crops(data, half, most, CROPS)
        pool = truth.pool(data, half, proofs.STRIDE, most)
        return cls(planted, crops, pool, proofs.places(pool, truth.SAME_PLACE), threads)

    @functools.cached_property
    def alignments(self) -> list[Alignments]:
        """The registration of the true pairs: of each family, and then of the crops."""
        pairs = [(self.planted.originals, copies) for copies in self.planted.copies.values()]
        pairs.append((self.crops.originals, self.crops.copies))
        return [proofs.of_copies(*each, self.threads) for each in pairs]

    def parts(self) -> dict[str, Pixels]:
        """All sets of pictures by a name."""
        cut = {"crops": self.crops.originals, "their copies": self.crops.copies}
        tiles = {"pool": self.pool.pixels, "originals": self.planted.originals}
        return tiles | cut | self.planted.copies


Vectors = dict[str, Matrix]  # by the names of `Images.parts`


def rows_alike(left: Matrix, right: Matrix) -> Array:
    """The cosine of each row with that of the same number: (n,)."""
    steps = range(0, len(left), 256)
    parts = [np.diagonal(cosines(left[s : s + 256], right[s : s + 256])) for s in steps]
    return np.concatenate(parts).astype(np.float64)


def true_scores(images: Images, vectors: Vectors) -> tuple[Array, Array]:
    """Cosines of the planted copies (photographs, families), and of the crops."""
    families = images.planted.copies
    columns = [rows_alike(vectors["originals"], vectors[name]) for name in families]
    return np.column_stack(columns), rows_alike(vectors["crops"], vectors["their copies"])


def by_number(images: Images, name: str, vectors: Vectors, default: float) -> Measured:
    """A method that flags what is above a number."""
    counts = same_class(vectors["pool"], images.pool, images.same)
    return Measured(name, *true_scores(images, vectors), counts[OTHER].astype(float), default)


@dataclass(frozen=True)
class Proposed:
    """The registration of pairs of tiles above a cosine, or of those that were drawn of them."""

    pairs: proofs.Pairs
    alignments: Alignments
    each: float  # of the pairs above the cosine, for one that was registered

    @classmethod
    def of(
        cls, images: Images, pairs: proofs.Pairs, most: int, threads: int, kept: Path | None
    ) -> Proposed:
        """Draw and register; or read what was kept of the same pairs."""
        drawn = np.sort(np.random.default_rng(0).permutation(len(pairs))[:most])
        some, each = pairs.take(drawn), len(pairs) / max(1, min(len(pairs), most))
        if kept and kept.exists():
            before, found = proofs.load(kept)
            if np.array_equal(before.first, some.first) and np.array_equal(
                before.second, some.second
            ):
                return cls(before, found, each)
        found = proofs.register(images.pool.pixels, some.first, some.second, threads)
        if kept:
            proofs.save(kept, some, found)
        return cls(some, found, each)

    def false(self, images: Images, given: Prune, overlap: float) -> Array:
        """Scores of the pairs that show other places."""
        kind = proofs.kinds(images.pool, self.pairs.first, self.pairs.second, images.same)
        return np.asarray(proofs.score(self.alignments, given.proof, overlap)[kind == OTHER])


def by_proof(
    images: Images, name: str, vectors: Vectors, found: Proposed, given: Prune, at: float,
    overlap: float,
) -> Measured:  # fmt: skip
    """A rule with proof: what is above the cosine `at`, and proved."""
    cosine = true_scores(images, vectors)
    scores = [proofs.score(each, given.proof, overlap) for each in images.alignments]
    planted = np.where(cosine[0] > at, np.column_stack(scores[:-1]), -1.0)
    crops = np.where(cosine[1] > at, scores[-1], -1.0)
    false = np.asarray(found.each * tally(found.false(images, given, overlap)), np.float64)
    pairs = same_class_count(images)
    false[-1] += pairs - false.sum()  # those that were never proposed
    return Measured(name, planted, crops, false, math.nextafter(given.agreement, -1))


def same_class_count(images: Images) -> int:
    """How many false pairs there are."""
    count = 0
    for rows, _ in proofs.blocks_of_classes(images.pool):
        sizes = np.bincount(images.pool.photographs[rows], minlength=len(images.same))
        same = images.same | np.eye(len(sizes), dtype=bool)
        count += int(len(rows) ** 2 - (np.outer(sizes, sizes) * same).sum()) // 2
    return count


def curve(images: Images, name: str, vectors: Vectors, given: Prune) -> None:
    """Print what is proposed and what is proved, by the number of proofs an image."""
    heads = ("vectors", "pairs an image", "Sim above", "ten kinds of copies", *spans_of_overlap())
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    pairs = same_class(vectors["pool"], images.pool, images.same).sum(axis=0).cumsum()
    planted, crops = true_scores(images, vectors)
    moved = [k for k, family in enumerate(images.planted.copies) if family not in TURNED]
    proved = [proofs.score(each, given.proof) >= given.agreement for each in images.alignments]
    stacked = np.column_stack(proved[:-1])
    for number in PROOFS:
        end = int(np.searchsorted(pairs, number * len(images.pool)))
        above, cut = bins_of(planted) < end, bins_of(crops) < end
        cells = [f"{above[:, moved].mean():.3f} → {(above & stacked)[:, moved].mean():.3f}"]
        for low, high in itertools.pairwise(EDGES):
            some = (images.crops.overlaps >= low) & (images.crops.overlaps < high)
            cells.append(f"{cut[some].mean():.3f} → {(cut & proved[-1])[some].mean():.3f}")
        print(f"| {name} | {number} | {score_at(end):.3f} | {' | '.join(cells)} |", flush=True)


def encoded(images: Images, weights: bytes, threads: int) -> dict[str, Vectors]:
    """Raw and whitened latents of all parts; the whitening is fitted on the pool."""
    encode = inference.encoder(weights, device="cpu", batch=32, threads=threads)
    raw = {
        name: encode(np.ascontiguousarray(pixels.reshape(len(pixels), -1)))
        for name, pixels in images.parts().items()
    }
    space = Whitening.fitted(Moments.of(raw["pool"]))
    return {RAW: raw, WHITENED: {name: space(latents) for name, latents in raw.items()}}


def described(images: Images) -> Vectors:
    """Whitened vectors of gradients of all parts; the whitening is fitted on the pool."""
    found = {name: gradient_vectors(grey_of(pixels)) for name, pixels in images.parts().items()}
    space = Whitening.fitted(Moments.of(found["pool"]), AXES[GRADIENTS])
    return {name: space(vectors) for name, vectors in found.items()}


def rivals(images: Images) -> Iterator[tuple[str, Vectors, float]]:
    """Hashes and small pixels, with the thresholds that people use."""
    import imagehash
    import pdqhash  # type: ignore[import-not-found]

    parts = images.parts()
    axes = SmallAxes.fitted(Sums.of(parts["pool"]))
    yield "whitened 16×16 pixels", {name: axes(pixels) for name, pixels in parts.items()}, 0.85
    hashes = {"pHash": imagehash.phash, "dHash": imagehash.dhash}
    for name, one in hashes.items():
        vectors = quality.hashed(one)
        yield name, {part: vectors(pixels) for part, pixels in parts.items()}, 1 - 2 * 10.5 / 64
    pdq = {part: _signs(pdqhash.compute, pixels) for part, pixels in parts.items()}
    yield "PDQ", pdq, 1 - 2 * 31.5 / 256


def by_fastdup(images: Images, python: Path) -> Measured:
    """The cosine of fastdup's features, with the threshold that it has by default."""
    parts = images.parts()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for number, pixels in enumerate(itertools.chain(*parts.values())):
            Image.fromarray(pixels).save(pictures / f"{number:07}.png", compress_level=1)
        out = Path(folder) / "features.npy"
        script = Path(__file__).with_name("fastdup_features.py")
        subprocess.run([python, script, pictures, out], check=True, stdout=subprocess.DEVNULL)
        ends = np.cumsum([len(pixels) for pixels in parts.values()])
        features = np.split(np.load(out), ends[:-1])
    return by_number(images, "fastdup", dict(zip(parts, features, strict=True)), FASTDUP)


def _signs(compute: Callable[[Pixels], tuple[Indices, int]], pixels: Pixels) -> Matrix:
    bits = np.stack([compute(np.ascontiguousarray(image))[0] for image in pixels])
    return np.where(bits > 0, np.float32(1), np.float32(-1))


def told(name: str, images: Images, found: Proposed, given: Prune) -> None:
    """Print how many of the pairs of other places are proved, at some overlaps."""
    for overlap in (0.0, 0.5, 0.7):
        scores = found.false(images, given, overlap)
        flags = scores >= given.agreement
        total = found.each * len(scores)
        cells = [name, f"{overlap:g}", f"{total:,.0f}", f"{len(scores):,}", f"{flags.sum():,}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--half", choices=(truth.CHOOSE, truth.FIGURES), default=truth.FIGURES)
    parser.add_argument("--photographs", type=int, default=10_000, help="at most so many")
    parser.add_argument(
        "--proofs", type=int, nargs=2, default=(50_000, 400_000), metavar=("RAW", "OTHERS"),
        help="pairs registered at most; as many across classes as raw",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, help="a folder for pairs and alignments")
    parser.add_argument("--rivals", action="store_true", help="hashes and small pixels as well")
    parser.add_argument("--fastdup", type=Path, metavar="PYTHON", help="with fastdup: measured too")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    given = Prune()
    images = Images.of(options.data, options.half, options.photographs, options.threads)
    print(f"{len(images.planted.originals):,} photographs, {len(images.pool):,} tiles,", end=" ")
    print(f"{same_class_count(images):,} false pairs, {len(images.crops.overlaps):,} crops\n")
    methods = _judged(images, "gradients", GRADIENTS, described(images), given, options)
    for named in options.model:
        name, _, path = named.partition("=")
        spaces = encoded(images, models.read_given(path), options.threads)
        for space, vectors in spaces.items():
            methods += _judged(images, f"{name}, {space}", space, vectors, given, options)
    if options.rivals:
        methods += [by_number(images, *each) for each in rivals(images)]
    if options.fastdup:
        methods.append(by_fastdup(images, options.fastdup))
    tables(methods, Truths.of(images.planted, images.crops))


def _judged(
    images: Images, name: str, space: str, vectors: Vectors, given: Prune,
    options: argparse.Namespace,
) -> list[Measured]:  # fmt: skip
    """A space with numbers, and with proof at any overlap and at the published one."""
    curve(images, name, vectors, given)
    at, pool = CANDIDATES[space], vectors["pool"]
    pairs = {name: proofs.proposed(pool, images.pool, at)}
    each = len(pairs[name]) / len(images.pool)
    print(f"\n{name}: {len(pairs[name]):,} pairs above {at:g}, {each:.1f} an image\n")
    if space == GRADIENTS:
        pairs["look-alikes"] = proofs.nearest(pool, images.pool, ALIKE, images.same)
        pairs["across classes"] = proofs.proposed(pool, images.pool, at, across=True)
    most = {name: options.proofs[space != RAW], "across classes": options.proofs[0]}
    print("| pairs | overlap | above c | registered | proved |\n| --- | --- | --- | --- | --- |")
    proposed = {}
    for which, some in pairs.items():
        kept = options.keep / f"{which}.npz" if options.keep else None
        proposed[which] = Proposed.of(
            images, some, most.get(which, len(some)), options.threads, kept
        )
        told(which, images, proposed[which], given)
    print()
    rules = {"proved": 0.0, "overlap ≥ 0.7": 0.7}
    return [by_number(images, name, vectors, NUMBERS[space])] + [
        by_proof(images, f"{name}, {rule}", vectors, proposed[name], given, at, overlap)
        for rule, overlap in rules.items()
    ]


if __name__ == "__main__":
    recorded(main)
