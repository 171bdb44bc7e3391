"""Seconds to find all pairs above T: this engine beside what people use, on the same vectors.

    .venv/bin/pip install -c constraints.txt -r benchmarks/requirements.txt
    .venv/bin/python -m benchmarks.similarity WAREHOUSE [--thresholds 0.95]

WAREHOUSE: one whose `latents` are there; so many of them, spread over the table, are taken as one
class. Raw latents at T = 0.93, 0.95, 0.97; then their whitened vectors, at the T of as many pairs.
Every method has the same unit vectors, two threads and its index built within its time; putting its
pairs in order is not. The sets of pairs are compared with ours, which are exact. Prints Markdown
tables.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from benchmarks import session
from benchmarks.latents import Pairs, coded, spread_latents
from benchmarks.results import recorded
from udfs.vectors.axes import FEWEST, SAMPLE, leading_axes, spread
from udfs.vectors.cosine import Matrix, decision_bounds, products, squared_norms, unit_rows
from udfs.vectors.kernels import vnni
from udfs.vectors.pairs import similar_pairs
from udfs.vectors.screen import Screen
from udfs.vectors.whitening import Moments, Whitening

THRESHOLDS = (0.93, 0.95, 0.97)
LEVELS = (16, 32, 64)  # of Panorama: fewer and more were slower at every T tried
WHITE_LEVELS = (8,)
WHITE_AXES = 128
QUERIES = 4096  # rows a call of a library's range search is asked for: its result stays in memory
SPARK_ROWS = 3000  # of Spark's own join, whose time grows with the square


Found = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows of each pair


@dataclass
class Method:
    """How to find pairs of the unit vectors above T, in whatever order, both ways or one."""

    name: str
    find: Callable[[float], Found]
    rows: int | None = None  # of which it had so many only; its seconds are extrapolated by n²


def range_search(index: faiss.Index, queries: Matrix, threshold: float) -> Found:
    """The pairs a FAISS index finds, asked for a few thousand rows at a time."""
    lefts, rights = [], []
    for first in range(0, len(queries), QUERIES):
        limits, _, right = index.range_search(queries[first : first + QUERIES], threshold)
        hits = (limits[1:] - limits[:-1]).astype(np.int64)
        lefts.append(np.repeat(np.arange(first, first + len(hits)), hits))
        rights.append(right)
    return np.concatenate(lefts), np.concatenate(rights)


def flat(units: Matrix, threshold: float) -> Found:
    index = faiss.IndexFlatIP(units.shape[1])
    index.add(units)
    return range_search(index, units, threshold)


def panorama(units: Matrix, levels: int, threshold: float) -> Found:
    """Rotated to principal axes first, as its authors do; the rotation is inside its time."""
    index = faiss.IndexFlatIPPanorama(units.shape[1], levels)
    axes = leading_axes(spread(units, 4 * SAMPLE), units.shape[1])
    rotated = np.ascontiguousarray(products(units, axes))
    index.add(rotated)
    return range_search(index, rotated, threshold)


def neighbours(units: Matrix, threshold: float) -> Found:
    """scikit-learn, by Euclidean distance: 2 − 2 Sim = distance² for unit vectors."""
    radius = float(np.sqrt(2 - 2 * threshold))
    search = NearestNeighbors(radius=radius, algorithm="brute", n_jobs=1).fit(units)
    lefts, rights = [], []
    for first in range(0, len(units), QUERIES):
        hits = search.radius_neighbors(units[first : first + QUERIES], return_distance=False)
        lefts.append(np.repeat(np.arange(len(hits)), [len(hit) for hit in hits]) + first)
        rights.append(np.concatenate(hits))
    return np.concatenate(lefts), np.concatenate(rights)


class SparkJoin:
    """Spark SQL's own vector_cosine_similarity in a self-join."""

    def __init__(self, units: Matrix, threads: int) -> None:
        self.count = len(units)
        self.frame = session.numbered(session.start(threads), units)

    def __call__(self, threshold: float) -> Found:
        """The pairs."""
        left, right = self.frame.alias("a"), self.frame.alias("b")
        joined = left.join(right, F.expr("a.i < b.i"))
        above = joined.where(F.expr(f"vector_cosine_similarity(a.v, b.v) > {threshold}"))
        table = above.select(F.expr("a.i").alias("i"), F.expr("b.i").alias("j")).toPandas()
        return table["i"].to_numpy(), table["j"].to_numpy()


def methods(rows: Matrix, threads: int, spark_rows: int, levels: tuple[int, ...]) -> list[Method]:
    squared = squared_norms(rows)
    units = unit_rows(rows, squared)

    def ours(bounded: bool) -> Callable[[float], Found]:
        return lambda threshold: similar_pairs(rows, threshold, threads=threads, bounded=bounded)

    found = [
        Method("**this engine**", ours(True)),
        Method("blocked float32 BLAS, upper triangle", ours(False)),
        Method("FAISS IndexFlatIP", partial(flat, units)),
    ]
    for level in levels:
        name = f"FAISS IndexFlatIPPanorama, {level} levels"
        found.append(Method(name, partial(panorama, units, level)))
    found.append(Method("scikit-learn radius_neighbors", partial(neighbours, units)))
    if spark_rows:
        few = spread(units, spark_rows)
        found.append(Method("Spark SQL self-join", SparkJoin(few, threads), rows=len(few)))
    return found


def measure(rows: Matrix, threshold: float, found: list[Method], runs: int) -> None:
    """Interleaved runs of every method at one T; the slow ones once."""
    count = len(rows)
    seconds: dict[str, list[float]] = {method.name: [] for method in found}
    pairs: dict[str, Pairs] = {}
    for turn, method in itertools.product(range(runs), found):
        past = seconds[method.name]
        if turn and (sum(past) > 40 or method.rows):
            continue
        clock = time.perf_counter()
        i, j = method.find(threshold)
        past.append(time.perf_counter() - clock)
        pairs[method.name] = coded(i, j, method.rows or count)
    ours = pairs[found[0].name]
    base = statistics.median(seconds[found[0].name])
    print(f"\nT = {threshold:.4f}: {len(ours):,} of {count * (count - 1) // 2:,} pairs\n")
    print("| method | seconds | spread | times ours | missed | too many |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method in found:
        past, theirs = seconds[method.name], pairs[method.name]
        scale = (count / method.rows) ** 2 if method.rows else 1.0
        middle = statistics.median(past) * scale
        extent = f"{min(past) * scale:.2f} … {max(past) * scale:.2f}"
        missed = f"{len(np.setdiff1d(ours, theirs, assume_unique=True)):,}"
        more = f"{len(np.setdiff1d(theirs, ours, assume_unique=True)):,}"
        if method.rows:
            missed = more = f"(n = {method.rows:,}, extrapolated)"
        print(
            f"| {method.name} | {middle:.2f} | {extent} | {middle / base:.1f} | {missed} | {more} |"
        )
    roofline(rows, threshold, base)
    sys.stdout.flush()


def roofline(rows: Matrix, threshold: float, seconds: float) -> None:
    """How far the engine is from the first product alone, its depth chosen as it chooses it."""
    squared = squared_norms(rows)
    trial = spread(np.arange(len(rows)), SAMPLE)
    screen = Screen.fitted(unit_rows(rows[trial], squared[trial]), [threshold])
    slices = [slice(first, first + 1024) for first in range(0, len(rows), 1024)]
    parts = [screen.prepare(rows[part], squared[part]) for part in slices]
    memory = np.empty(1024 * 1024, np.float32)
    clock = time.perf_counter()
    with threadpool_limits(1, user_api="blas"):
        for number, left in enumerate(parts):
            for right in parts[number:]:
                out = memory[: len(left) * len(right)].reshape(len(left), len(right))
                if screen.byte_bound:
                    vnni.pairs_above(
                        left.left_codes,
                        right.right_codes,
                        screen.byte_bound.word_steps,
                        screen.low_bytes,
                        (left.unbounded, right.unbounded),
                    )
                elif screen.lead:
                    products(left.lead, right.lead, out)
                else:
                    products(left.rows, right.rows, out)
    alone = (time.perf_counter() - clock) / 2  # two threads
    depth = f"{screen.lead + 1}" if screen.lead else f"{rows.shape[1]}"
    if screen.byte_bound:
        depth = f"{4 * screen.byte_bound.steps} bytes, of {screen.lead} axes, with what passes"
    print(
        f"\nFirst product: depth {depth}; by itself {alone:.2f} s on two cores, "
        f"{alone / seconds:.0%} of the engine's time."
    )


def equal_thresholds(raw: Matrix, white: Matrix, thresholds: list[float]) -> list[float]:
    """The whitened T above which a sample has as many pairs as the raw one above its T."""
    some = np.random.default_rng(0).choice(len(raw), min(8192, len(raw)), replace=False)
    upper = np.triu_indices(len(some), 1)

    def cosines(rows: Matrix) -> Matrix:
        units = unit_rows(rows[some], squared_norms(rows[some]))
        return products(units, units)[upper]

    of_raw, of_white = cosines(raw), cosines(white)
    counts = [int((of_raw > decision_bounds(t, raw.shape[1])[0]).sum()) for t in thresholds]
    of_white = -np.partition(-of_white, max(counts))[: max(counts) + 1]
    of_white.sort()
    return [float(of_white[::-1][count]) for count in counts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spark-rows", type=int, default=SPARK_ROWS, help="0: leave Spark out")
    parser.add_argument("--thresholds", type=float, nargs="+", default=list(THRESHOLDS))
    given = parser.parse_args()
    faiss.omp_set_num_threads(given.threads)
    rows = spread_latents(given.warehouse, given.images)
    similar_pairs(rows[:FEWEST], given.thresholds[0])  # compiles what is to be compiled
    with threadpool_limits(given.threads):
        print(f"## Raw latents: {rows.shape[0]:,} of width {rows.shape[1]}")
        found = methods(rows, given.threads, given.spark_rows, LEVELS)
        for threshold in given.thresholds:
            measure(rows, threshold, found, given.runs)
        white = Whitening.fitted(Moments.of(rows), WHITE_AXES)(rows)
        print(f"\n## Whitened: {white.shape[0]:,} of width {white.shape[1]}")
        found = methods(white, given.threads, 0, WHITE_LEVELS)
        for threshold in equal_thresholds(rows, white, given.thresholds):
            measure(white, threshold, found, given.runs)


if __name__ == "__main__":
    recorded(main)
