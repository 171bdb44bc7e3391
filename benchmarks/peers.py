"""How long the whole pipeline takes beside what people use today, on the same pictures.

    .venv/bin/python -m benchmarks.peers DATA --model shipped --fastdup PYTHON [--images 10000]
        [--before CHECKOUT] [--runs 3] [--set KEY=VALUE]

DATA: the folder with ucmerced/. So many squares of 128 px are cut out of its photographs and
written as files, by class. Then each run gives them to this project's `pipeline`, with an encoder
that is given, and to fastdup, in turn, each from its start to its end in a process of its own and
into an empty folder. PYTHON has fastdup 2, in an environment of its own, since its requirements
clash with those of this project. CHECKOUT: an older version of this project, set up, that has a
turn as well. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import truth
from benchmarks.pipeline import stage_seconds
from benchmarks.results import ROOT, recorded

SIDE, STRIDE = 128, 64  # px, of the squares; 9 of a photograph of 256 px
OURS, BEFORE, FASTDUP = "this project's pipeline", "the same before", "fastdup"


def squares(data: Path) -> Iterator[tuple[str, bytes]]:
    """Names and JPEGs of squares, a place of all photographs after the other."""
    photographs = [
        *truth.photographs(data, truth.TILES, truth.CHOOSE),
        *truth.photographs(data, truth.TILES, truth.FIGURES),
    ]
    for top, left in itertools.product(range(0, SIDE + 1, STRIDE), repeat=2):
        for name, path in photographs:
            image = truth.open_image(path)
            if min(image.size) < 2 * SIDE:
                continue
            file = io.BytesIO()
            image.crop((left, top, left + SIDE, top + SIDE)).save(file, "JPEG", quality=95)
            yield f"{name.removesuffix('.jpg')}_{left}_{top}.jpg", file.getvalue()


def written(data: Path, folder: Path, count: int) -> int:
    """Write so many squares below a folder; return how many there were."""
    number = 0
    for name, content in itertools.islice(squares(data), count):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        number += 1
    return number


def timed(command: list[str], root: Path = ROOT) -> tuple[float, float]:
    """Seconds by the clock and of the processors that a command takes, all below it among them.

    The system adds up only what a parent waited for, which is not so of workers that end with their
    job, and a look at all processes five times a second misses short ones: the seconds of the
    processors are at least the larger of both. Exits with the output where it fails.
    """
    busy: dict[psutil.Process, float] = {}
    waited = psutil.Process().cpu_times()
    with tempfile.TemporaryFile() as output:
        clock = time.perf_counter()
        process = psutil.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                for each in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        times = each.cpu_times()
                        busy[each] = times.user + times.system
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0.2)
        seconds = time.perf_counter() - clock
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise SystemExit(f"{said}\n{' '.join(command)}: {process.returncode}")
    after = psutil.Process().cpu_times()
    of_children = after.children_user + after.children_system
    return seconds, max(
        sum(busy.values()), of_children - waited.children_user - waited.children_system
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True, help="as train.model")
    parser.add_argument("--fastdup", required=True, help="the python that has it")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--before", type=Path, help="an older checkout of this project")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    stages: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    versions = {OURS: ROOT} | ({BEFORE: given.before.resolve()} if given.before else {})
    with tempfile.TemporaryDirectory(prefix="latent-dedup-") as work:
        images = Path(work, "images")
        count = written(given.data, images, given.images)
        turns = itertools.product(range(given.runs), versions.items())
        for turn, (run, (name, root)) in enumerate(turns):
            warehouse = f"{work}/warehouse{turn}"
            ours = [str(root / "spark-submit.sh"), "pipeline", "--images", str(images)]
            ours += ["--warehouse", warehouse, "--quiet"]
            for pair in (f"train.model={given.model}", *given.set):
                ours += ["--set", pair]
            found[name].append(timed(ours, root))
            for stage, seconds in stage_seconds(warehouse).items():
                stages[stage][name].append(seconds)
            if root == ROOT:
                rival = [given.fastdup, str(ROOT / "benchmarks/fastdup_whole.py")]
                found[FASTDUP].append(timed([*rival, str(images), f"{work}/fastdup{run}"]))
    print(f"{count:,} pictures of {SIDE}×{SIDE} px\n")
    floor = statistics.median(seconds for seconds, _ in found[FASTDUP])
    print(
        "| | seconds (median) | runs | processor seconds, at least (median) | of fastdup's time |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        middle = statistics.median(seconds for seconds, _ in runs)
        each = ", ".join(f"{seconds:.1f}" for seconds, _ in runs)
        busy = statistics.median(busy for _, busy in runs)
        print(f"| {name} | {middle:.1f} | {each} | {busy:.1f} | {middle / floor:.2f} |")
    print(f"\n| stage, seconds (median) | {' | '.join(versions)} |")
    print("| --- |" + " --- |" * len(versions))
    for stage, times in stages.items():
        medians = (f"{statistics.median(times[name]):.1f}" for name in versions)
        print(f"| {stage} | {' | '.join(medians)} |")


if __name__ == "__main__":
    recorded(main)
