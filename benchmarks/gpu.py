"""What a GPU does for encoding, training, pruning and proofs, beside the same machine's processor.

    .venv/bin/python -m benchmarks.gpu DATA [--images 50000] [--pairs 200000] [--threads 2]
    .venv/bin/python -m benchmarks.gpu DATA --only proofs [--device cpu:0]

DATA: the folder with ucmerced/. Its tiles of 64 px (stride 32) are encoded, learnt from, as one
class pruned at three thresholds, and registered in pairs: each with some of the tiles after it, of
which the nearest overlap. `--only proofs --device cpu:0` tries the last where there is no GPU, with
torch on the processor. Training starts anew in each run; of each measurement the first
run warms up and the median of the others is told. Floors: for encoding the network alone on images
that are on the device already; for pruning the products of all pairs, by themselves, on the device.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import truth
from benchmarks.results import recorded
from benchmarks.truth import Pixels
from jobs.settings.duplicates import Prune
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import BFLOAT16, FLOAT32, encoding_platform
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.training import Training, train
from udfs.autoencoder.weights import load_model, weights_bytes
from udfs.duplicates.cover_search import Cover
from udfs.duplicates.greedy import covers
from udfs.registration import Registrar, grey_of, proved
from udfs.vectors.axes import spread
from udfs.vectors.cosine import Matrix, squared_norms, unit_rows

THRESHOLDS = (0.97, 0.95, 0.93)
BATCHES = (32, 128, 512, 2048)
BLOCKS = (1024, 4096, 16384)
TOLD = ContrastiveTerm(weight=1.0, temperature=0.1)
OBJECTIVES = (
    ("reconstruction", None, FLOAT32),
    ("reconstruction+instance", TOLD, FLOAT32),
    ("reconstruction+instance", TOLD, BFLOAT16),
)
CUDA = "cuda:0"
EACH, LATER = 8, 16  # tiles that a tile is registered with, of so many after it
CALLS = (64, 1024, 16384, 262144)  # pairs that are registered by one call
CALLED = 32  # such calls, at most, in a measurement


def tiles(data: Path) -> Pixels:
    """All tiles of UC Merced at stride 32: (n, 64·64·3)."""
    found = [
        tile.reshape(-1)
        for half in (truth.CHOOSE, truth.FIGURES)
        for _, path in truth.photographs(data, truth.TILES, half)
        for tile in truth.tiles(truth.open_image(path), 32)
    ]
    return np.stack(found)


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    """The median of some runs after one that warms up."""
    past = []
    for _ in range(runs + 1):
        clock = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        past.append(time.perf_counter() - clock)
    return statistics.median(past[1:])


def trained(
    pixels: Pixels, device: str, contrastive: ContrastiveTerm | None, precision: str, batch: int
) -> Training:
    return train(
        pixels,
        epochs=1,
        batch_size=batch,
        learning_rate=1e-3,
        seed=0,
        held_out=0.0,
        device=device,
        normalise=contrastive is not None,
        contrastive=contrastive,
        precision=precision,
    )


def encoding(pixels: Pixels, weights: bytes, threads: int) -> None:
    """Images a second by batch, on the device and here."""
    network = load_model(weights).encoder.to(CUDA).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    print("\n| encoding, batch | GPU, img/s | network alone, img/s | CPU, img/s |")
    print("| --- | --- | --- | --- |")
    for batch in BATCHES:
        there = encoder(weights, device=CUDA, batch=batch)
        given = torch.rand(batch, 3, 64, 64, device=CUDA)
        given = given.contiguous(memory_format=torch.channels_last)

        def alone(given: torch.Tensor = given, batch: int = batch) -> None:
            with torch.inference_mode():
                for _ in range(len(pixels) // batch):
                    network(given)

        on_gpu = len(pixels) / seconds(partial(there, pixels))
        floor = len(pixels) // batch * batch / seconds(alone)
        here = encoder(weights, device="cpu", batch=batch, threads=threads)
        few = pixels[: max(4096, batch)]
        on_cpu = len(few) / seconds(partial(here, few), 1)
        print(f"| {batch} | {on_gpu:,.0f} | {floor:,.0f} | {on_cpu:,.0f} |", flush=True)


def training(pixels: Pixels, threads: int) -> None:
    """Images a second of both objectives, on the device and here."""
    torch.set_num_threads(threads)
    print("\n| training, objective | precision | batch | GPU, img/s | CPU, img/s |")
    print("| --- | --- | --- | --- | --- |")
    for name, contrastive, precision in OBJECTIVES:
        for batch in (128, 512):
            fast, few = pixels[: 40 * batch], pixels[: 6 * batch]
            on_gpu = len(fast) / seconds(
                partial(trained, fast, CUDA, contrastive, precision, batch)
            )
            on_cpu = len(few) / seconds(
                partial(trained, few, "cpu", contrastive, precision, batch), 1
            )
            print(f"| {name} | {precision} | {batch} | {on_gpu:,.0f} | {on_cpu:,.0f} |", flush=True)


def all_products(units: Matrix, threshold: float, block: int = 8192) -> int:
    """How many pairs (i ≤ j) lie above T by plain products on the device: the floor."""
    there, found = torch.from_numpy(units).to(CUDA), 0
    with torch.inference_mode():
        for first in range(0, len(there), block):
            left = there[first : first + block]
            found += int((left @ there[first:].T > threshold).sum())
    return found


def equal(one: list[Cover], other: list[Cover]) -> bool:
    return all(
        np.array_equal(a.keeper, b.keeper) and np.array_equal(a.similarity, b.similarity, True)
        for a, b in zip(one, other, strict=True)
    )


def pruning(latents: Matrix, threads: int) -> None:
    """Greedy covers of one class at three thresholds together, on the device and here."""
    units = unit_rows(latents, squared_norms(latents))
    torch.set_float32_matmul_precision("highest")
    with threadpool_limits(threads):
        clock = time.perf_counter()
        here = covers(None, latents, THRESHOLDS)
        on_cpu = time.perf_counter() - clock
    kept = ", ".join(
        f"{cover.kept.sum():,} at {t}" for cover, t in zip(here, THRESHOLDS, strict=True)
    )
    print(f"\n{len(latents):,} latents as one class; kept {kept}\n")
    print("| pruning | seconds | the same |\n| --- | --- | --- |")
    print(f"| CPU, {threads} threads | {on_cpu:.2f} | |")
    for block in BLOCKS:
        found: list[Cover] = []

        def on_gpu(block: int = block, found: list[Cover] = found) -> None:
            found[:] = covers(None, latents, THRESHOLDS, block=block, device=CUDA)

        spent = seconds(on_gpu, 1)
        print(f"| GPU, blocks of {block} | {spent:.2f} | {equal(found, here)} |", flush=True)
    floor = seconds(partial(all_products, units, THRESHOLDS[-1]))
    print(f"| all products on the GPU, by themselves | {floor:.2f} | |")


def proofs(pixels: Pixels, device: str, pairs: int, threads: int) -> None:
    """Pairs a second that are registered, on the device and here; whether both prove the same."""
    grey, settings = grey_of(pixels), Prune()
    random = np.random.default_rng(0)
    images = np.repeat(random.permutation(len(grey) - LATER)[: -(-pairs // EACH)], EACH)[:pairs]
    others = images + random.integers(1, LATER, len(images))
    there, here = Registrar(grey, device=device), Registrar(grey, threads=threads)
    few = slice(min(len(images), 2000))
    expected, found = (each.align(images[few], others[few]) for each in (here, there))
    one, other = (proved(each, settings.proof, settings.agreement) for each in (expected, found))
    on_cpu = len(one) / seconds(partial(here.align, images[few], others[few]), 1)
    print(f"\nProved of {len(one):,} pairs: {one.sum():,}; differently {(one != other).sum():,}")
    print(f"\n| proofs, pairs at a time | {device}, pairs/s | CPU, pairs/s |\n| --- | --- | --- |")
    for size in sorted({min(size, len(images)) for size in CALLS}):
        calls = min(CALLED, len(images) // size)

        def on_device(size: int = size, calls: int = calls) -> None:
            for k in range(0, calls * size, size):
                there.align(images[k : k + size], others[k : k + size])

        on_gpu = calls * size / seconds(on_device)
        print(f"| {size:,} | {on_gpu:,.0f} | {on_cpu:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=50_000, help="of one class, for pruning")
    parser.add_argument("--pairs", type=int, default=200_000, help="for proofs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["proofs"], help="leave out the rest")
    parser.add_argument("--device", default=CUDA, help="that registers, as torch spells it")
    given = parser.parse_args()
    pixels = tiles(given.data)
    print(f"{encoding_platform(given.device)}; {encoding_platform('cpu')}; {len(pixels):,} tiles")
    if not given.only:
        training(pixels, given.threads)
        weights = weights_bytes(trained(pixels, CUDA, None, FLOAT32, 128).model)
        encoding(pixels, weights, given.threads)
        latents = encoder(weights, device=CUDA, batch=512)(pixels)
        pruning(spread(latents, given.images), given.threads)
    proofs(pixels, given.device, given.pairs, given.threads)


if __name__ == "__main__":
    recorded(main)
