"""What three rules of removal do with the same pairs above T.

    ours               an image goes if an image before it that is *kept* resembles it
    any earlier        … if any image before it does, a dropped one too (SemDeDup, NeMo Curator)
    one per component  of each connected component of the pairs the first stays (fastdup)

The order is that of the ids for all three. For every removed image the kept image most similar to
it is then looked for among all of them, without the pairs: where their Sim is not above T, nothing
that stays stands for it. Run it on a warehouse whose `latents` are there:

    .venv/bin/python -m benchmarks.rules WAREHOUSE [--images 20000] [--thresholds 0.97 0.95 0.93]

First each class by itself, as the product does it; then so many images, spread over the table, as
one class. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from benchmarks.latents import Pairs, classes, spread_latents
from benchmarks.results import recorded
from udfs.duplicates.greedy import covers
from udfs.vectors.cosine import (
    Matrix,
    Vector,
    margin,
    products,
    similarities,
    squared_norms,
    unit_rows,
)
from udfs.vectors.pairs import similar_pairs

Flags = NDArray[np.bool_]

OURS, EARLIER, COMPONENT = "**ours**", "any earlier", "one per component"
BLOCK = 1024  # removed images compared at a time with those kept


@dataclass(frozen=True)
class Outcome:
    """What a rule did to a class: `alone` of the `removed` have no kept image above T.

    drop: the largest T − Sim of a removed image with its most similar kept one, at least 0.
    """

    label: str
    rule: str
    threshold: float
    images: int
    removed: int
    alone: int
    drop: float


def any_earlier(left: Pairs, right: Pairs, count: int) -> Flags:
    """The images j of `count` without a pair (i, j), i < j: (count,).

    left, right: (pairs,), the lower and the higher index of each pair.
    """
    kept = np.ones(count, np.bool_)
    kept[right] = False
    return kept


def one_per_component(left: Pairs, right: Pairs, count: int) -> Flags:
    """The first image of each connected component of the pairs (left, right): (count,)."""
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    kept = np.zeros(count, np.bool_)
    kept[np.unique(component, return_index=True)[1]] = True
    return kept


def nearest_kept(rows: Matrix, kept: Flags) -> Vector:
    """The exact Sim of each removed image with the kept one most similar to it: (removed,).

    rows: (n, width) float32; kept: (n,), of which one is no zero row. A float32 product is within
    its margin of Sim: those within twice that of a row's largest are computed exactly.
    """
    squared = squared_norms(rows)
    stay, go = np.flatnonzero(kept & (squared > 0)), np.flatnonzero(~kept)
    stand = unit_rows(rows[stay], squared[stay])
    best = np.empty(len(go))
    for first in range(0, len(go), BLOCK):
        part = go[first : first + BLOCK]
        product = products(unit_rows(rows[part], squared[part]), stand)
        least = product.max(axis=1, keepdims=True) - 2 * margin(rows.shape[1])
        row, column = np.nonzero(product >= least)
        i, j = part[row], stay[column]
        similarity = similarities(rows[i], rows[j], squared[i], squared[j])
        starts = np.searchsorted(row, np.arange(len(part)))
        best[first : first + BLOCK] = np.maximum.reduceat(similarity, starts)
    return best


def outcomes(label: str, rows: Matrix, thresholds: list[float], threads: int) -> Iterator[Outcome]:
    """Every rule at every T on the rows of one class, in their order."""
    for threshold, greedy in zip(thresholds, covers(None, rows, thresholds), strict=True):
        pairs = similar_pairs(rows, threshold, threads=threads)
        rules = {
            OURS: greedy.kept,
            EARLIER: any_earlier(*pairs, len(rows)),
            COMPONENT: one_per_component(*pairs, len(rows)),
        }
        for rule, kept in rules.items():
            nearest = nearest_kept(rows, kept)
            alone = int((nearest <= threshold).sum())
            drop = max(0.0, threshold - float(nearest.min(initial=1.0)))
            yield Outcome(label, rule, threshold, len(rows), len(nearest), alone, drop)


def report(found: list[Outcome]) -> None:
    """One line for each T and rule: sums over the classes, the largest drop of any."""
    print("| T | rule | images kept | share | removed | no kept image above T | largest drop |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threshold, rule in dict.fromkeys((one.threshold, one.rule) for one in found):
        chosen = [one for one in found if (one.threshold, one.rule) == (threshold, rule)]
        images, removed = sum(one.images for one in chosen), sum(one.removed for one in chosen)
        alone, worst = sum(one.alone for one in chosen), max(chosen, key=lambda one: one.drop)
        share = f"{alone:,} ({alone / max(removed, 1):.1%} of the removed)"
        drop = f"{worst.drop:.4f}" + (f" ({worst.label})" if worst.drop and worst.label else "")
        kept = f"{images - removed:,} | {(images - removed) / images:.1%}"
        print(f"| {threshold:g} | {rule} | {kept} | {removed:,} | {share} | {drop} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("--images", type=int, default=20_000, help="as one class")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.97, 0.95, 0.93])
    given = parser.parse_args()
    with threadpool_limits(given.threads):
        each = {
            label: list(outcomes(label, latents, given.thresholds, given.threads))
            for label, _, latents in classes(given.warehouse)
        }
        print(f"## Each of {len(each)} classes by itself\n")
        report([one for found in each.values() for one in found])
        rows = spread_latents(given.warehouse, given.images)
        print(f"\n## {len(rows):,} images as one class\n")
        report(list(outcomes("", rows, given.thresholds, given.threads)))


if __name__ == "__main__":
    recorded(main)
