"""Measures whole classes on the executors, for the stage `estimate`.

Random removals are the control of what removal did: the null distribution that the effect of a rule
is compared with. The divergence tells how far the first two axes depend on each other, which the
separable model leaves out. Both need the projections of all images of a class at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from jobs.runtime import session
from jobs.warehouse import arrow_frames, partitioning
from udfs import arrow
from udfs.density import histogram, tensor
from udfs.evaluation import random_removal

MEASURES = arrow_frames.struct(
    "label string, rule string, space string, component int, divergence double, "
    "bands array<double>, kurtosis array<double>"
)  # of a random removal, or with a divergence and no rule
BANDS = ("kurtosis", "entropy", "scale_free")  # `bands` holds the low and high end of each

Key = tuple[str, str, str, int]  # label, rule, space, component


@dataclass(frozen=True)
class Removal:
    """How many images of a class a rule removes in a space."""

    rule: str
    space: str
    count: int


@dataclass(frozen=True)
class Control:
    """What random removals of the same number of images do to a component of a class.

    bands: the 2.5 and 97.5 % quantiles of kurtosis, entropy (nats) and scale-free entropy, in this
    order. kurtosis: the excess kurtosis after each draw, (draws,).
    """

    bands: tuple[float | None, ...]
    kurtosis: NDArray[np.float64]


@dataclass(frozen=True)
class ClassMeasures:
    """The controls of every class, and the divergence of its first two axes in nats."""

    controls: dict[Key, Control]
    divergences: dict[str, float]


@dataclass(frozen=True)
class RandomRemovals:
    """The random removals to draw of every class, for executors.

    removals: what each rule removes, by label. steps: the width of a histogram's cells by label and
    component; a class without any is not measured. draws: random removals of each number of images.
    """

    removals: Mapping[str, Sequence[Removal]]
    steps: Mapping[str, Sequence[float]]
    draws: int
    seed: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn projections, sorted by class and id, into rows of MEASURES."""
        for label, rows in arrow.groups(batches, "label"):
            steps = self.steps[label]
            values = arrow.matrix(rows.column("components"), nulls=True)[:, : len(steps)]
            if len(steps) > 1:
                yield _divergence_batch(label, values[:, :2], steps[:2], schema)
            if self.draws and self.removals.get(label):
                ids = rows.column("image_id").to_pylist()
                yield self._control_batch(label, ids, values, schema)

    def _control_batch(
        self, label: str, ids: Sequence[str], values: NDArray[np.float64], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return a row for each removal and component of a class."""
        removals, steps = self.removals[label], self.steps[label]
        # Rules that remove the same number of images share their draws.
        counts = sorted({removal.count for removal in removals})
        draws = random_removal.null_distribution(ids, values, steps, counts, self.draws, self.seed)
        keys = [(removal, k) for removal in removals for k in range(len(steps))]
        measures = [
            [getattr(draws, name)[:, counts.index(removal.count), k] for name in BANDS]
            for removal, k in keys
        ]
        columns = {
            "label": [label] * len(keys),
            "rule": [removal.rule for removal, _ in keys],
            "space": [removal.space for removal, _ in keys],
            "component": [k + 1 for _, k in keys],
            "divergence": [None] * len(keys),
            "bands": [
                [end for values in named for end in random_removal.band(values)]
                for named in measures
            ],
            "kurtosis": [kurtosis for kurtosis, *_ in measures],
        }
        return arrow.record_batch(columns, schema)


def _divergence_batch(
    label: str, values: NDArray[np.float64], steps: Sequence[float], schema: pa.Schema
) -> pa.RecordBatch:
    """Return a row without a rule: the divergence of the joint model from the separable one."""
    cells = histogram.cell(values, np.asarray(steps))
    joint = histogram.joint(cells, np.ones(len(cells), np.int64), steps)
    columns = {name: pa.nulls(1) for name in schema.names}
    columns |= {"label": pa.array([label]), "component": pa.array([2], pa.int32())}
    divergence = tensor.Tensor(joint).kl_from_separable()
    return arrow.record_batch(columns | {"divergence": pa.array([divergence])}, schema)


def measure(
    projections: DataFrame, counts: Mapping[str, int], removals: RandomRemovals
) -> ClassMeasures:
    """Return the controls and divergences of every class that has a component.

    counts: images of each class.
    """
    sizes = {label: n for label, n in counts.items() if removals.steps.get(label)}
    if not sizes:
        return ClassMeasures({}, {})
    slots = session.slots(projections.sparkSession)
    tasks = partitioning.repartitioned_by_group(projections, sizes, slots, float)
    columns = tasks.select("image_id", "label", "components")
    rows = arrow_frames.mapped(columns, removals.rows, MEASURES).toArrow().to_pylist()
    controls = {
        (row["label"], row["rule"], row["space"], row["component"]): Control(
            tuple(None if np.isnan(end) else end for end in row["bands"]),
            np.array(row["kurtosis"]),
        )
        for row in rows
        if row["rule"] is not None
    }
    return ClassMeasures(
        controls, {row["label"]: row["divergence"] for row in rows if row["rule"] is None}
    )
