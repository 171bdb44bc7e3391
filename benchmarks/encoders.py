"""Encoders for benchmarks/quality.py, trained without Spark; and what a step of training costs.

    .venv/bin/python -m benchmarks.encoders train DATA OUT.safetensors --set train.epochs=8
    .venv/bin/python -m benchmarks.encoders time DATA

`train` takes photographs of the choosing half alone: tiles of 64 px at a stride of 32, or whole
photographs; at most `train.sample` of them. With `--checkpoints DIR` its state is kept there, and
the same command goes on if it was stopped. `time` runs steps of every objective in turn, beside a
plain torch loop of the paper's, on the same images: processor seconds of all threads, which other
programs on the machine disturb less than the clock. Then it encodes them, standardised or not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import truth
from benchmarks.results import recorded
from benchmarks.truth import Pixels
from jobs.autoencoder.checkpoints import Checkpoints
from jobs.autoencoder.learning import fit
from jobs.autoencoder.models import delete_checkpoint
from jobs.settings.autoencoder import Train
from jobs.settings.load import build
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.files import LocalFiles
from udfs.autoencoder.checkpoint import Epoch
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import BFLOAT16, FLOAT32, select_device
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.model import Autoencoder
from udfs.autoencoder.training import Training, train
from udfs.autoencoder.weights import weights_bytes

TOLD = ContrastiveTerm(weight=1.0, temperature=0.1)
PLAIN = "plain torch loop, reconstruction"
RAW = "of images as they are"
STEPS = 6  # of a batch in a run
BATCH, ENCODED = 32, 8192  # images a step, as encode.batch; in a run


def images(data: Path, what: Sequence[str], most: int) -> Pixels:
    """Rows (n, 64·64·3) to train on, of the choosing half: at most so many, drawn by a seed."""
    found: list[Pixels] = []
    for kind in what:
        for _, path in truth.photographs(data, kind, truth.CHOOSE):
            image = truth.open_image(path)
            found += [truth.seen(image)] if kind == truth.CLOTHING else truth.tiles(image, 32)
    order = np.random.default_rng(0).permutation(len(found))[:most]
    return np.stack([found[place].reshape(-1) for place in order])


def learnt(pixels: Pixels, settings: Train, checkpoints: Checkpoints | None = None) -> Training:
    """As the job `train`, on its device, told epoch by epoch."""
    busy = time.process_time()

    def on_epoch(epoch: Epoch) -> None:
        held_out = f"{epoch.held_out_loss:.4f}" if epoch.held_out_loss else "-"
        apart = f"{epoch.instance_loss:.3f}" if epoch.instance_loss else "-"
        rate = len(pixels) / epoch.seconds
        told = f"loss {epoch.loss:.4f}, held out {held_out}, instance {apart}, {rate:.0f} img/s"
        each = (time.process_time() - busy) / epoch.number / len(pixels)
        print(f"epoch {epoch.number}: {told}, {each * 1e3:.2f} processor ms an image", flush=True)

    return fit(pixels, settings, select_device(settings.device), checkpoints, on_epoch=on_epoch)


def as_written(pixels: Pixels, batch: int) -> None:
    """The paper's objective as one would write it down, with nothing done for speed."""
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for start in range(0, len(pixels), batch):
        levels = pixels[start : start + batch].reshape(-1, 64, 64, 3).transpose(0, 3, 1, 2)
        given = torch.from_numpy(np.ascontiguousarray(levels)) / 127.5 - 1
        optimizer.zero_grad()
        nn.functional.mse_loss(model(given), given).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def objectives(batch: int) -> dict[str, Callable[[Pixels], object]]:
    """What is timed, by name."""

    def ours(
        normalise: bool, contrastive: ContrastiveTerm | None, precision: str = FLOAT32
    ) -> Callable[[Pixels], object]:
        return lambda pixels: train(
            pixels,
            epochs=1,
            batch_size=batch,
            learning_rate=1e-3,
            seed=0,
            held_out=0.0,
            device="cpu",
            normalise=normalise,
            contrastive=contrastive,
            precision=precision,
        )

    return {
        PLAIN: lambda pixels: as_written(pixels, batch),
        "reconstruction": ours(False, None),
        "reconstruction, normalised": ours(True, None),
        "reconstruction+instance": ours(False, TOLD),
        "reconstruction+instance, normalised": ours(True, TOLD),
        "the same in bfloat16": ours(True, TOLD, BFLOAT16),
    }


def encoders(batch: int, threads: int) -> dict[str, Callable[[Pixels], object]]:
    """The two encoders, by name."""

    def made(normalise: bool) -> Callable[[Pixels], object]:
        weights = weights_bytes(Autoencoder(normalise))
        return encoder(weights, device="cpu", batch=batch, threads=threads)

    return {RAW: made(normalise=False), "of standardised images": made(normalise=True)}


def timed(
    ways: Mapping[str, Callable[[Pixels], object]], pixels: Pixels, runs: int
) -> dict[str, list[float]]:
    """Processor ms an image of each, in interleaved runs."""
    seconds: dict[str, list[float]] = {}
    for way in ways.values():
        way(pixels[: len(pixels) // STEPS])
    for _ in range(runs):
        for name, way in ways.items():
            busy = time.process_time()
            way(pixels)
            each = (time.process_time() - busy) / len(pixels)
            seconds.setdefault(name, []).append(1e3 * each)
    return seconds


def told(found: Mapping[str, Sequence[float]], batch: int, floor: str) -> None:
    """A row of each, beside one of them."""
    for name, runs in found.items():
        middle = statistics.median(runs)
        span = f"{min(runs):.2f}–{max(runs):.2f}"
        ratio = middle / statistics.median(found[floor])
        print(f"| {name} | {batch} | {middle:.2f} | {span} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", choices=("train", "time"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--from", dest="what", nargs="+", default=[truth.TILES])
    parser.add_argument("--set", dest="flags", action="append", default=[])
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.job == "train":
        if given.out is None:
            parser.error("OUT.safetensors is missing")
        settings = build({}, given.flags).train
        pixels = images(given.data, given.what, settings.sample)
        name = fingerprint(settings.learning)
        files = LocalFiles(given.checkpoints) if given.checkpoints else None
        checkpoints = Checkpoints(files, name, print) if files else None
        given.out.write_bytes(weights_bytes(learnt(pixels, settings, checkpoints).model))
        if files:
            delete_checkpoint(files, name)
        return
    print("| objective | batch | processor ms an image (median) | runs | of the plain loop |")
    print("| --- | --- | --- | --- | --- |")
    for batch in given.batches:
        pixels = images(given.data, given.what, STEPS * batch)
        told(timed(objectives(batch), pixels, given.runs), batch, PLAIN)
    print("\n| encoder | batch | processor ms an image (median) | runs | of the first |")
    print("| --- | --- | --- | --- | --- |")
    pixels = images(given.data, given.what, ENCODED)
    told(timed(encoders(BATCH, given.threads), pixels, given.runs), BATCH, RAW)


if __name__ == "__main__":
    recorded(main)
