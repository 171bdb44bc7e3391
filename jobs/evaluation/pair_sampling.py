"""The similarities within each class, on the executors, and the pairs that are drawn of them."""

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

HEAT = 200  # images of a heat map, at most
COMPARED = arrow_frames.struct(
    "label string, space string, n bigint, sampled bigint, origin double, step double, "
    "counts array<bigint>, heat_ids array<string>, heat binary, population array<bigint>, "
    "first array<string>, second array<string>, stratum array<bigint>, similarity array<double>"
)
DRAWN = arrow_frames.struct(
    "label string, image_id string, other_id string, stratum int, similarity double"
)


def members(
    marked: DataFrame, counts: Mapping[str, int], prune: Prune, slots: int | None = None
) -> DataFrame:
    """Of each group the sampled images and the first in order, as whole groups in tasks, by id.

    marked: what is compared, with its group and order. place: from 1 in `prune.order`, then by id;
    null behind the first HEAT.
    """
    ordered = Window.partitionBy("group").orderBy(*groups.by_order(prune), "image_id")
    ranked = marked.select(
        "group",
        "image_id",
        (thresholds.sample_rank(prune.seed) <= SAMPLED).alias("sampled"),
        F.row_number().over(ordered).alias("place"),
    )
    first = F.when(F.col("place") <= HEAT, F.col("place")).alias("place")
    chosen = ranked.select("group", "image_id", "sampled", first)
    chosen = chosen.where("sampled OR place IS NOT NULL")
    rows = marked.select("group", "image_id", "latent").join(chosen, on=["group", "image_id"])
    slots = slots or session.slots(marked.sparkSession)
    return partitioning.repartitioned_by_group(
        rows, dict(counts), slots, lambda n: float(min(n, SAMPLED)) ** 2, key="group"
    )


@dataclass(frozen=True)
class Comparing:
    """What is wanted of every group."""

    counts: Mapping[str, int]  # images of each
    space: str  # whose pairs are drawn
    edges: Sequence[float]  # of their strata
    most: int  # of a stratum
    seed: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `members` to rows of COMPARED."""
        for group, table in arrow.groups(batches, "group"):
            yield arrow.record_batch(self._of_group(group, table), schema)

    def _of_group(self, group: str, table: pa.Table) -> dict[str, list[Any]]:
        space, _, label = group.partition("/")
        latents = np.ascontiguousarray(arrow.matrix(table.column("latent")))
        ids = np.array(table.column("image_id").to_pylist(), dtype=object)
        sampled = np.asarray(table.column("sampled"))
        names = ids[sampled]
        edges = self.edges if space == self.space else []
        keys = pair_histogram.row_keys(names.tolist(), self.seed)
        result = pair_histogram.class_similarities(latents[sampled], edges, keys, self.most)
        place = np.asarray(table.column("place").fill_null(0))
        first = np.flatnonzero(place)[np.argsort(place[place > 0])]
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
class Plan:
    """How many pairs of each class and stratum are drawn, and what each stands for."""

    edges: Sequence[float]
    population: list[float]  # pairs of all classes in each stratum
    pairs: dict[str, list[int]]  # by label and stratum
    weight: dict[str, list[float]]

    @classmethod
    def of(cls, rows: Sequence[Row], edges: Sequence[float], total: int, seed: int) -> Plan:
        """Of about `total` pairs, as nearly equally many of each stratum as it has.

        rows: label, n, sampled and population of each class.
        """
        known = sorted(rows, key=lambda row: str(row.label).encode())
        scale = [strata.scale(row.n, row.sampled) for row in known]
        sampled = [[row.population[s] for row in known] for s in range(len(edges) - 1)]
        wanted = strata.allocated([sum(pairs) for pairs in sampled], total)
        draws = [
            strata.draw(pairs, scale, number, _start(seed, edge))
            for pairs, number, edge in zip(sampled, wanted, edges, strict=False)
        ]
        population = [
            float(sum(w * k for w, k in zip(scale, pairs, strict=True))) for pairs in sampled
        ]
        labels = [str(row.label) for row in known]
        return cls(
            edges,
            population,
            {label: [one.pairs[c] for one in draws] for c, label in enumerate(labels)},
            {label: [one.weight[c] for one in draws] for c, label in enumerate(labels)},
        )

    @property
    def labels(self) -> list[str]:
        """Classes of which pairs are drawn."""
        return [label for label, pairs in self.pairs.items() if any(pairs)]

    def drawn(self, stratum: int) -> int:
        """Pairs of a stratum that are drawn."""
        return sum(pairs[stratum] for pairs in self.pairs.values())

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of COMPARED to rows of DRAWN: of each stratum the first of the class's pairs."""
        for batch in batches:
            for row in batch.to_pylist():
                stratum = np.array(row["stratum"], np.int64)
                starts = np.searchsorted(stratum, stratum)  # they come by stratum
                wanted = np.array(self.pairs[row["label"]], np.int64)[stratum]
                some = np.flatnonzero(np.arange(len(stratum)) - starts < wanted).tolist()
                columns = {
                    "label": [row["label"]] * len(some),
                    "image_id": [row["first"][i] for i in some],
                    "other_id": [row["second"][i] for i in some],
                    "stratum": stratum[some],
                    "similarity": [row["similarity"][i] for i in some],
                }
                yield arrow.record_batch(columns, schema)

    def table(self, found: Sequence[Row], space: str) -> list[dict[str, Any]]:
        """Rows of the table `pairs`, by pair_id: in an order that says nothing of the pairs."""
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
            for row in found
        ]
        return sorted(rows, key=lambda row: str(row["pair_id"]))


def _start(seed: int, edge: float) -> Fraction:
    """Where the systematic draw of a stratum begins, in [0, 1): of the seed and its edge."""
    digest = hashlib.sha256(f"{seed}|start|{edge!r}".encode()).digest()
    return Fraction(int.from_bytes(digest[:8], "big"), 2**64)
