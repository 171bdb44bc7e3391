"""Sets of any size for `benchmarks.scale`: a table of vectors, and weights of no training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from udfs import arrow
from udfs.vectors.cosine import Matrix

CLASSES = 20
LARGE = 2  # of 5 scenes that are of the first class: it has two fifths of the images
SCENES = np.array([0, 1, 2, 3, 3, 4, 4, 4, 4, 4])  # of ten images that follow each other
NOISE = 0.3  # of an image's own: the copies of a scene have a cosine of about 0.91
BATCH = 10_000  # images written at a time
FILES = 8
STEP = 1_000_000_007  # a prime: ids go through all numbers in another order than scenes


def scenes(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The scene of each image: of ten, two show one scene, five another, three one of their own.

    >>> scenes(np.arange(12)).tolist()
    [0, 1, 2, 3, 3, 4, 4, 4, 4, 4, 5, 6]
    """
    found: NDArray[np.int64] = numbers // 10 * 5 + SCENES[numbers % 10]
    return found


def classes(of_scenes: NDArray[np.int64], count: int = CLASSES) -> NDArray[np.int64]:
    """The class of each scene: two fifths are of class 0, the others are spread evenly."""
    turn = of_scenes // 5
    others = 1 + (turn * (5 - LARGE) + of_scenes % 5) % (count - 1)
    return np.where((turn + of_scenes) % 5 < LARGE, 0, others)


def ids(numbers: NDArray[np.int64], count: int) -> list[str]:
    """Ids of images: in their order no scene and no class stands together."""
    if math.gcd(STEP, count) != 1:
        raise ValueError(f"{count} images: give another number")
    return [f"{number:010}" for number in (numbers * STEP % count).tolist()]


def vectors(numbers: NDArray[np.int64], width: int) -> Matrix:
    """The vectors of ten images, or of a multiple: normal, of falling spread along the axes."""
    shown = scenes(numbers)
    of_scene, row = np.unique(shown, return_inverse=True)
    draw = np.random.default_rng(int(numbers[0]))
    places = draw.standard_normal((len(of_scene), width), np.float32)[row]
    own = draw.standard_normal((len(numbers), width), np.float32)
    spread = (1 + np.arange(width, dtype=np.float32)) ** np.float32(-0.5)
    rows: Matrix = (np.sqrt(1 - NOISE**2) * places + NOISE * own).astype(np.float32) * spread
    return rows


def write_vectors(folder: Path, count: int, width: int) -> None:
    """Write a table (id, class, split, embedding) of so many images, a multiple of ten."""
    folder.mkdir(parents=True)
    blocks = np.array_split(np.arange(0, count, BATCH), min(FILES, math.ceil(count / BATCH)))
    for number, starts in enumerate(blocks):
        batches = _batches(starts, count, width)
        first = next(batches)
        with pq.ParquetWriter(folder / f"part-{number}.parquet", first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)


def _batches(starts: NDArray[np.int64], count: int, width: int) -> Iterator[pa.RecordBatch]:
    for start in starts.tolist():
        numbers = np.arange(start, min(start + BATCH, count))
        rows = vectors(numbers, width)
        labels = [f"class{label:02}" for label in classes(scenes(numbers)).tolist()]
        column = arrow.list_column(rows, np.ones(len(rows), np.bool_))
        names = ids(numbers, count)
        splits = ["test" if name.endswith("7") else "train" for name in names]
        columns = {"id": names, "class": labels, "split": splits, "embedding": column}
        yield pa.RecordBatch.from_pydict(columns)


def write_weights(file: Path) -> None:
    """Write weights as they are before training: encoding by them costs the same."""
    import torch

    from udfs.autoencoder.model import Autoencoder
    from udfs.autoencoder.weights import weights_bytes

    torch.manual_seed(0)
    file.write_bytes(weights_bytes(Autoencoder(True)))
