"""What a pipeline costs by stage, at several sizes and with one executor and two.

Executors are processes of a local cluster with a core each, set up by conf/spark-cluster.conf, and
the kernel ends one that needs more memory than --limit. Two kinds of sets are run: vectors that
are brought along (20 classes, of which one has two fifths of the images and is pruned in rounds;
half of the images show a scene that others show too), and pictures of the job `sample`, which are
registered. Nothing is trained: pictures are encoded by weights as they are before training.

    .venv/bin/python -m benchmarks.scale --vectors 10000 100000 --pictures 65 260 --json FILE

A large set need not be run at once: with --keep FOLDER it and its warehouse stay, and the next call
goes on there, for example with --jobs project whiten, after one with --jobs ingest encode.

Needs the right to make memory cgroups (version 1), or --limit 0. Prints Markdown tables, and writes
all that was measured as JSON, from which benchmarks.scale_table computes larger sets. Memory is
PSS, looked at every second; what the kernel counted for an executor includes the files that
it had cached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from deltalake import DeltaTable

from benchmarks import scale_sets
from benchmarks.limited import Limited, local_cluster
from benchmarks.pipeline import ROOT, stored
from benchmarks.results import recorded
from benchmarks.usage import EXECUTOR, ROLES, WORKER, Usage, watched

VECTORS, PICTURES = "vectors", "pictures"
WHOLE = "all"  # a row for the whole command, Spark's start included
LARGE = 250_000  # the default of prune.largest_class


@dataclass(frozen=True)
class Run:
    """One pipeline; stages: of each its figures, as in `stage_figures`."""

    kind: str
    images: int
    width: int
    executors: int
    heap: int
    limit: int
    stages: dict[str, dict[str, Any]]
    tables: dict[str, int]
    scratch: int
    counts: dict[str, int]
    largest: list[dict[str, int]]


def stage_times(warehouse: Path) -> dict[str, tuple[float, float]]:
    """When each stage began and ended, in seconds since 1970, in their order."""
    rows = DeltaTable(warehouse / "runs").to_pyarrow_table().to_pylist()
    done = sorted((row for row in rows if row["state"] == "done"), key=lambda row: row["started"])
    return {row["stage"]: (row["started"].timestamp(), row["finished"].timestamp()) for row in done}


def task_figures(events: Iterator[str], start: float, end: float) -> dict[str, float]:
    """Tasks that ended between two times: their number, seconds, and the JVM's processor time.

    events: the lines of Spark's event log.
    """
    tasks, seconds, processor = 0, 0.0, 0.0
    for line in events:
        if '"SparkListenerTaskEnd"' not in line[:60]:
            continue
        event = json.loads(line)
        if start <= event["Task Info"]["Finish Time"] / 1000 <= end and "Task Metrics" in event:
            tasks += 1
            seconds += event["Task Metrics"]["Executor Run Time"] / 1e3
            processor += event["Task Metrics"]["Executor CPU Time"] / 1e9
    return {"tasks": tasks, "task_seconds": seconds, "task_jvm_seconds": processor}


def stage_figures(usage: Usage, log: Path, start: float, end: float) -> dict[str, Any]:
    """What a stage took: seconds, its tasks, processor time and peak of memory by role."""
    memory, processor = usage.during(start, end)
    with log.open(encoding="utf-8") as events:
        tasks = task_figures(events, start, end)
    return {"seconds": end - start, "memory": memory, "processor": processor, **tasks}


def command(
    given: argparse.Namespace, job: str, kind: str, data: Path, warehouse: Path
) -> list[str]:
    """A job by spark-submit, without the options of the cluster."""
    words = [str(ROOT / "spark-submit.sh"), job, "--warehouse", str(warehouse)]
    words += ["--images", str(data)]
    if kind == VECTORS:
        names = {"source": "parquet", "vector_column": "embedding", "id_column": "id"}
        names |= {"label_column": "class", "split_column": "split"}
        for name, value in names.items():
            words += ["--set", f"ingest.{name}={value}"]
    else:
        words += ["--set", f"train.model={data.parent / 'weights.safetensors'}"]
    for pair in given.set:
        words += ["--set", pair]
    return words


def run(
    given: argparse.Namespace, job: str, kind: str, data: Path, size: int, executors: int
) -> Run:
    """Run a pipeline, or one stage, and measure it."""
    with tempfile.TemporaryDirectory(prefix="latent-dedup-", dir=given.folder) as name:
        folder = Path(name)
        (folder / "events").mkdir()
        warehouse = (given.keep or folder) / f"warehouse-{kind}-{size}-{executors}"
        words = command(given, job, kind, data, warehouse)
        if kind == VECTORS:  # the first class is pruned in rounds whatever the size
            words += ["--set", f"prune.largest_class={min(LARGE, size // 4)}"]
        with local_cluster(folder, executors, given.heap, given.limit) as cluster:
            words += ["--", *cluster.submit, "--driver-memory", given.driver_memory]
            words += event_log(folder / "events")
            clock = time.time()
            usage = watched(words, cluster.environment, folder / "scratch")
            now = {stage: when for stage, when in stage_times(warehouse).items() if when[0] > clock}
            times = {WHOLE: (clock, time.time())} | now
            log = next((folder / "events").iterdir())
            stages = {stage: stage_figures(usage, log, *when) for stage, when in times.items()}
            return finished(given, kind, executors, warehouse, stages, usage.scratch, cluster)


def event_log(folder: Path) -> list[str]:
    """Options by which Spark writes the event log as one file of plain lines."""
    return [
        "--conf=spark.eventLog.enabled=true",
        "--conf=spark.eventLog.compress=false",
        "--conf=spark.eventLog.rolling.enabled=false",
        f"--conf=spark.eventLog.dir=file://{folder}",
    ]


def finished(
    given: argparse.Namespace,
    kind: str,
    executors: int,
    warehouse: Path,
    stages: dict[str, dict[str, Any]],
    scratch: int,
    cluster: Limited,
) -> Run:
    """A run that has ended: its figures by stage, with what its warehouse and its cluster say."""
    rows = DeltaTable(warehouse / "runs").to_pyarrow_table().to_pylist()
    counts: dict[str, int] = {}
    for row in rows:
        counts |= {f"{row['stage']}.{name}": count for name, count in row["row_counts"] or ()}
    return Run(
        kind,
        DeltaTable(warehouse / "images").to_pyarrow_dataset().count_rows(),
        given.width if kind == VECTORS else 0,
        executors,
        given.heap,
        given.limit,
        stages,
        stored(str(warehouse)),
        scratch,
        counts,
        [asdict(executor) for executor in cluster.executors()],
    )


def sets(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Make each set in turn: its kind, its size as it was asked for, and where it is."""
    for size in given.vectors:
        data = folder / f"vectors{size}"
        if not data.exists():
            scale_sets.write_vectors(data, size, given.width)
        yield VECTORS, size, data
    if given.pictures:
        scale_sets.write_weights(folder / "weights.safetensors")
    for size in given.pictures:
        data = folder / f"pictures{size}"
        if data.exists():
            yield PICTURES, size, data
            continue
        sample = [str(ROOT / "spark-submit.sh"), "sample", "--images", str(data)]
        sample += ["--set", f"sample.scenes={size}", "--set", f"report.truth={data}.csv"]
        (folder / f"sample{size}").mkdir()
        watched(sample, {}, folder / f"sample{size}")
        yield PICTURES, size, data


def measure(given: argparse.Namespace) -> list[Run]:
    """Run everything; with one executor and with two in turn, so that both see the same noise."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="latent-dedup-", dir=given.folder) as name:
        for kind, size, data in sets(given, given.keep or Path(name)):
            for job in given.jobs:
                found = [
                    run(given, job, kind, data, size, executors)
                    for _ in range(given.repeats)
                    for executors in given.executors
                ]
                report(found)
                runs += found
    return runs


def median(runs: Sequence[Run], stage: str, of: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(of(run.stages[stage]) for run in runs)


def report(runs: Sequence[Run]) -> None:
    """Print the runs of one set: medians of seconds, peaks of memory of all of them."""
    by_number = {number: [run for run in runs if run.executors == number] for number in
                 sorted({run.executors for run in runs})}  # fmt: skip
    first = runs[0]
    width = f" of {first.width} numbers" if first.width else ""
    print(f"\n{first.images:,} {first.kind}{width}, {len(runs) // len(by_number)} runs each\n")
    head = ["stage"]
    for number in by_number:
        head += [f"wall, s ({number})", f"task s ({number})", f"processor s ({number})"]
    head += ["1 : 2"] if set(by_number) >= {1, 2} else []
    head += [f"{role}, GiB" for role in (*ROLES, WORKER, EXECUTOR)]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for stage in first.stages:
        row = [stage]
        for several in by_number.values():
            row.append(f"{median(several, stage, lambda one: one['seconds']):.1f}")
            row.append(f"{median(several, stage, lambda one: one['task_seconds']):.1f}")
            row.append(f"{median(several, stage, processor_seconds):.1f}")
        if set(by_number) >= {1, 2}:
            walls = [median(by_number[n], stage, lambda one: one["seconds"]) for n in (1, 2)]
            row.append(f"{walls[0] / walls[1]:.2f}")
        row += [f"{peak(runs, stage, role) / 2**30:.2f}" for role in (*ROLES, WORKER, EXECUTOR)]
        print("| " + " | ".join(row) + " |")
    print_rest(runs)


def processor_seconds(figures: dict[str, Any]) -> float:
    """Processor time of all processes."""
    return float(sum(figures["processor"].values()))


def peak(runs: Sequence[Run], stage: str, role: str) -> int:
    return max(int(run.stages[stage]["memory"].get(role, 0)) for run in runs)


def print_rest(runs: Sequence[Run]) -> None:
    """Print how much the runs differ, bytes an image, and what the kernel counted."""
    for number in sorted({run.executors for run in runs}):
        walls = [run.stages[WHOLE]["seconds"] for run in runs if run.executors == number]
        print(f"\n{number} executors, wall: {', '.join(f'{wall:.0f} s' for wall in walls)}")
    first = runs[0]
    sizes = sorted(first.tables.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{table} {size / first.images:,.1f}" for table, size in sizes)
    print(f"bytes an image: {sum(first.tables.values()) / first.images:,.1f} ({parts})")
    print(f"scratch: {max(run.scratch for run in runs) / first.images:,.1f} bytes an image")
    executors = [one for run in runs for one in run.largest]
    if executors:
        kills = sum(one["killed"] for one in executors)
        most = max(one["peak"] for one in executors) / 2**20
        print(
            f"limit {first.limit} MiB an executor: {most:,.0f} at the most, files that it had "
            f"cached included; {kills} processes killed, {len(executors)} executors",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=int, nargs="*", default=[], metavar="IMAGES",
                        help="multiples of ten")  # fmt: skip
    parser.add_argument("--width", type=int, default=64, help="numbers of a vector")
    parser.add_argument("--pictures", type=int, nargs="*", default=[], metavar="SCENES",
                        help="in each of 8 classes; 2.5 pictures each")  # fmt: skip
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--limit", type=int, default=1536, help="MiB of an executor; 0: none")
    parser.add_argument("--heap", type=int, default=640, help="MiB of an executor's JVM")
    parser.add_argument("--driver-memory", default="2g", help="of the driver's JVM")
    parser.add_argument("--set", action="append", default=[], help="of the pipeline: key=value")
    parser.add_argument("--folder", help="where everything is written meanwhile")
    parser.add_argument("--keep", type=Path, help="an existing folder for sets and warehouses")
    parser.add_argument("--jobs", nargs="+", default=["pipeline"], help="that, or stages in order")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    given = parser.parse_args()
    if given.keep and given.repeats > 1:
        parser.error("--keep goes on where the last run ended: --repeats must be 1")
    given.keep = given.keep and given.keep.resolve()
    runs = measure(given)
    if given.json:
        machine = {"cores": psutil.cpu_count(), "memory": psutil.virtual_memory().total,
                   "load": os.getloadavg()[0]}  # fmt: skip
        document = {"machine": machine, "runs": [asdict(run) for run in runs]}
        given.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    recorded(main)
