"""What sets of 10⁵ to 10⁹ images take, by the figures of benchmarks.scale.

    .venv/bin/python -m benchmarks.scale_table FIGURES.json [MORE.json ...] [--kind pictures]

For each stage processor time = fixed + part · images is fitted to the runs, for the driver and for
the executors; no part is negative. A larger set then takes: the driver's seconds, which are not
divided by the cores, plus the executors' divided by them. Bytes an image are those of the largest
run. Two things that the line does not know are added: the comparisons within classes, by the last
term of benchmarks.growth (seconds on two cores for images · kept of a class; latents of 1,024
numbers), and, for sets of vectors, the width. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.results import recorded
from benchmarks.usage import DRIVER_JVM, DRIVER_PYTHON, EXECUTOR_JVM, EXECUTOR_PYTHON

DRIVER, EXECUTORS = "driver", "executors"
SIDES = {DRIVER: (DRIVER_JVM, DRIVER_PYTHON), EXECUTORS: (EXECUTOR_JVM, EXECUTOR_PYTHON)}
CORES = {10**5: 2, 10**6: 4, 10**7: 16, 10**8: 128, 10**9: 1024}
# Of benchmarks.growth (docs/cost.md, "Classes of any size"), in seconds of two cores: a part
# that is fixed, one for each image, one for each image times kept image.
GROWTH = (22.7, 0.148e-3, 0.509e-9)
GROWTH_CORES = 2


@dataclass(frozen=True)
class Line:
    """Seconds = fixed + each · images; deviation: the largest, as a share of the measured."""

    fixed: float
    each: float
    deviation: float

    def seconds(self, images: int) -> float:
        """The seconds for so many images."""
        return self.fixed + self.each * images


def line(images: Sequence[int], seconds: Sequence[float]) -> Line:
    """The line through measurements whose relative deviations are least; no part is negative.

    >>> line([10, 20], [7.0, 12.0])
    Line(fixed=2.0, each=0.5, deviation=0.0)
    """
    counts, took = np.array(images, np.float64), np.maximum(np.array(seconds, np.float64), 1e-9)
    terms = np.stack([np.ones(len(counts)), counts], axis=1)
    found, _ = nnls(terms / took[:, None], np.ones(len(took)))
    deviation = np.abs(terms @ found / took - 1).max()
    fixed, each = (float(f"{part:.12g}") for part in found)
    return Line(fixed, each, round(float(deviation), 6))


def lines(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Line]]:
    """The lines of each stage, of the driver and of the executors."""
    found: dict[str, dict[str, Line]] = {}
    for stage in runs[0]["stages"]:
        images = [run["images"] for run in runs]
        found[stage] = {
            side: line(images, [seconds(run["stages"][stage], side) for run in runs])
            for side in SIDES
        }
    return found


def seconds(figures: dict[str, Any], side: str) -> float:
    """Processor time of the driver or of all executors."""
    return float(sum(figures["processor"].get(role, 0.0) for role in SIDES[side]))


def class_core_seconds(images: int, kept: float) -> float:
    """Processor time to prune one class in rounds, by the line of benchmarks.growth.

    kept: the share that stays.
    """
    fixed, each, pair = GROWTH
    return GROWTH_CORES * (fixed + each * images + pair * images * images * kept)


def comparison_core_seconds(images: int, size: int, kept: float) -> float:
    """Processor time of the comparisons alone, in classes of one size."""
    return GROWTH_CORES * GROWTH[2] * images * min(size, images) * kept


def hours(
    total: dict[str, Line], images: int, cores: int, comparisons: float
) -> tuple[float, float]:
    """The hours that a set takes, and of them those of the driver, which no core shortens."""
    driver = total[DRIVER].seconds(images)
    executors = total[EXECUTORS].seconds(images) + comparisons
    return (driver + executors / cores) / 3600, driver / 3600


def print_lines(found: dict[str, dict[str, Line]]) -> None:
    sides = [f"{side}: {part}" for side in SIDES for part in
             ("fixed, s", "µs an image", "deviation")]  # fmt: skip
    print("| stage | " + " | ".join(sides) + " |\n" + "| --- " * 7 + "|")
    for stage, of in found.items():
        cells = [
            cell
            for side in SIDES
            for cell in (
                f"{of[side].fixed:.1f}",
                f"{1e6 * of[side].each:,.1f}",
                f"{of[side].deviation:.0%}",
            )
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |")


def print_measured(runs: Sequence[dict[str, Any]]) -> None:
    """One line for each size and number of executors: the median run by its wall time."""
    print("\n| measured: images | executors | limit of each, GiB | disk, GB | hours |")
    print("| --- " * 5 + "|")
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["images"], run["executors"]].append(run)
    for (images, executors), several in sorted(groups.items()):
        several.sort(key=lambda run: run["stages"]["all"]["seconds"])
        middle = several[len(several) // 2]
        disk = (sum(middle["tables"].values()) + middle["scratch"]) / 1e9
        print(f"| {images:,} | {executors} | {middle['limit'] / 1024:.1f} | {disk:.2f} | "
              f"{middle['stages']['all']['seconds'] / 3600:.3f} |")  # fmt: skip


def print_extrapolated(runs: Sequence[dict[str, Any]], given: argparse.Namespace) -> None:
    largest = max(runs, key=lambda run: int(run["images"]))
    stored = sum(largest["tables"].values()) / largest["images"]
    scratch = largest["scratch"] / largest["images"]
    total = lines(runs)["all"]
    print(f"\nbytes an image: {stored:,.0f} in tables, {scratch:,.0f} of scratch\n")
    print(
        "| extrapolated: images | cores | executors' memory, GiB | tables, GB | scratch, GB "
        "| core-hours | of them comparisons | driver, hours | hours |\n" + "| --- " * 9 + "|"
    )
    for images, cores in CORES.items():
        extra = comparison_core_seconds(images, given.class_size, given.kept)
        all_hours, driver = hours(total, images, cores, extra)
        core_hours = (total[EXECUTORS].seconds(images) + extra) / 3600
        print(f"| {images:,} | {cores:,} | {cores * largest['limit'] / 1024:,.0f} | "
              f"{images * stored / 1e9:,.1f} | {images * scratch / 1e9:,.1f} | {core_hours:,.1f} | "
              f"{extra / 3600:,.1f} | {driver:,.2f} | {all_hours:,.1f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, nargs="+")
    parser.add_argument("--kind", default="vectors", choices=("vectors", "pictures"))
    parser.add_argument("--class-size", type=int, default=50_000, help="images of a class")
    parser.add_argument("--kept", type=float, default=0.6, help="the share of images that stays")
    parser.add_argument("--large", type=int, default=20_000_000, help="one class of so many")
    given = parser.parse_args()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in given.figures]
    runs = [run for document in documents for run in document["runs"] if run["kind"] == given.kind]
    print_lines(lines(runs))
    print_measured(runs)
    print_extrapolated(runs, given)
    core_hours = class_core_seconds(given.large, given.kept) / 3600
    print(
        f"\nOne class of {given.large:,} images, of which {given.kept:.0%} stay: "
        f"{core_hours:,.0f} core-hours by the line of benchmarks.growth."
    )


if __name__ == "__main__":
    recorded(main)
