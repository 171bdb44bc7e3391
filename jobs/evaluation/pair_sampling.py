"""Computes the similarities within each class on the executors, and draws pairs to be labelled.

The stage `similarities` first maps `ClassComparison` over whole classes, then draws the pairs by
a `SamplingPlan` (docs/method.md, "How alike a class is").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from jobs.duplicates import groups, threshold_tasks, thresholds
from jobs.runtime import session
from jobs.settings.duplicates import Prune
from jobs.warehouse import arrow_frames, partitioning
from udfs import arrow
from udfs.duplicates.thresholds import SAMPLED
from udfs.evaluation import pair_histogram, strata

HEAT_IMAGES = 200  # images of a heat map, at most
# A row for each class and space: histogram, heat map, and candidates for the pairs to be labelled.
SIMILARITIES_AND_PAIRS = arrow_frames.struct(
    "label string, space string, n bigint, sampled bigint, origin double, step double, "
    "counts array<bigint>, heat_ids array<string>, heat binary, population array<bigint>, "
    "first array<string>, second array<string>, stratum array<bigint>, similarity array<double>"
)
DRAWN_PAIRS = arrow_frames.struct(
    "label string, image_id string, other_id string, stratum int, similarity double"
)


def sampled_images(
    candidates: DataFrame, counts: Mapping[str, int], prune: Prune, slots: int | None = None
) -> DataFrame:
    """Return the images of each class that are compared, whole classes in a task, sorted by id.

    They are the sampled ones, for the histogram and the pairs, and the first HEAT_IMAGES in order,
    for the heat map. Column `rank`: the position by `prune.order`, then by id, from 1; null after
    the first HEAT_IMAGES.

    Args:
        candidates: image_id, latent, group (space and class) and the columns of `prune.order`.
        counts: images of each group.
        prune: its seed decides which images are sampled, its order which are first.
        slots: tasks that run at once; None: those of the Spark session.

    """
    ordered = Window.partitionBy("group").orderBy(*groups.by_order(prune), "image_id")
    ranked = candidates.select(
        "group",
        "image_id",
        (thresholds.sample_rank(prune.seed) <= SAMPLED).alias("sampled"),
        F.row_number().over(ordered).alias("rank"),
    )
    first = F.when(F.col("rank") <= HEAT_IMAGES, F.col("rank")).alias("rank")
    chosen = ranked.select("group", "image_id", "sampled", first)
    chosen = chosen.where("sampled OR rank IS NOT NULL")
    rows = candidates.select("group", "image_id", "latent").join(chosen, on=["group", "image_id"])
    slots = slots or session.slots(candidates.sparkSession)
    return partitioning.repartitioned_by_group(
        rows, dict(counts), slots, lambda n: float(min(n, SAMPLED)) ** 2, key="group"
    )


@dataclass(frozen=True)
class ClassComparison:
    """The comparison of the images within each group (space and class), for executors.

    counts: images of each group. space: the one whose pairs may be labelled.
    edges: those of the strata of similarity. most: pairs that each stratum of a class offers.
    seed: of the hash that orders the pairs.
    """

    counts: Mapping[str, int]
    space: str
    edges: Sequence[float]
    most: int
    seed: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows of `sampled_images` into rows of SIMILARITIES_AND_PAIRS."""
        for group, table in arrow.groups(batches, "group"):
            yield arrow.record_batch(self._group_row(group, table), schema)

    def _group_row(self, group: str, table: pa.Table) -> dict[str, list[Any]]:
        """Compare the images of one group; return its row as columns of one value each."""
        space, _, label = group.partition("/")
        latents = np.ascontiguousarray(arrow.matrix(table.column("latent")))
        ids = np.array(table.column("image_id").to_pylist(), dtype=object)
        sampled = np.asarray(table.column("sampled"))
        names = ids[sampled]
        edges = self.edges if space == self.space else []
        keys = pair_histogram.row_keys(names.tolist(), self.seed)
        result = pair_histogram.class_similarities(latents[sampled], edges, keys, self.most)
        rank = np.asarray(table.column("rank").fill_null(0))
        first = np.flatnonzero(rank)[np.argsort(rank[rank > 0])]
        heat = pair_histogram.heat_map(latents[first], threshold_tasks.LOWEST[space])
        return {
            "label": [label],
            "space": [space],
            "n": [self.counts[group]],
            "sampled": [len(names)],
            "origin": [result.bins.origin],
            "step": [pair_histogram.STEP],
            "counts": [result.bins.counts],
            "heat_ids": [ids[first].tolist()],
            "heat": [heat.tobytes()],
            "population": [result.population],
            "first": [names[result.drawn.i].tolist()],
            "second": [names[result.drawn.j].tolist()],
            "stratum": [result.drawn.stratum],
            "similarity": [result.drawn.similarity],
        }


@dataclass(frozen=True)
class SamplingPlan:
    """How many pairs of each class and stratum are drawn, and how many pairs each represents.

    edges: those of the strata, rising. population: pairs of all classes in each stratum.
    pairs, weight: drawn pairs and the weight of each, by label, then by stratum.
    """

    edges: Sequence[float]
    population: list[float]
    pairs: dict[str, list[int]]
    weight: dict[str, list[float]]

    @classmethod
    def of(cls, rows: Sequence[Row], edges: Sequence[float], total: int, seed: int) -> SamplingPlan:
        """Distribute `total` pairs over the strata as equally as their pairs allow.

        Args:
            rows: label, n, sampled and population (pairs of each stratum) of each class.
            edges: those of the strata, rising.
            total: pairs to draw, about.
            seed: where the systematic draw of each stratum starts.

        """
        classes = sorted(rows, key=lambda row: str(row.label).encode())
        scale = [strata.scale(row.n, row.sampled) for row in classes]
        sampled = [[row.population[s] for row in classes] for s in range(len(edges) - 1)]
        numbers = strata.allocated([sum(pairs) for pairs in sampled], total)
        draws = [
            strata.draw(pairs, scale, number, _start(seed, edge))
            for pairs, number, edge in zip(sampled, numbers, edges, strict=False)
        ]
        population = [
            float(sum(w * k for w, k in zip(scale, pairs, strict=True))) for pairs in sampled
        ]
        labels = [str(row.label) for row in classes]
        return cls(
            edges,
            population,
            {label: [draw.pairs[c] for draw in draws] for c, label in enumerate(labels)},
            {label: [draw.weight[c] for draw in draws] for c, label in enumerate(labels)},
        )

    @property
    def labels(self) -> list[str]:
        """The classes of which pairs are drawn."""
        return [label for label, pairs in self.pairs.items() if any(pairs)]

    def drawn(self, stratum: int) -> int:
        """Return how many pairs of a stratum are drawn."""
        return sum(pairs[stratum] for pairs in self.pairs.values())

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows of SIMILARITIES_AND_PAIRS into rows of DRAWN_PAIRS.

        Of each stratum the first pairs of the class are taken, as many as the plan says.
        """
        for batch in batches:
            for row in batch.to_pylist():
                stratum = np.array(row["stratum"], np.int64)
                starts = np.searchsorted(stratum, stratum)  # the pairs are sorted by stratum
                number = np.array(self.pairs[row["label"]], np.int64)[stratum]
                drawn = np.flatnonzero(np.arange(len(stratum)) - starts < number).tolist()
                columns = {
                    "label": [row["label"]] * len(drawn),
                    "image_id": [row["first"][i] for i in drawn],
                    "other_id": [row["second"][i] for i in drawn],
                    "stratum": stratum[drawn],
                    "similarity": [row["similarity"][i] for i in drawn],
                }
                yield arrow.record_batch(columns, schema)

    def table(self, drawn: Sequence[Row], space: str) -> list[dict[str, Any]]:
        """Return the rows of the table `pairs`, in an order that does not reveal the similarity.

        drawn: rows of DRAWN_PAIRS. They are sorted by pair_id, which is a hash.
        """
        rows = [
            {
                "pair_id": pair_histogram.pair_id(space, row.image_id, row.other_id),
                "label": row.label,
                "space": space,
                "image_id": row.image_id,
                "other_id": row.other_id,
                "similarity": row.similarity,
                "low": self.edges[row.stratum],
                "high": self.edges[row.stratum + 1],
                "population": self.population[row.stratum],
                "drawn": self.drawn(row.stratum),
                "weight": self.weight[row.label][row.stratum],
            }
            for row in drawn
        ]
        return sorted(rows, key=lambda row: str(row["pair_id"]))


def _start(seed: int, edge: float) -> Fraction:
    """Return where the systematic draw of a stratum starts: a hash of seed and edge in [0, 1)."""
    digest = hashlib.sha256(f"{seed}|start|{edge!r}".encode()).digest()
    return Fraction(int.from_bytes(digest[:8], "big"), 2**64)
