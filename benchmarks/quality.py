"""Does it find what people call copies? Copies of real images by families of change, and rivals.

Each original is compared with every copy of every original. The threshold of each method is put
where as many pairs are flagged as there are true ones (or a multiple), so at 1 the share of true
pairs found is the share of flagged pairs that are true. Mirrored and turned copies are flagged
apart from the others: only what is made for them finds them. What is flagged and no copy is a
false pair: of two different photographs.

    .venv/bin/python -m benchmarks.quality DATA tiles --model ours=WEIGHTS --model paper=WEIGHTS
    .venv/bin/python -m benchmarks.quality DATA clothing --model ours=WEIGHTS
    .venv/bin/python -m benchmarks.quality DATA overlap --model ours=WEIGHTS

DATA: the folder with ucmerced/ and clothing/. Each model is taken raw, and whitened with each
number of axes (fitted on the originals and, of tiles, on all tiles of the same photographs).
Intervals: 95 %, by bootstrap over the photographs, at the threshold of them all. Beside the table
stands in which families the method `--ours` lies below another by more than the interval of their
difference. Needs benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import truth
from benchmarks.changes import TURNED
from benchmarks.intervals import bootstrap, interval
from benchmarks.results import recorded
from benchmarks.spaces import SmallAxes, Sums, cosines, nearness, shares
from benchmarks.truth import Planted
from jobs.autoencoder import models
from udfs.autoencoder import inference
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Vectors = Callable[[Pixels], Matrix]
BATCH = 32


@dataclass(frozen=True)
class Method:
    """What images (n, 64, 64, 3) are turned into, and how like (n, m) two sets of those are."""

    name: str
    vectors: Vectors
    likeness: Callable[[Matrix, Matrix], Matrix] = cosines


@dataclass(frozen=True)
class Found:
    """At one threshold: of each photograph and family the part of the true pair that is flagged.

    shares: (n, families), 0 or 1, in between where the threshold divides equal similarities.
    """

    threshold: float
    shares: Array
    false: float


def rivals(images: Planted) -> list[Method]:
    """What needs no training: pixels, their axes, perceptual hashes of 64 bits."""
    import imagehash  # the tests do without it

    axes = SmallAxes.fitted(Sums.of(fitting(images)))
    found = [
        Method("pixel distance", shares, nearness),
        Method("whitened 16×16 pixels", axes),
    ]
    hashes = {"pHash": imagehash.phash, "dHash": imagehash.dhash, "wHash": imagehash.whash}
    return found + [Method(name, hashed(one)) for name, one in hashes.items()]


def hashed(function: Callable[[Image.Image], Any]) -> Vectors:
    """Bits as −1 and 1: their cosine falls with the number that differ."""

    def vectors(pixels: Pixels) -> Matrix:
        bits = [function(Image.fromarray(image)).hash.ravel() for image in pixels]
        return np.where(np.stack(bits), np.float32(1), np.float32(-1))

    return vectors


def fitting(images: Planted) -> Pixels:
    """The images that spaces are fitted on: no copies among them."""
    return np.concatenate([images.originals, images.others])


def encoded(
    name: str, weights: bytes, images: Planted, axes: Sequence[int], orientations: int, threads: int
) -> Iterator[Method]:
    """A model raw, and whitened with so many axes; each image is encoded once."""
    encode = inference.encoder(
        weights, device="cpu", batch=BATCH, threads=threads, orientations=orientations
    )

    def latents(pixels: Pixels) -> Matrix:
        return encode(np.ascontiguousarray(pixels.reshape(len(pixels), -1)))

    known = {id(part): latents(part) for part in (images.originals, *images.copies.values())}

    def raw(pixels: Pixels) -> Matrix:
        return known[id(pixels)]

    turned = f", {orientations} orientations" if orientations > 1 else ""
    yield Method(f"{name}{turned}, raw", raw)
    if axes:
        moments = Moments.of(latents(fitting(images)))
    for most in axes:
        space = Whitening.fitted(moments, most)
        yield Method(f"{name}{turned}, whitened {most}", partial(_through, space, raw))


def _through(space: Whitening, raw: Vectors, pixels: Pixels) -> Matrix:
    return space(raw(pixels))


def likenesses(method: Method, images: Planted, families: Sequence[str]) -> Matrix:
    """Of every original with every copy: (families, n, n), true pairs on the diagonals."""
    left = method.vectors(images.originals)
    rows = [method.likeness(left, method.vectors(images.copies[name])) for name in families]
    return np.stack(rows)


def flag(likeness: Matrix, flagged: int) -> Found:
    """The `flagged` most alike of all pairs; if the threshold divides equal ones, a share each."""
    values = likeness.ravel()
    place = len(values) - flagged
    threshold = np.partition(values, place)[place]
    above, equal = (values > threshold).sum(), (values == threshold).sum()
    part = (flagged - above) / equal
    true = np.diagonal(likeness, axis1=1, axis2=2).T
    found = np.where(true > threshold, 1.0, np.where(true == threshold, part, 0.0))
    return Found(float(threshold), found, flagged - float(found.sum()))


def table(found: dict[str, Found], families: Sequence[str], pairs: str) -> None:
    """A row a method: the total with its interval, each family, false pairs."""
    print(f"| method | T | all | {' | '.join(families)} | false pairs of {pairs} |")
    print("| --- " * (4 + len(families)) + "|")
    for name, one in found.items():
        low, high = interval(one.shares.mean(axis=1))
        total = f"{one.shares.mean():.3f} ({low:.3f}–{high:.3f})"
        cells = [f"{share:.3f}" for share in one.shares.mean(axis=0)]
        row = [name, f"{one.threshold:.4f}", total, *cells, f"{one.false:,.0f}"]
        print(f"| {' | '.join(row)} |")


def below(found: dict[str, Found], ours: str, families: Sequence[str]) -> list[str]:
    """Where our method finds less than another by more than the interval of the difference."""
    told = []
    for name, other in found.items():
        apart = found[ours].shares - other.shares
        whole = np.column_stack([apart.mean(axis=1), apart])
        low, high = np.quantile(bootstrap(whole), [0.025, 0.975], axis=0)
        for place, family in enumerate(("all", *families)):
            if high[place] < 0:
                mean = whole[:, place].mean()
                span = f"{-high[place]:.3f}–{-low[place]:.3f}"
                told.append(f"- {family}: below {name} by {-mean:.3f} ({span})")
    return told


def compare(
    images: Planted, methods: Sequence[Method], families: Sequence[str], times: float
) -> dict[str, Found]:
    """Every method at the same number of flagged pairs: `times` the true ones."""
    flagged = round(times * len(images.originals) * len(families))
    return {method.name: flag(likenesses(method, images, families), flagged) for method in methods}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=(truth.TILES, truth.CLOTHING, truth.OVERLAP))
    parser.add_argument("--model", action="append", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--ours", help="a method by its name in the table; else the second of all")
    parser.add_argument("--half", choices=(truth.CHOOSE, truth.FIGURES), default=truth.FIGURES)
    parser.add_argument("--photographs", type=int, default=10_000, help="at most so many")
    parser.add_argument("--axes", type=int, nargs="*", default=[128])
    parser.add_argument("--orientations", type=int, nargs="+", default=[1])
    parser.add_argument("--times", type=float, nargs="+", default=[1.0], help="flagged over true")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    images = truth.planted(given.data, given.what, given.half, given.photographs)
    methods: list[Method] = []
    for named in given.model:
        name, _, path = named.partition("=")
        for orientations in given.orientations:
            weights = models.read_given(path)
            methods += encoded(name, weights, images, given.axes, orientations, given.threads)
    methods += rivals(images)
    ours = given.ours or methods[min(1, len(methods) - 1)].name
    n = len(images.originals)
    moved = [family for family in images.copies if family not in TURNED]
    turned = [family for family in images.copies if family in TURNED]
    for families in filter(None, (moved, turned)):
        for times in given.times:
            found = compare(images, methods, families, times)
            true = n * len(families)
            print(f"\n{n:,} photographs, {true:,} true pairs, {times * true:,.0f} flagged\n")
            table(found, families, f"{n * (n - 1) * len(families):,}")
            told = below(found, ours, families)
            print(f"\n{ours}: {'below in' if told else 'below none in any family'}")
            print("\n".join(told))


if __name__ == "__main__":
    recorded(main)
