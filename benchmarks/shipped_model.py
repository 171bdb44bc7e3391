"""Makes the model that comes along, `train.model = "shipped"`.

    .venv/bin/python -m benchmarks.shipped_model DATA [--seeds 0 1 2] [--epochs 24]
        [--work build/shipped] [--write]

Trains the default's encoder and decoder on the choosing half of UC Merced's photographs (tiles of
64 px at a stride of 32) and of the clothing photographs, once for each seed. Training goes on from
its checkpoints, so the command may be stopped and given again. Every few epochs the weights are
kept, in float16, and the table tells what share of planted copies they find among as many flagged
pairs (benchmarks/quality.py), on the choosing half as well; so it says how long training helps.
With `--write` the one that finds the most becomes udfs/autoencoder/shipped_model/. What it finds on
the other half, benchmarks/quality.py tells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import quality, truth
from benchmarks.changes import TURNED
from benchmarks.encoders import images, learnt
from benchmarks.results import ROOT, commit, recorded
from benchmarks.truth import Pixels
from jobs.autoencoder.checkpoints import Checkpoints
from jobs.autoencoder.models import delete_checkpoint
from jobs.settings.autoencoder import Train
from jobs.settings.load import build
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.files import LocalFiles
from udfs.autoencoder import shipped
from udfs.autoencoder.checkpoint import MODEL, Checkpoint, Epoch
from udfs.autoencoder.model import Autoencoder
from udfs.autoencoder.weights import model_id, weights_bytes

TRAINED_ON = {
    truth.TILES: {
        "data": "UC Merced Land Use, cut from the USGS National Map Urban Area Imagery",
        "license": "public domain",
        "pictures": "tiles of 64 px at a stride of 32 px",
    },
    truth.CLOTHING: {
        "data": "Clothing dataset (small), alexeygrigorev/clothing-dataset-small",
        "license": "CC0 1.0",
        "pictures": "whole photographs",
    },
}
EVERY = 4  # epochs between two that are compared
AXES = 256  # of the whitening
MOST = 4_000_000  # bytes of the weights file


@dataclass(frozen=True)
class Kept:
    """Weights after some epochs of a training."""

    seed: int
    epochs: int
    path: Path


class KeptWeights(Checkpoints):
    """Checkpoints that also keep the weights, in float16, every few epochs, and all losses."""

    def __init__(
        self, files: LocalFiles, settings: Train, path: Callable[[int], Path], losses: Path
    ) -> None:
        super().__init__(files, fingerprint(settings.learning), print)
        self._path, self._losses, self._normalise = path, losses, settings.normalise

    def keep(self, epoch_ended: bool, state: Callable[[], Checkpoint]) -> None:
        """See `Checkpoints.keep`."""
        super().keep(epoch_ended, state)
        if not epoch_ended:
            return
        taken = state()
        note(self._losses, taken.position.finished)
        done = len(taken.position.finished)
        if done % EVERY == 0:
            model = Autoencoder(self._normalise)
            prefix = f"{MODEL}model."
            model.load_state_dict(
                {
                    name.removeprefix(prefix): value
                    for name, value in taken.tensors.items()
                    if name.startswith(prefix)
                }
            )
            write(self._path(done), model)


def write(path: Path, model: Autoencoder) -> None:
    """Write weights in float16. The file is there when it is whole."""
    part = path.with_suffix(".part")
    part.write_bytes(weights_bytes(model.half()))
    part.rename(path)


def note(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write the losses of all epochs so far."""
    path.write_text(json.dumps([asdict(epoch) for epoch in epochs], indent=1))


def settings_of(epochs: int, seed: int) -> Train:
    """The default training, but for its length and its sample, which is all."""
    return build({}, [f"train.epochs={epochs}", f"train.seed={seed}", "train.sample=100000"]).train


def trained(pixels: Pixels, epochs: int, seed: int, work: Path) -> list[Kept]:
    """Train with a seed if that is not done; return the weights on the way and of the end."""
    settings = settings_of(epochs, seed)

    def path(done: int) -> Path:
        return work / f"seed{seed}-epochs{done}.safetensors"

    if not path(epochs).exists():
        print(f"seed {seed}", flush=True)
        files = LocalFiles(work)
        losses = work / f"seed{seed}.json"
        training = learnt(pixels, settings, KeptWeights(files, settings, path, losses))
        note(losses, training.epochs)
        write(path(epochs), training.model)
        delete_checkpoint(files, fingerprint(settings.learning))
    return [Kept(seed, done, path(done)) for done in range(1, epochs + 1) if path(done).exists()]


def compared(data: Path, kept: Sequence[Kept], threads: int) -> Iterator[tuple[Kept, list[float]]]:
    """What share of the planted copies of the choosing half is found, by set."""
    sets = [truth.planted(data, what, truth.CHOOSE, 10_000) for what in TRAINED_ON]
    for one in kept:
        found = []
        for planted in sets:
            methods = quality.encoded("it", one.path.read_bytes(), planted, [AXES], 1, threads)
            families = [family for family in planted.copies if family not in TURNED]
            _, whitened = quality.compare(planted, list(methods), families, 1.0).values()
            found.append(float(whitened.shares.mean()))
        yield one, found


def ship(best: Kept, found: Sequence[float], settings: Train, about: dict[str, Any]) -> None:
    """Write the package's two files."""
    folder = ROOT / "udfs/autoencoder" / shipped.FOLDER
    data = best.path.read_bytes()
    if len(data) > MOST:
        raise SystemExit(f"{len(data):,} bytes are more than {MOST:,}")
    (folder / shipped.WEIGHTS).write_bytes(data)
    shares = {
        name: {
            **TRAINED_ON[name],
            "copies found of the half that it was trained on": round(share, 3),
        }
        for name, share in zip(TRAINED_ON, found, strict=True)
    }
    text = json.dumps(
        {
            "trained on": shares,
            "sha256": model_id(data),
            "half": "by the sha256 of the path, see benchmarks/truth.py",
            "made by": f"benchmarks/shipped_model.py at {commit()}",
            "seed": best.seed,
            "settings": {**asdict(settings), "epochs": best.epochs},
            **about,
        },
        indent=1,
    )
    (folder / shipped.ABOUT).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--work", type=Path, default=ROOT / "build/shipped")
    parser.add_argument("--write", action="store_true", help="the best becomes the shipped model")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    pixels = images(given.data, list(TRAINED_ON), 100_000)
    kept = [one for seed in given.seeds for one in trained(pixels, given.epochs, seed, given.work)]
    print(f"\n| seed | epochs | {' | '.join(TRAINED_ON)} | mean |")
    print("| --- | --- | --- | --- | --- |")
    results: dict[Kept, list[float]] = {}
    for one, found in compared(given.data, kept, given.threads):
        results[one] = found
        cells = " | ".join(f"{share:.3f}" for share in (*found, sum(found) / len(found)))
        print(f"| {one.seed} | {one.epochs} | {cells} |", flush=True)
    if given.write:
        best = max(results, key=lambda one: sum(results[one]))
        losses = json.loads((given.work / f"seed{best.seed}.json").read_text())
        about = {"images": len(pixels), "losses": losses[: best.epochs]}
        ship(best, results[best], settings_of(given.epochs, best.seed), about)


if __name__ == "__main__":
    recorded(main)
