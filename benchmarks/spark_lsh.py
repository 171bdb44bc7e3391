"""Seconds and recall of Spark ML's own way to similar pairs, an LSH join, beside this engine's.

BucketedRandomProjectionLSH.approxSimilarityJoin on the same unit vectors: Sim > T is a Euclidean
distance below √(2 − 2T). Run it on a warehouse whose `latents` are there:

    .venv/bin/python -m benchmarks.spark_lsh WAREHOUSE [--settings 0.01:4 1:1]

So many latents, spread over the table, are taken as one class; a setting is bucketLength and
numHashTables. The join is timed without fitting, with the vectors cached in Spark, in interleaved
runs; so is one of a few vectors, which is what Spark takes for the join of nothing. The pairs are
compared with ours, which are exact. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from pyspark.ml.feature import BucketedRandomProjectionLSH
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from threadpoolctl import threadpool_limits

from benchmarks import session
from benchmarks.latents import Pairs, coded, spread_latents
from benchmarks.results import recorded
from udfs.duplicates.greedy import covers
from udfs.vectors.cosine import Matrix, squared_norms, unit_rows
from udfs.vectors.pairs import similar_pairs

FEW = 16  # vectors whose join is as good as none


@dataclass(frozen=True)
class Setting:
    """Random projections of `tables` directions, each cut into buckets of one length."""

    length: float
    tables: int

    @classmethod
    def parsed(cls, text: str) -> Setting:
        """Of `bucketLength:numHashTables`, as on the command line."""
        length, _, tables = text.partition(":")
        return cls(float(length), int(tables or 1))


# The documentation advises 1 to 10 times n^(−1/width), which is 1 here. The others suit how far
# unit vectors of a pair at T = 0.95 lie apart along a random direction at width 1024: 0.01.
SETTINGS = [Setting(0.002, 1), Setting(0.01, 1), Setting(0.01, 4), Setting(0.02, 4), Setting(1, 1)]


class Join:
    """The LSH join of a frame (i, v) of unit vectors with itself."""

    def __init__(self, frame: DataFrame, setting: Setting) -> None:
        self.frame, self.count = frame, frame.count()
        self.model = BucketedRandomProjectionLSH(
            inputCol="v",
            outputCol="hashes",
            bucketLength=setting.length,
            numHashTables=setting.tables,
            seed=0,
        ).fit(frame)

    def __call__(self, threshold: float) -> Pairs:
        """Codes of the pairs it finds."""
        distance = math.sqrt(2 - 2 * threshold)
        found = self.model.approxSimilarityJoin(self.frame, self.frame, distance, "distance")
        left, right = F.col("datasetA.i"), F.col("datasetB.i")
        table = found.where(left < right).select(left.alias("i"), right.alias("j")).toPandas()
        return coded(table["i"].to_numpy(np.int64), table["j"].to_numpy(np.int64), self.count)

    def compared(self) -> float:
        """The share of all pairs that meet in a bucket of some table: their distance is taken."""
        rows = self.model.transform(self.frame).select("hashes").collect()
        buckets = np.array([[table[0] for table in row.hashes] for row in rows])
        meet = np.zeros((len(rows), len(rows)), np.bool_)
        for table in buckets.T:
            meet |= table[:, None] == table[None, :]
        return float(np.triu(meet, 1).sum()) / (len(rows) * (len(rows) - 1) / 2)


@dataclass
class Method:
    """What is timed, and the seconds of its runs; `compared`: the share of pairs it looks at."""

    name: str
    call: Callable[[], Pairs | None]
    compared: float | None = None
    seconds: list[float] = field(default_factory=list)
    pairs: Pairs | None = None

    def run(self) -> None:
        """Once more."""
        clock = time.perf_counter()
        self.pairs = self.call()
        self.seconds.append(time.perf_counter() - clock)


def methods(rows: Matrix, frame: DataFrame, given: argparse.Namespace) -> list[Method]:
    """Pairs and choice of this engine, then the joins: of a few vectors, and at each setting."""

    def pairs() -> Pairs:
        return coded(*similar_pairs(rows, given.threshold, threads=given.threads), len(rows))

    def choice() -> None:
        covers(None, rows, [given.threshold])

    few = Join(frame.where(F.col("i") < FEW), given.settings[0])
    found = [
        Method("**this engine**, the pairs", pairs, 1.0),
        Method("**this engine**, who stays (needs no pairs)", choice),
        Method(f"LSH, {FEW} vectors alone", partial(few, given.threshold)),
    ]
    for setting in given.settings:
        join = Join(frame, setting)
        name = f"LSH, bucketLength {setting.length:g}, numHashTables {setting.tables}"
        found.append(Method(name, partial(join, given.threshold), join.compared()))
    return found


def report(found: list[Method], exact: Pairs) -> None:
    """One line for each method; recall and precision by the pairs of its last run."""
    base = statistics.median(found[0].seconds)
    print("| method | seconds | spread | times ours | compared | found | recall | precision |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for method in found:
        middle = statistics.median(method.seconds)
        spread = f"{min(method.seconds):.3f} … {max(method.seconds):.3f}"
        quality = ["–"] * 4
        if method.compared is not None and method.pairs is not None:
            right = len(np.intersect1d(method.pairs, exact, assume_unique=True))
            quality = [
                f"{method.compared:.1%}",
                f"{len(method.pairs):,}",
                f"{right / max(len(exact), 1):.1%}",
                f"{right / max(len(method.pairs), 1):.1%}",
            ]
        cells = [method.name, f"{middle:.3f}", spread, f"{middle / base:,.0f}", *quality]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--threshold", type=float, default=0.95)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", type=Setting.parsed, nargs="+", default=SETTINGS)
    given = parser.parse_args()
    rows = spread_latents(given.warehouse, given.images)
    frame = session.numbered(session.start(given.threads), unit_rows(rows, squared_norms(rows)))
    frame = frame.withColumn("v", array_to_vector(F.col("v"))).cache()
    with threadpool_limits(given.threads):
        found = methods(rows, frame, given)
        for method in found[:3]:  # the quick ones: Spark compiles its code, late imports are done
            method.call()
        for _, method in itertools.product(range(given.runs), found):
            method.run()
        exact = coded(*similar_pairs(rows, given.threshold), len(rows))
    total = len(rows) * (len(rows) - 1) // 2
    print(f"{len(rows):,} images, T = {given.threshold:g}: {len(exact):,} of {total:,} pairs\n")
    report(found, exact)


if __name__ == "__main__":
    recorded(main)
