"""Pruning where classes are many, and where one is nearly all: wall time, and how even tasks are.

10,000 classes of 10 images, then 100,000 images in 50 classes, one of which has 90 %. Latents as
in benchmarks.growth. The tasks that prune groups are those of the Spark stage that took most time,
by Spark's event log.

    .venv/bin/python -m benchmarks.skew WAREHOUSE

WAREHOUSE: has latents of real images. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth
from benchmarks.latents import spread_latents
from benchmarks.results import recorded

CASES: dict[str, tuple[int, Callable[[int], str], tuple[int, ...]]] = {
    "10,000 classes of 10": (100_000, lambda i: f"{i // 10:05}", (250_000,)),
    "50 classes, one with 90 %": (
        100_000,
        lambda i: "large" if i % 10 else f"{i // 10 % 49:02}",
        (250_000, 20_000),
    ),
}


def task_seconds(folder: Path) -> list[float]:
    """Seconds of each task of the stage that took most, by the event log in a folder."""
    stages: dict[int, list[float]] = defaultdict(list)
    for log in folder.iterdir():
        for line in log.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd":
                info = event["Task Info"]
                took = (info["Finish Time"] - info["Launch Time"]) / 1000
                stages[event["Stage ID"]].append(took)
    return max(stages.values(), key=sum)


def measure(given: argparse.Namespace) -> None:
    mean, axes = growth.spectrum(spread_latents(given.latents, growth.SAMPLE))
    print(
        "| classes | prune.largest_class | seconds | tasks of the longest step | longest, s "
        "| mean, s | one worker, GiB |\n" + "| --- " * 7 + "|",
        flush=True,
    )
    for name, (count, label, limits) in CASES.items():
        with tempfile.TemporaryDirectory(prefix="latent-dedup-", dir=given.folder) as folder:
            warehouse = Path(folder, "warehouse")
            parts = growth.drawn(mean, axes, count, given.copies, given.noise, mixed=False)
            growth.write(warehouse, parts, label)
            for limit in limits:
                events = Path(folder, f"events{limit}")
                events.mkdir()
                clock = time.perf_counter()
                peaks = growth.prune(
                    warehouse,
                    {"thresholds": [given.threshold], "largest_class": limit},
                    "--conf=spark.eventLog.enabled=true",
                    "--conf=spark.eventLog.compress=false",
                    "--conf=spark.eventLog.rolling.enabled=false",
                    f"--conf=spark.eventLog.dir=file://{events}",
                )
                seconds = time.perf_counter() - clock
                tasks = task_seconds(events)
                print(
                    f"| {name} | {limit:,} | {seconds:.1f} | {len(tasks)} | {max(tasks):.2f} | "
                    f"{statistics.mean(tasks):.2f} | {peaks['one worker'] / 2**30:.2f} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("latents", metavar="WAREHOUSE")
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--copies", type=int, default=5, help="images of a scene")
    parser.add_argument("--noise", type=float, default=0.3, help="share of their own, 0 to 1")
    parser.add_argument("--folder", help="where the latents are written meanwhile, 0.4 GB")
    measure(parser.parse_args())


if __name__ == "__main__":
    recorded(main)
