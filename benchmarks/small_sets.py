"""How many unlike pictures a set must have before a model of its own tells them apart.

Sets of generated photographs of the survey, each of another place and none with a copy, are
compared as one class: whatever a threshold of the cosine removes is wrong. The encoder is trained
on the set itself, as a pipeline does with `train.model = "trained"`, or on a large set of other
places; or it is the one that comes along. The whitening is fitted on the set either way. Shares are
means over several sets of a size; beside them stands the largest cosine of any pair.

    .venv/bin/python -m benchmarks.small_sets [--sizes 10 20 50 100 200] [--sets 3] [--other 1000]
        [--encoders own other shipped]

Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.results import recorded
from jobs.autoencoder import learning
from jobs.settings.autoencoder import Train
from udfs.acquisition.synthetic import survey
from udfs.autoencoder import inference, shipped
from udfs.autoencoder.weights import weights_bytes
from udfs.duplicates.greedy import cover
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening

SIDE = 96  # of a photograph, in pixels, as in the job `sample`
LABELS = 8
MOST_SCENES = 500  # of a class
THRESHOLDS = {"raw": (0.97, 0.95, 0.93), "whitened": (0.9, 0.85, 0.8)}
AXES = 256
ENCODERS = ("own", "other", "shipped")
Pixels = NDArray[np.uint8]


def places(seed: int) -> Iterator[Pixels]:
    """Photographs of places, of all classes in turn, as rows of 64×64×3 values."""
    by_label: dict[str, list[survey.Scene]] = {}
    for scene in survey.plan(labels=LABELS, scenes=MOST_SCENES, side=SIDE, seed=seed):
        by_label.setdefault(scene.label, []).append(scene)
    for turn in zip(*by_label.values(), strict=True):
        for scene in turn:
            first = replace(scene, shots=scene.shots[:1])  # without its copies
            _, data = survey.photograph(first, side=SIDE, seed=seed)[0]
            picture = (
                Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BOX)
            )
            yield np.asarray(picture).reshape(-1)


def trained(pixels: Pixels, epochs: int) -> bytes:
    """The weights of an encoder that learnt from these pictures with the default settings."""
    return weights_bytes(learning.fit(pixels, Train(epochs=epochs), "cpu").model)


def spaces(weights: bytes, pixels: Pixels) -> dict[str, Matrix]:
    """Latents of pictures, as they are and whitened by a fit to themselves."""
    raw = inference.encoder(weights, device="cpu", batch=128, threads=1)(pixels)
    return {"raw": raw, "whitened": Whitening.fitted(Moments.of(raw), AXES)(raw)}


def wrong(vectors: Matrix, threshold: float) -> float:
    """The share of pictures that are removed."""
    return float(np.mean(~cover(None, vectors, threshold).kept))


def largest(vectors: Matrix) -> float:
    """The largest cosine of any two vectors."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return float(cosines[~np.eye(len(unit), dtype=bool)].max())


def row(name: str, weights: Sequence[bytes], sets: Sequence[Pixels]) -> str:
    """A row of the table: of sets of one size, each with the weights of its encoder."""
    cells = [name, f"{len(sets[0]):,}"]
    found = [spaces(data, pixels) for data, pixels in zip(weights, sets, strict=True)]
    for space, thresholds in THRESHOLDS.items():
        for threshold in thresholds:
            cells.append(f"{np.mean([wrong(each[space], threshold) for each in found]):.1%}")
        cells.append(f"{np.max([largest(each[space]) for each in found]):.3f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 20, 50, 100, 200])
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--other", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=Train().epochs)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    given = parser.parse_args()
    fixed = {}
    if "other" in given.encoders:
        pixels = np.stack(list(islice(places(1), given.other)))
        fixed[f"of {given.other:,} others"] = trained(pixels, given.epochs)
    if "shipped" in given.encoders:
        fixed["that comes along"] = shipped.weights()
    titles = [f"{space} {t}" for space, ts in THRESHOLDS.items() for t in (*ts, "largest")]
    print(f"| encoder | pictures | {' | '.join(titles)} |")
    print("| --- " * (2 + len(titles)) + "|")
    for size in given.sizes:
        some = places(0)
        sets = [np.stack(list(islice(some, size))) for _ in range(given.sets)]
        if "own" in given.encoders:
            own = [trained(pixels, given.epochs) for pixels in sets]
            print(row("of the set itself", own, sets), flush=True)
        for name, weights in fixed.items():
            print(row(name, [weights] * len(sets), sets), flush=True)


if __name__ == "__main__":
    recorded(main)
