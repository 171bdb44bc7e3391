"""What finding the threshold of a share costs, beside pruning once and beside 20 prunings.

For every class: `keep_share`, one greedy cover at the threshold it finds, and the 20 covers that
its halvings stand for, one after the other. All on one core, by turns.

    .venv/bin/python -m benchmarks.shares WAREHOUSE [--share 0.5] [--classes 7]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.latents import classes
from benchmarks.results import recorded
from udfs.duplicates.thresholds import BisectionSearch, keep_share, kept_counts
from udfs.vectors.cosine import Matrix


def one_by_one(rows: Matrix, share: float) -> float:
    """As `keep_share`, a cover for each halving."""
    search = BisectionSearch.of(share, len(rows), 0.0)
    while search.left:
        search.narrow(kept_counts(rows, search.next_thresholds(1)))
    return search.high


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    clock = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - clock


def measure(given: argparse.Namespace) -> None:
    print("| class | images | T | stay | keep_share, s | one pruning, s | 20 prunings, s |")
    print("| --- " * 7 + "|")
    total = [0.0, 0.0, 0.0]
    for number, (label, _, rows) in enumerate(classes(given.warehouse)):
        if number >= given.classes:
            break
        found, share = timed(keep_share, rows, given.share)
        (kept,), once = timed(kept_counts, rows, [found])
        same, twenty = timed(one_by_one, rows, given.share)
        assert same == found
        for place, seconds in enumerate((share, once, twenty)):
            total[place] += seconds
        figures = f"{share:.2f} | {once:.2f} | {twenty:.2f}"
        print(f"| {label} | {len(rows):,} | {found:.6f} | {kept / len(rows):.1%} | {figures} |")
    share, once, twenty = total
    print(
        f"\nkeep_share takes {share / once:.1f} prunings, {twenty / share:.1f} times less than 20."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--classes", type=int, default=7, help="so many, the first by name")
    given = parser.parse_args()
    with threadpool_limits(1):
        measure(given)


if __name__ == "__main__":
    recorded(main)
