"""What is measured of whole classes on the executors, beside their histograms.

These are random removals, the control of what removal did, and how far the first two axes depend on
each other, which the separable model leaves out.
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

CONTROL = arrow_frames.struct(
    "label string, rule string, space string, component int, divergence double, "
    "bands array<double>, kurtosis array<double>"
)
BANDS = ("kurtosis", "entropy", "scale_free")  # low and high of each in `bands`
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Removed:
    """How many images of a class a rule removes, in a space."""

    rule: str
    space: str
    count: int


@dataclass(frozen=True)
class Control:
    """What random removals of one size do to a component of a class.

    bands: low and high of kurtosis, entropy and scale-free entropy. kurtosis: of each draw.
    """

    bands: tuple[float | None, ...]
    kurtosis: NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Of every class: its controls, and the divergence of its first two axes, in nats."""

    controls: dict[Key, Control]
    divergences: dict[str, float]


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn of every class; nothing is measured of one without steps."""

    removed: Mapping[str, Sequence[Removed]]
    steps: Mapping[str, Sequence[float]]
    draws: int
    seed: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Projections, sorted by class and id, to rows of CONTROL."""
        for label, rows in arrow.groups(batches, "label"):
            steps = self.steps[label]
            values = arrow.matrix(rows.column("components"), nulls=True)[:, : len(steps)]
            if len(steps) > 1:
                yield _divergence_batch(label, values[:, :2], steps[:2], schema)
            removed = self.removed.get(label, ()) if self.draws else ()
            if not removed:
                continue
            counts = sorted({one.count for one in removed})  # rules that remove as many share it
            ids = rows.column("image_id").to_pylist()
            draws = random_removal.null_distribution(
                ids, values, steps, counts, self.draws, self.seed
            )
            keys = [(one, k) for one in removed for k in range(len(steps))]
            measures = [
                [getattr(draws, name)[:, counts.index(one.count), k] for name in BANDS]
                for one, k in keys
            ]
            columns = {
                "label": [label] * len(keys),
                "rule": [one.rule for one, _ in keys],
                "space": [one.space for one, _ in keys],
                "component": [k + 1 for _, k in keys],
                "divergence": [None] * len(keys),
                "bands": [
                    [end for part in parts for end in random_removal.band(part)]
                    for parts in measures
                ],
                "kurtosis": [parts[0] for parts in measures],
            }
            yield arrow.record_batch(columns, schema)


def _divergence_batch(
    label: str, values: NDArray[np.float64], steps: Sequence[float], schema: pa.Schema
) -> pa.RecordBatch:
    """A row without a rule: the tensor model's divergence from the separable one."""
    cells = histogram.cell(values, np.asarray(steps))
    joint = histogram.joint(cells, np.ones(len(cells), np.int64), steps)
    columns = {name: pa.nulls(1) for name in schema.names}
    columns |= {"label": pa.array([label]), "component": pa.array([2], pa.int32())}
    divergence = tensor.Tensor(joint).kl_from_separable()
    return arrow.record_batch(columns | {"divergence": pa.array([divergence])}, schema)


def measured(projections: DataFrame, counts: Mapping[str, int], drawing: Drawing) -> Measured:
    """Controls and divergences of every class with a component; counts: images of each class."""
    wanted = {label: n for label, n in counts.items() if drawing.steps.get(label)}
    if not wanted:
        return Measured({}, {})
    slots = session.slots(projections.sparkSession)
    tasks = partitioning.repartitioned_by_group(projections, wanted, slots, float)
    columns = tasks.select("image_id", "label", "components")
    rows = arrow_frames.mapped(columns, drawing.rows, CONTROL).toArrow().to_pylist()
    controls = {
        (row["label"], row["rule"], row["space"], row["component"]): Control(
            tuple(None if np.isnan(end) else end for end in row["bands"]),
            np.array(row["kurtosis"]),
        )
        for row in rows
        if row["rule"] is not None
    }
    return Measured(
        controls, {row["label"]: row["divergence"] for row in rows if row["rule"] is None}
    )
