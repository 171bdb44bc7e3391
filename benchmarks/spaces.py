"""Which similarity finds what is truly alike? Raw and whitened latents beside two baselines.

Every method gives each pair of images of a class a similarity; the threshold is put where a given
number of pairs is flagged, the same for all methods. Shown is the share of the true pairs flagged.

- overlap: tiles of one photograph, whose ids tell the overlap of any two.
- planted: copies of tiles made here (JPEG of quality 75, another tone, shifted and cropped by 5 %),
  encoded by the warehouse's model.
- survey: the images of `make demo`, whose near-copies are known (truth.csv).

The baselines: distance of the 64×64 pixels; and the pixels at 16×16 on the 128 principal axes of
all images, each divided by its deviation, compared by the cosine.

    .venv/bin/python -m benchmarks.spaces overlap WAREHOUSE
    .venv/bin/python -m benchmarks.spaces planted WAREHOUSE
    .venv/bin/python -m benchmarks.spaces survey build/demo/warehouse --truth build/demo/truth.csv
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from benchmarks.overlap import KINDS, places
from benchmarks.results import recorded
from udfs import arrow
from udfs.acquisition.decode import SIDE
from udfs.autoencoder import inference
from udfs.vectors import cosine
from udfs.vectors.whitening import Moments, Whitening

Matrix = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Kinds = Callable[[Sequence[str]], NDArray[np.int8]]  # of ids: (n, n), which kind a pair is of
BINS = 2**18  # of a similarity, from −1 to 1
SMALL = 16  # px of the baseline's pixels
AXES = 128
METHODS = ("raw", "whitened", "pixel distance", "whitened 16×16 pixels")


@dataclass(frozen=True)
class Images:
    """Images of one class, in the order of their ids."""

    ids: list[str]
    pixels: Pixels  # (n, 64, 64, 3)
    latents: Matrix


def of_classes(warehouse: str) -> Iterator[tuple[str, Images]]:
    """Label and images of every class."""
    latents = DeltaTable(f"{warehouse}/latents").to_pyarrow_dataset()
    images = DeltaTable(f"{warehouse}/images").to_pyarrow_dataset()
    for label in sorted(set(latents.to_table(columns=["label"]).column("label").to_pylist())):
        chosen = ds.field("label") == label
        rows = latents.to_table(columns=["image_id", "latent"], filter=chosen).sort_by("image_id")
        seen = images.to_table(columns=["image_id", "pixels"], filter=chosen).sort_by("image_id")
        ids = rows.column("image_id").to_pylist()
        assert ids == seen.column("image_id").to_pylist()
        pixels = np.frombuffer(b"".join(seen.column("pixels").to_pylist()), np.uint8)
        yield (
            label,
            Images(
                ids,
                pixels.reshape(len(ids), SIDE, SIDE, 3),
                np.ascontiguousarray(arrow.matrix(rows.column("latent"))),
            ),
        )


def small(pixels: Pixels) -> Matrix:
    """Means of 4×4 pixels: (n, 768)."""
    n, part = len(pixels), SIDE // SMALL
    blocks = pixels.reshape(n, SMALL, part, SMALL, part, 3).astype(np.float32)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(n, -1), np.float32)


@dataclass(frozen=True)
class Sums:
    """Count, sum (768,) and sum of products (768, 768) of small pixels, to be added."""

    count: int
    total: NDArray[np.float64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, pixels: Pixels) -> Sums:
        """Of images (n, 64, 64, 3)."""
        rows = small(pixels).astype(np.float64)
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.count + other.count, self.total + other.total, self.products + other.products
        )


@dataclass(frozen=True)
class SmallAxes:
    """Small pixels on the leading principal axes of all images."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]  # (768, 128), each divided by the deviation along it

    @classmethod
    def fitted(cls, sums: Sums) -> SmallAxes:
        """The 128 axes of the largest variance."""
        mean = sums.total / sums.count
        values, vectors = np.linalg.eigh(sums.products / sums.count - np.outer(mean, mean))
        return cls(mean, vectors[:, -AXES:] / np.sqrt(values[-AXES:]))

    def __call__(self, pixels: Pixels) -> Matrix:
        """Images (n, 64, 64, 3) to whitened vectors (n, 128)."""
        return np.asarray((small(pixels) - self.mean) @ self.axes, np.float32)


@dataclass(frozen=True)
class Fits:
    """What is fitted on all images before any are compared."""

    whitening: Whitening
    small_axes: SmallAxes

    @classmethod
    def of(cls, classes: Iterator[tuple[str, Images]]) -> Fits:
        """From sums over the classes."""
        moments: Moments | None = None
        sums: Sums | None = None
        for _, images in classes:
            found, of_pixels = Moments.of(images.latents), Sums.of(images.pixels)
            moments = moments + found if moments else found
            sums = sums + of_pixels if sums else of_pixels
        assert moments is not None
        assert sums is not None
        return cls(Whitening.fitted(moments, AXES), SmallAxes.fitted(sums))

    def vectors(self, images: Images) -> dict[str, Matrix]:
        """What each method compares, by the cosine but for the distance of pixels."""
        return {
            "raw": images.latents,
            "whitened": self.whitening(images.latents),
            "pixel distance": shares(images.pixels),
            "whitened 16×16 pixels": self.small_axes(images.pixels),
        }


def shares(pixels: Pixels) -> Matrix:
    """Images (n, 64, 64, 3) as rows of shares of the range."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def cosines(left: Matrix, right: Matrix) -> Matrix:
    """Of all rows of one (n, d) with all of the other (m, d): (n, m)."""
    units = []
    for rows in (left, right):
        squared = cosine.squared_norms(rows)
        squared[squared == 0] = 1  # a zero vector resembles nothing
        units.append(cosine.unit_rows(rows, squared))
    return np.asarray(np.clip(units[0] @ units[1].T, -1, 1), np.float32)


def nearness(left: Matrix, right: Matrix) -> Matrix:
    """1 − 2·(distance / the largest possible) of rows of shares, (n, d) and (m, d): (n, m)."""
    squares = [np.square(rows, dtype=np.float64).sum(axis=1) for rows in (left, right)]
    apart = squares[0][:, None] + squares[1][None, :] - 2.0 * (left @ right.T)
    return np.asarray(1 - 2 * np.sqrt(np.maximum(apart, 0) / left.shape[1]), np.float32)


def similarity(method: str, rows: Matrix) -> Matrix:
    """Of all pairs of a method, (n, n), in [−1, 1]."""
    return (nearness if method == "pixel distance" else cosines)(rows, rows)


def tallied(
    classes: Iterator[tuple[str, Images]], fits: Fits, kinds: Kinds, count: int
) -> dict[str, NDArray[np.int64]]:
    """Of each method how many pairs of each kind (rows) have a similarity (bins, falling)."""
    found = {method: np.zeros((count, BINS), np.int64) for method in METHODS}
    for _, images in classes:
        upper = np.triu_indices(len(images.ids), 1)
        kind = kinds(images.ids)[upper]
        for method, rows in fits.vectors(images).items():
            values = similarity(method, rows)[upper]
            place = np.minimum(((1 - values) * (BINS / 2)).astype(np.int64), BINS - 1)
            for number in range(count):
                found[method][number] += np.bincount(place[kind == number], minlength=BINS)
    return found


def report(
    found: dict[str, NDArray[np.int64]], names: Sequence[str], flags: Sequence[int], other: int
) -> None:
    """Recall of each kind, at numbers of flagged pairs; `other`: the kind that is not true."""
    true = [number for number in range(len(names)) if number != other]
    totals = next(iter(found.values())).sum(axis=1)
    heads = " | ".join(f"{names[k]} ({totals[k]:,})" for k in true)
    print(f"| flagged | method | T | {heads} | {names[other]} ({totals[other]:,}) |")
    print("| --- " * (4 + len(true)) + "|")
    for flagged in flags:
        for method, counts in found.items():
            above = counts.cumsum(axis=1)
            end = int(np.searchsorted(above.sum(axis=0), flagged))
            end = min(end, BINS - 1)
            shares = [f"{above[k, end] / max(1, totals[k]):.1%}" for k in true]
            threshold = 1 - 2 * (end + 1) / BINS
            cells = [f"{above[:, end].sum():,}", method, f"{threshold:.4f}", *shares]
            print(f"| {' | '.join(cells)} | {above[other, end]:,} |")


def overlap_kinds(ids: Sequence[str]) -> NDArray[np.int8]:
    """0: half of the area is shared, 1: a quarter, 2: none of one photograph, 3: of two."""
    photograph, corner = places(list(ids))
    same = photograph[:, None] == photograph[None, :]
    shared = np.clip(SIDE - np.abs(corner[:, None] - corner[None, :]), 0, SIDE).prod(axis=2)
    kind = np.full(same.shape, 3, np.int8)
    kind[same] = 2
    kind[same & (shared * 4 == SIDE**2)] = 1
    kind[same & (shared * 2 == SIDE**2)] = 0
    return kind


def jpeg(image: Image.Image) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=75)
    return Image.open(io.BytesIO(stored.getvalue())).convert("RGB")


def tone(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.12)).enhance(0.9)


def shift(image: Image.Image) -> Image.Image:
    """By 5 % of the side to the right and down, the edge repeated."""
    by = round(0.05 * SIDE)
    pixels = np.pad(np.asarray(image), ((by, 0), (by, 0), (0, 0)), mode="edge")
    return Image.fromarray(np.ascontiguousarray(pixels[:SIDE, :SIDE]))


def crop(image: Image.Image) -> Image.Image:
    """5 % cut off at every side, scaled back."""
    by = 0.05 * SIDE
    box = (by, by, SIDE - by, SIDE - by)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


FAMILIES = {"JPEG 75": jpeg, "tone": tone, "shift 5 %": shift, "crop 5 %": crop}


def planted(classes: Iterator[tuple[str, Images]], weights: bytes) -> Iterator[tuple[str, Images]]:
    """Of each class one tile a photograph, and of each of these a copy of one family, by turns.

    A copy is called `<tile>|<family>`.
    """
    encode = inference.encoder(weights, device="cpu", batch=32, threads=2)
    for label, images in classes:
        first = np.unique(places(images.ids)[0], return_index=True)[1]
        ids = [images.ids[i] for i in first]
        copies: list[Pixels] = []
        for number, i in enumerate(first.tolist()):
            family = list(FAMILIES)[number % len(FAMILIES)]
            ids.append(f"{images.ids[i]}|{family}")
            copies.append(np.asarray(FAMILIES[family](Image.fromarray(images.pixels[i]))))
        latents = np.concatenate(
            [images.latents[first], encode(np.stack(copies).reshape(len(copies), -1))]
        )
        yield label, Images(ids, np.concatenate([images.pixels[first], copies]), latents)


def planted_kinds(ids: Sequence[str]) -> NDArray[np.int8]:
    """Of a tile and its copy the number of the family, else one more than there are."""
    kind = np.full((len(ids), len(ids)), len(FAMILIES), np.int8)
    place = {name: number for number, name in enumerate(ids)}
    for number, name in enumerate(ids):
        tile, bar, family = name.partition("|")
        if bar:
            at = place[tile], number
            kind[min(at), max(at)] = list(FAMILIES).index(family)
    return kind


def survey_kinds(path: Path) -> tuple[Kinds, list[str]]:
    """Kinds by truth.csv: the change between a copy and its original, else no copy."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["copy_of"]]
    names = sorted({row["change"] for row in rows})

    def kinds(ids: Sequence[str]) -> NDArray[np.int8]:
        kind = np.full((len(ids), len(ids)), len(names), np.int8)
        place = {name: number for number, name in enumerate(ids)}
        roots = {row["image_id"]: row["copy_of"] for row in rows}
        root = np.array([place.get(roots.get(name, name), -1) for name in ids])
        kind[root[:, None] == root[None, :]] = len(names) + 1  # two copies of one original
        for row in rows:
            at = place.get(row["image_id"]), place.get(row["copy_of"])
            if at[0] is not None and at[1] is not None:
                kind[min(at), max(at)] = names.index(row["change"])  # type: ignore[type-var]
        return kind

    return kinds, [*names, "other pairs", "two copies of one"]


def weights_of(warehouse: str) -> bytes:
    table = DeltaTable(f"{warehouse}/latents").to_pyarrow_dataset()
    model = table.head(1, columns=["model_id"]).column("model_id")[0]
    return Path(warehouse, "models", str(model), "weights.safetensors").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overlap", "planted", "survey"))
    parser.add_argument("warehouse")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--flagged", type=int, nargs="+", help="numbers of pairs")
    given = parser.parse_args()
    fits = Fits.of(of_classes(given.warehouse))
    if given.what == "overlap":
        found = tallied(of_classes(given.warehouse), fits, overlap_kinds, len(KINDS))
        flags = given.flagged or [10_000, 100_000, 1_000_000]
        report(found, KINDS, flags, len(KINDS) - 1)
    elif given.what == "planted":
        images = planted(of_classes(given.warehouse), weights_of(given.warehouse))
        names = [*FAMILIES, "other pairs"]
        found = tallied(images, fits, planted_kinds, len(names))
        report(found, names, given.flagged or [2_100, 4_200, 21_000], len(FAMILIES))
    else:
        kinds, names = survey_kinds(given.truth or Path(given.warehouse).parent / "truth.csv")
        found = tallied(of_classes(given.warehouse), fits, kinds, len(names))
        report(found, names, given.flagged or [1_000, 5_000, 25_000], len(names) - 2)


if __name__ == "__main__":
    recorded(main)
