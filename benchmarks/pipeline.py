"""What the pipeline costs beside the least that any program must do on the same images.

A plain torch script is one process with as many threads as the pipeline has slots, that only reads,
decodes, cuts, resizes and encodes: a batch in torch's own order of channels through the layers. The
floor is the same with this project's encoder, which is faster. Both take their best batch. The
pipeline (without training: it is given the same weights) also hashes, stores, projects, prunes,
estimates and reports. Encoding on the executors is then measured against both encoders in a plain
loop, in interleaved runs: the encoder alone, and the whole stage with what it reads and writes.

    .venv/bin/python -m benchmarks.pipeline IMAGES [--model WEIGHTS] [--tile 64] [--stride 32]
        [--also NAME SETTING ...]

IMAGES: a folder by class; WEIGHTS: a weights.safetensors, or its folder (a pipeline that trained
leaves one in <warehouse>/models/); else the model that comes along. The defaults are measured, and,
in turn with them, what each --also names: a SETTING is a file of settings (.toml) or KEY=VALUE.
Prints Markdown tables: all pipelines, the stages of each, memory, bytes, encoding.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from deltalake import DeltaTable
from numpy.typing import NDArray

from benchmarks import session
from benchmarks.memory import ROLES, watched
from benchmarks.results import recorded
from jobs import pipeline
from jobs.autoencoder import models
from jobs.autoencoder.encoder_udf import EncoderTask
from jobs.settings.autoencoder import SHIPPED
from jobs.warehouse import arrow_frames
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.store import open_store
from udfs.acquisition import decode
from udfs.acquisition.unusable import Unusable
from udfs.autoencoder.augmentation import LEVEL
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.model import Encoder
from udfs.autoencoder.weights import load_model

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (32, 128, 256)
LOOP = 5  # pieces that the loop encodes at each batch: 20,480 images
PIECE = 4096  # images the plain loop holds decoded at a time
WRITTEN, OURS = "plain loop", "this project's encoder in a plain loop"
PIXELS = arrow_frames.struct("pixels binary")
LATENT = arrow_frames.struct("latent array<float>")
EXECUTORS = "the encoder on executors, latents kept nowhere"
STAGE = "the stage encode: start, Delta read and write included"
STAGES = tuple(stage.name for stage in pipeline.STAGES)
DEFAULTS = "the defaults"
HEAD = "seconds (median) | runs | of the plain script | of the floor |\n" + "| --- " * 5 + "|"


def tiles(root: Path, tile: int | None, stride: int | None) -> Iterator[NDArray[np.uint8]]:
    """The images of a folder by class, decoded and cut in one process: (up to 4096, pixels)."""
    held: list[bytes] = []
    for path in sorted(root.glob("*/**/*")):
        if not path.is_file():
            continue
        try:
            found = decode.decode(
                path.read_bytes(), max_pixels=89_478_485, tile=tile, stride=stride
            )
        except Unusable:
            continue
        held += [part.pixels for part in found]
        while len(held) >= PIECE:
            yield np.frombuffer(b"".join(held[:PIECE]), np.uint8).reshape(PIECE, -1)
            held = held[PIECE:]
    if held:
        yield np.frombuffer(b"".join(held), np.uint8).reshape(len(held), -1)


def script(given: argparse.Namespace) -> None:
    """The child process: all that the floor does, as one would write it down."""
    whole(given, as_written(models.read_given(given.model), given.batch))


def floor(given: argparse.Namespace) -> None:
    """The child process: the same with this project's encoder."""
    weights = models.read_given(given.model)
    whole(
        given,
        encoder(weights, device="cpu", batch=given.batch, threads=given.threads),
    )


def whole(given: argparse.Namespace, encode: Encoder) -> None:
    """Decode, cut and encode everything; prints its figures as JSON."""
    clock, decoding, count = time.perf_counter(), 0.0, 0
    started = clock
    for part in tiles(Path(given.images), given.tile or None, given.stride or None):
        decoding += time.perf_counter() - clock
        encode(part)
        count += len(part)
        clock = time.perf_counter()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "decoding": decoding, "images": count}))


def plain_loop(given: argparse.Namespace) -> None:
    """The child process: only encode what lies decoded in memory, at each batch."""
    every = tiles(Path(given.images), given.tile or None, given.stride or None)
    parts = list(itertools.islice(every, LOOP))
    weights = models.read_given(given.model)
    rates = {}
    for batch in BATCHES:
        ours = encoder(weights, device="cpu", batch=batch, threads=given.threads)
        for name, encode in ((WRITTEN, as_written(weights, batch)), (OURS, ours)):
            encode(parts[0][:batch])
            clock = time.perf_counter()
            for part in parts:
                encode(part)
            seconds = time.perf_counter() - clock
            rates[f"{name}, batch {batch}"] = sum(map(len, parts)) / seconds
    print(json.dumps(rates))


def as_written(weights: bytes, batch: int) -> Encoder:
    """The encoder as one would write it down, with nothing done for speed."""
    model = load_model(weights)

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                levels = pixels[start : start + batch].reshape(-1, 64, 64, 3).transpose(0, 3, 1, 2)
                images = torch.from_numpy(np.ascontiguousarray(levels)) / 127.5 - 1
                if model.normalise:
                    images = images - images.mean(dim=(2, 3), keepdim=True)
                    images /= images.std(dim=(2, 3), keepdim=True, correction=0).clamp_min(LEVEL)
                found.append(model.encoder(images).flatten(1).numpy())
        return np.concatenate(found)

    return encode


def on_executors(given: argparse.Namespace) -> None:
    """The child process: the same encoder by Arrow over the table images, latents kept nowhere."""
    weights = models.read_given(given.model)
    spark = session.start(given.threads)
    snapshot = open_store(spark, given.warehouse).snapshot("images")
    assert snapshot is not None
    encoding = EncoderTask(weights, "benchmark", given.batch, "cpu")

    def run(images: ParquetSnapshot, tasks: int) -> None:
        latents = images.whole(PIXELS, tasks).through(encoding.rows, LATENT).mapped()
        latents.write.format("noop").mode("overwrite").save()

    few = replace(snapshot, row_groups=snapshot.row_groups[: given.threads])
    run(few, given.threads)  # starts workers, loads the model
    clock = time.perf_counter()
    run(snapshot, snapshot.tasks(given.threads))
    seconds = time.perf_counter() - clock
    print(json.dumps({"rate": snapshot.rows / seconds}))
    spark.stop()


CHILDREN = {"script": script, "floor": floor, "loop": plain_loop, "executors": on_executors}


def child(given: argparse.Namespace, what: str, batch: int = 32) -> dict[str, Any]:
    """Run one of the functions above in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.pipeline", given.images, "--model", given.model]
    command += ["--tile", str(given.tile), "--stride", str(given.stride)]
    command += ["--threads", str(given.threads), "--batch", str(batch), "--child", what]
    command += ["--warehouse", given.warehouse]
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def submit(
    given: argparse.Namespace, job: str, warehouse: str, chosen: Sequence[str], *more: str
) -> dict[str, int]:
    """Run a job by spark-submit and return its peaks of memory; chosen: as --also has them."""
    command = [str(ROOT / "spark-submit.sh"), job, "--images", given.images]
    command += ["--warehouse", warehouse, "--set", f"train.model={given.model}"]
    if given.tile:
        command += ["--set", f"ingest.tile={given.tile}", "--set", f"ingest.stride={given.stride}"]
    for setting in chosen:
        is_file = setting.endswith(".toml")
        command += ["--settings" if is_file else "--set", setting]
    return watched([*command, *more])


def stage_seconds(warehouse: str) -> dict[str, float]:
    """Seconds of the newest finished run of each stage, from the table `runs`."""
    rows = DeltaTable(f"{warehouse}/runs").to_pyarrow_table(
        columns=["stage", "state", "started", "finished"]
    )
    done = [row for row in rows.to_pylist() if row["state"] == "done"]
    done.sort(key=lambda row: row["finished"])
    return {row["stage"]: (row["finished"] - row["started"]).total_seconds() for row in done}


def stored(warehouse: str) -> dict[str, int]:
    """Bytes of the files that each table's newest version is made of."""
    sizes = {}
    for log in sorted(Path(warehouse).glob("*/_delta_log")):
        actions = DeltaTable(str(log.parent)).get_add_actions(flatten=True)
        sizes[log.parent.name] = sum(actions.column("size_bytes").to_pylist())
    return sizes


def best_of(given: argparse.Namespace, what: str) -> int:
    """The batch at which a script is done first."""
    return min(BATCHES, key=lambda batch: child(given, what, batch)["seconds"])


@dataclass
class Pipelines:
    """What pipelines of the same settings took: seconds in all and by stage, peaks of memory."""

    walls: list[float] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)

    def run(self, given: argparse.Namespace, warehouse: str, chosen: Sequence[str]) -> None:
        """Run another one; chosen: its settings, as --also has them."""
        clock = time.perf_counter()
        for role, peak in submit(given, "pipeline", warehouse, chosen).items():
            self.peaks[role] = max(self.peaks.get(role, 0), peak)
        self.walls.append(time.perf_counter() - clock)
        self.seconds.append(stage_seconds(warehouse))


def measure(given: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = defaultdict(list)
    bare: dict[str, list[dict[str, Any]]] = defaultdict(list)
    chosen: dict[str, list[str]] = {DEFAULTS: [], **{name: more for name, *more in given.also}}
    pipelines = {name: Pipelines() for name in chosen}
    with tempfile.TemporaryDirectory(prefix="latent-dedup-") as folder:
        for settings in chosen.values():  # a mistake ends it here
            submit(given, "pipeline", f"{folder}/warehouse", settings, "--dry-run")
    batches = {what: best_of(given, what) for what in ("script", "floor")}
    for _ in range(given.runs):
        for what, batch in batches.items():
            bare[what].append(child(given, what, batch))
        for name, settings in chosen.items():
            with tempfile.TemporaryDirectory(prefix="latent-dedup-") as folder:
                warehouse = given.warehouse = str(Path(folder, "warehouse"))
                pipelines[name].run(given, warehouse, settings)
                if name != DEFAULTS:
                    continue
                sizes = stored(warehouse)
                if given.pipeline_only:
                    continue
                submit(given, "encode", warehouse, [], "--overwrite", "encode")
                rates[STAGE].append(bare["floor"][0]["images"] / stage_seconds(warehouse)["encode"])
                rates[EXECUTORS].append(child(given, "executors", batches["floor"])["rate"])
                for loop, rate in child(given, "loop").items():
                    rates[loop].append(rate)
    scripts = {
        f"a plain torch script, batch {batches['script']}": bare["script"],
        f"floor: with this project's encoder, batch {batches['floor']}": bare["floor"],
    }
    report_pipelines(scripts, pipelines)
    for name, found in pipelines.items():
        report_stages(name, scripts, found)
    report_memory(pipelines)
    report_bytes(sizes, bare["floor"][0]["images"])
    if rates:
        report_encoding(rates)


def row(name: str, took: list[float], scripts: dict[str, list[dict[str, Any]]]) -> None:
    """Print the median of some runs' seconds, and in times of the medians of the bare scripts."""
    median = statistics.median(took)
    floors = (statistics.median(run["seconds"] for run in runs) for runs in scripts.values())
    shares = " | ".join(f"{median / floor:.2f}" for floor in floors)
    print(f"| {name} | {median:.1f} | {', '.join(f'{each:.1f}' for each in took)} | {shares} |")


def report_pipelines(
    scripts: dict[str, list[dict[str, Any]]], pipelines: dict[str, Pipelines]
) -> None:
    count = next(iter(scripts.values()))[0]["images"]
    runs = len(pipelines[DEFAULTS].walls)
    print(f"{count:,} images, {psutil.cpu_count()} cores, {runs} interleaved runs\n\n| | {HEAD}")
    for name, runs_of in scripts.items():
        decoding = statistics.median(run["decoding"] for run in runs_of)
        took = [run["seconds"] for run in runs_of]
        row(f"{name} (decode {decoding:.1f} s)", took, scripts)
    for name, found in pipelines.items():
        row(f"pipeline, {name}", found.walls, scripts)
    print()


def report_stages(name: str, scripts: dict[str, list[dict[str, Any]]], found: Pipelines) -> None:
    print(f"| {name} | {HEAD}")
    for stage in (stage for stage in STAGES if stage in found.seconds[0]):
        row(stage, [run[stage] for run in found.seconds], scripts)
    runs = zip(found.walls, found.seconds, strict=True)
    rest = [wall - sum(run.values()) for wall, run in runs]
    row("Spark's start and end, locks, summary", rest, scripts)
    print()


def report_memory(pipelines: dict[str, Pipelines]) -> None:
    print(
        f"| peak memory, GiB | {' | '.join(pipelines)} |\n| ---" + " | ---" * len(pipelines) + " |"
    )
    for role in ROLES:
        cells = (f"{found.peaks.get(role, 0) / 2**30:.2f}" for found in pipelines.values())
        print(f"| {role} | {' | '.join(cells)} |")
    print()


def report_bytes(sizes: dict[str, int], count: int) -> None:
    print("| table | bytes an image |\n| --- | --- |")
    for table, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"| {table} | {size / count:,.1f} |")
    print(f"| all | {sum(sizes.values()) / count:,.1f} |\n")


def report_encoding(rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    bests = [
        max(rate for name, rate in medians.items() if name.startswith(kind))
        for kind in (WRITTEN, OURS)
    ]
    print("| encoding | images/s (median) | runs | of the best plain loop | of the best of ours |")
    print("| --- | --- | --- | --- | --- |")
    for name, median in medians.items():
        runs = ", ".join(f"{rate:,.0f}" for rate in rates[name])
        shares = " | ".join(f"{median / best:.2f}" for best in bests)
        print(f"| {name} | {median:,.0f} | {runs} | {shares} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images")
    parser.add_argument("--model", default=SHIPPED, help="weights.safetensors, or its folder")
    parser.add_argument("--tile", type=int, default=64, help="px; 0: whole frames")
    parser.add_argument("--stride", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs of everything")
    parser.add_argument("--also", nargs="+", action="append", default=[], metavar="NAME SETTING")
    parser.add_argument("--pipeline-only", action="store_true", help="not encoding by itself")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count())
    parser.add_argument("--batch", type=int, default=32, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--warehouse", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.images = str(Path(given.images).resolve())
    if given.model != SHIPPED:
        given.model = str(Path(given.model).resolve())
    names = [DEFAULTS, *(name for name, *_ in given.also)]
    if len(set(names)) < len(names) or any(len(also) < 2 for also in given.also):
        parser.error("each --also needs a name of its own, and settings")
    CHILDREN.get(given.child, measure)(given)


if __name__ == "__main__":
    recorded(main)
