"""How the pruning of one class grows with its images: seconds, and the workers' memory.

Latents with the mean and the spectrum of a warehouse's are drawn from a normal distribution and
cut off at 0; each is followed by near-copies, and all are shuffled. The table latents of so many is
then pruned by ./spark-submit.sh in local[2], in rounds, as a class above prune.largest_class is.

    .venv/bin/python -m benchmarks.growth WAREHOUSE [--images 12500 25000 50000 100000 200000]

WAREHOUSE: has latents of real images. Prints a Markdown table. Work: images times kept images is
what a greedy cover may have to compare; half of it where all resemble nothing, as each is only
compared with those before it. Below the table stands what the seconds are made of: a fixed part,
one that grows with the images and one that grows with the work, and how far the measured ones are
from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks.latents import spread_latents
from benchmarks.memory import watched
from benchmarks.pipeline import ROOT
from benchmarks.results import recorded
from udfs import arrow
from udfs.vectors.cosine import Matrix

SAMPLE = 4096  # latents that the spectrum is taken from
BATCH = 8192  # latents written at a time
COLUMNS = ("image_id", "label", "split", "sha256", "model_id", "encoded_on")


def spectrum(latents: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,), and principal axes (k, d), each as long as the deviation along it."""
    wide = latents.astype(np.float64)
    mean = wide.mean(axis=0)
    _, sizes, axes = np.linalg.svd(wide - mean, full_matrices=False)
    return mean, axes * (sizes / np.sqrt(len(wide)))[:, None]


def drawn(
    mean: NDArray[np.float64],
    axes: NDArray[np.float64],
    count: int,
    copies: int,
    noise: float,
    *,
    mixed: bool = True,
) -> Iterator[Matrix]:
    """So many latents in parts: every `copies` of them are one scene, apart by `noise`.

    mixed: the copies lie anywhere, not one after the other.
    """
    order = np.random.default_rng(0).permutation(count) if mixed else np.arange(count)
    scenes = order // copies
    for first in range(0, count, BATCH):
        found = scenes[first : first + BATCH]
        places = np.array([np.random.default_rng(s).standard_normal(len(axes)) for s in found])
        own = np.random.default_rng((1, first)).standard_normal(places.shape)
        apart = np.sqrt(1 - noise**2) * places + noise * own
        yield np.maximum(0, mean + apart @ axes).astype(np.float32)


def write(
    warehouse: Path, parts: Iterator[Matrix], label: Callable[[int], str] = lambda _: "given"
) -> None:
    """The table latents, as encode would leave it; label: of the image of a number."""
    kind = pa.list_(pa.float32())
    schema = pa.schema([*((name, pa.string()) for name in COLUMNS), ("latent", kind)])

    def batches() -> Iterator[pa.RecordBatch]:
        count = 0
        for part in parts:
            numbers = range(count, count + len(part))
            count += len(part)
            columns = {name: ["given"] * len(part) for name in COLUMNS}
            columns["image_id"] = [f"{number:09}" for number in numbers]
            columns["label"] = [label(number) for number in numbers]
            columns["latent"] = arrow.list_column(part, np.ones(len(part), np.bool_))
            yield pa.record_batch([columns[name] for name in schema.names], schema=schema)

    commit = {"run_id": "growth", "stage": "encode", "fingerprint": "growth", "notes": {}}
    write_deltalake(
        str(warehouse / "latents"),
        pa.RecordBatchReader.from_batches(schema, batches()),
        commit_properties=CommitProperties(custom_metadata={"userMetadata": json.dumps(commit)}),
    )


def prune(warehouse: Path, settings: dict[str, Any], *submit: str) -> dict[str, int]:
    """Prune by spark-submit, whatever is there already; the peaks of memory."""
    command = [str(ROOT / "spark-submit.sh"), "prune", "--warehouse", str(warehouse)]
    command += ["--overwrite", "prune", "--set", "prune.space=raw"]
    for name, value in settings.items():
        command += ["--set", f"prune.{name}={value}"]
    command += ["--", "--master", "local[2,4]", *submit]
    return watched(command, quiet=False)


def made_of(rows: list[tuple[int, int, float]]) -> tuple[NDArray[np.float64], float]:
    """Parts of seconds, (fixed, per image, per image · kept), and the largest deviation from them.

    rows: images, kept, seconds. No part is negative; deviations count in shares of the seconds.
    """
    images, kept, seconds = np.array(rows, np.float64).T
    terms = np.stack([np.ones(len(rows)), images, images * kept], axis=1)
    found, _ = nnls(terms / seconds[:, None], np.ones(len(rows)))
    return found, float(np.abs(terms @ found / seconds - 1).max())


def measure(given: argparse.Namespace) -> None:
    rows = []
    mean, axes = spectrum(spread_latents(given.latents, SAMPLE))
    print(
        "| images | kept | seconds | of them, the stage | ns per image · kept | one worker, GiB "
        "| driver: Python, GiB | JVM, GiB |\n" + "| --- " * 8 + "|",
        flush=True,
    )
    for count in given.images:
        with tempfile.TemporaryDirectory(prefix="latent-dedup-", dir=given.folder) as folder:
            warehouse = Path(folder)
            write(warehouse, drawn(mean, axes, count, given.copies, given.noise))
            clock = time.perf_counter()
            settings = {
                "thresholds": [given.threshold],
                "largest_class": given.largest,
                "window": given.window,
            }
            peaks = prune(warehouse, settings)
            wall = time.perf_counter() - clock
            run = DeltaTable(f"{folder}/runs").to_pyarrow_table().to_pylist()[0]
            seconds = (run["finished"] - run["started"]).total_seconds()
            kept = dict(run["row_counts"])[f"kept_{given.threshold:g}"]
        rows.append((count, kept, seconds))
        memory = [peaks[role] / 2**30 for role in ("one worker", "driver, Python", "driver, JVM")]
        print(
            f"| {count:,} | {kept:,} | {wall:.1f} | {seconds:.1f} | "
            f"{1e9 * seconds / (count * kept):.2f} | "
            + " | ".join(f"{size:.2f}" for size in memory)
            + " |",
            flush=True,
        )
    if len(rows) > 3:
        (fixed, image, work), deviation = made_of(rows)
        print(
            f"\nSeconds of the stage: {fixed:.1f} + {1e3 * image:.3f} ms · images "
            f"+ {1e9 * work:.3f} ns · images · kept; the measured ones are within {deviation:.0%} "
            "of it."
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("latents", metavar="WAREHOUSE")
    sizes = [12_500, 25_000, 50_000, 100_000, 200_000]
    parser.add_argument("--images", type=int, nargs="+", default=sizes)
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--copies", type=int, default=5, help="images of a scene")
    parser.add_argument("--noise", type=float, default=0.3, help="share of their own, 0 to 1")
    parser.add_argument("--window", type=int, default=32_768)
    parser.add_argument("--largest", type=int, default=10_000, help="prune.largest_class")
    parser.add_argument("--folder", help="where the latents are written meanwhile, 4 KB each")
    measure(parser.parse_args())


if __name__ == "__main__":
    recorded(main)
