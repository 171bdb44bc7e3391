"""What executors do with the latents of a class: its principal axes and the projections on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.density import pca, separable

# One row an axis (image_id null) or an image (component null): both come from one pass.
PROJECTED = arrow_frames.struct(
    "image_id string, label string, component int, eigenvalue double, n bigint, sigma double, "
    "lowest double, highest double, mean array<double>, axis array<double>, "
    "components array<double>"
)


# Of a piece: the bytes of its float64 sums.
SUMS = arrow_frames.struct("piece int, sums binary")
# One row an image, or a piece with the spread of its projections (image_id null).
PIECEWISE = arrow_frames.struct(
    "piece int, image_id string, label string, n bigint, squares array<double>, "
    "lowest array<double>, highest array<double>, components array<double>"
)


@dataclass(frozen=True)
class Projecting:
    """How many leading components there are to be, and how many chunks a group has."""

    components: int
    group: int = pca.GROUP

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by class and id, to rows of PROJECTED."""
        for label, rows in arrow.groups(batches, "label"):
            latents = arrow.matrix(rows.column("latent"))
            axes = pca.principal_axes(latents, self.components, self.group)
            projections = pca.project(latents, axes)
            if len(axes.axes):
                parts = pca.groups(projections, self.group)
                spread = pca.merged(pca.spread(part) for part in parts)
                yield axis_batch(label, axes, spread, schema)
            yield _image_batch(rows, projections, self.components, schema)


def axis_batch(label: str, axes: pca.Axes, spread: pca.Spread, schema: pa.Schema) -> pa.RecordBatch:
    """The axes with what the step of their histograms is made of; σ has the divisor n."""
    k = len(axes.axes)
    return arrow.record_batch(
        {
            "image_id": [None] * k,
            "label": [label] * k,
            "component": list(range(1, k + 1)),
            "eigenvalue": axes.eigenvalues,
            "n": [spread.n] * k,
            "sigma": spread.sigma,
            "lowest": spread.lowest,
            "highest": spread.highest,
            "mean": [axes.mean] * k,
            "axis": list(axes.axes),
            "components": [None] * k,
        },
        schema,
    )


def piece_sums(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Latents of pieces, sorted by piece and id, to rows of SUMS: `pca.sums`."""
    for piece, _, latents in _pieces(batches):
        yield _sums_batch(piece, pca.sums(latents), schema)


@dataclass(frozen=True)
class Multiplying:
    """The mean of every class that is cut into pieces."""

    means: dict[str, NDArray[np.float64]]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents of pieces, sorted by piece and id, to rows of SUMS: `pca.products`."""
        for piece, rows, latents in _pieces(batches):
            yield _sums_batch(piece, pca.products(latents, self.means[_label(rows)]), schema)


@dataclass(frozen=True)
class PieceProjecting:
    """The axes of every class that is cut into pieces, and how many components are asked for."""

    axes: dict[str, pca.Axes]
    components: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents of pieces, sorted by piece and id, to rows of PIECEWISE."""
        for piece, rows, latents in _pieces(batches):
            label = _label(rows)
            projections = pca.project(latents, self.axes[label])
            yield _spread_batch(piece, label, pca.spread(projections), schema)
            yield _image_batch(rows, projections, self.components, schema)


def _pieces(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[tuple[int, pa.Table, NDArray[np.float32]]]:
    for piece, rows in arrow.groups(batches, "piece"):
        yield piece, rows, arrow.matrix(rows.column("latent"))


def _label(rows: pa.Table) -> str:
    return str(rows.column("label")[0])


def _sums_batch(piece: int, sums: NDArray[np.float64], schema: pa.Schema) -> pa.RecordBatch:
    return arrow.record_batch({"piece": [piece], "sums": [sums.tobytes()]}, schema)


def _spread_batch(piece: int, label: str, spread: pca.Spread, schema: pa.Schema) -> pa.RecordBatch:
    return arrow.record_batch(
        {
            "piece": [piece],
            "image_id": [None],
            "label": [label],
            "n": [spread.n],
            "squares": [spread.squares],
            "lowest": [spread.lowest],
            "highest": [spread.highest],
            "components": [None],
        },
        schema,
    )


def _image_batch(
    rows: pa.Table, projections: NDArray[np.float64], components: int, schema: pa.Schema
) -> pa.RecordBatch:
    """The projections, null for components that do not exist."""
    n, k = projections.shape
    wide = np.zeros((n, components))
    wide[:, :k] = projections
    missing = np.zeros((n, components), bool)
    missing[:, k:] = True
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * components)
    values = pa.array(wide.ravel(), mask=missing.ravel())
    columns: dict[str, Any] = {name: pa.nulls(n) for name in schema.names}
    columns |= {
        "image_id": rows.column("image_id"),
        "label": rows.column("label"),
        "components": pa.ListArray.from_arrays(offsets, values),
    }
    return arrow.record_batch(columns, schema)


@dataclass(frozen=True)
class Densities:
    """The separable model of every class that has one."""

    models: dict[str, separable.Separable]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Projections with their log-density, null where the class has no component."""
        for batch in batches:
            values = np.full(batch.num_rows, np.nan)
            labels = np.asarray(batch.column("label").to_pylist(), dtype=object)
            for label in dict.fromkeys(labels.tolist()):
                model = self.models.get(label)
                if model is None:
                    continue
                chosen = np.flatnonzero(labels == label)
                taken = batch.column("components").take(pa.array(chosen))
                points = arrow.matrix(taken, nulls=True)[:, : len(model.marginals)]
                values[chosen] = model.log_density(points)
            columns = {name: batch.column(name) for name in schema.names if name != "log_density"}
            columns["log_density"] = pa.array(values, mask=np.isnan(values))
            yield arrow.record_batch(columns, schema)
