"""The parts of `project` that run on the executors: axes, projections and log-densities.

`ProjectionTask` is for a class that fits into a task. For one that is cut into chunks,
`chunk_sums`, `ProductTask` and `ChunkProjectionTask` follow each other; the driver adds up in
between.
"""

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

# A row is an axis (image_id null) or an image (component null), since both come from one pass.
PROJECTED = arrow_frames.struct(
    "image_id string, label string, component int, eigenvalue double, n bigint, sigma double, "
    "lowest double, highest double, mean array<double>, axis array<double>, "
    "components array<double>"
)


# A row is a chunk with the bytes of its float64 sums.
SUMS = arrow_frames.struct("chunk int, sums binary")
# A row is an image, or a chunk with the spread of its projections (image_id null).
CHUNKWISE = arrow_frames.struct(
    "chunk int, image_id string, label string, n bigint, squares array<double>, "
    "lowest array<double>, highest array<double>, components array<double>"
)


@dataclass(frozen=True)
class ProjectionTask:
    """Computes at most `components` leading axes of whole classes; group: blocks in a group."""

    components: int
    group: int = pca.GROUP

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn latents, sorted by class and id, into rows of PROJECTED."""
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
    """Rows of PROJECTED for axes, with what the step of their histograms depends on.

    spread: that of the projections; its σ has the divisor n.
    """
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


def chunk_sums(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Turn latents, sorted by chunk and id, into rows of SUMS that hold `pca.sums`."""
    for chunk, _, latents in _chunks(batches):
        yield _sums_batch(chunk, pca.sums(latents), schema)


@dataclass(frozen=True)
class ProductTask:
    """Computes `pca.products` of chunks; means: those of the classes, by label."""

    means: dict[str, NDArray[np.float64]]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn latents, sorted by chunk and id, into rows of SUMS that hold `pca.products`."""
        for chunk, rows, latents in _chunks(batches):
            yield _sums_batch(chunk, pca.products(latents, self.means[_label(rows)]), schema)


@dataclass(frozen=True)
class ChunkProjectionTask:
    """Projects chunks on the axes of their class.

    axes: those of the classes, by label. components: the number that a row has room for.
    """

    axes: dict[str, pca.Axes]
    components: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn latents, sorted by chunk and id, into rows of CHUNKWISE."""
        for chunk, rows, latents in _chunks(batches):
            label = _label(rows)
            projections = pca.project(latents, self.axes[label])
            yield _spread_batch(chunk, label, pca.spread(projections), schema)
            yield _image_batch(rows, projections, self.components, schema)


def _chunks(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[tuple[int, pa.Table, NDArray[np.float32]]]:
    """Yield the number, the rows and the latents (n, d) of each chunk."""
    for chunk, rows in arrow.groups(batches, "chunk"):
        yield chunk, rows, arrow.matrix(rows.column("latent"))


def _label(rows: pa.Table) -> str:
    return str(rows.column("label")[0])


def _sums_batch(chunk: int, sums: NDArray[np.float64], schema: pa.Schema) -> pa.RecordBatch:
    return arrow.record_batch({"chunk": [chunk], "sums": [sums.tobytes()]}, schema)


def _spread_batch(chunk: int, label: str, spread: pca.Spread, schema: pa.Schema) -> pa.RecordBatch:
    return arrow.record_batch(
        {
            "chunk": [chunk],
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
    """Rows of images with their projections (n, k), null for components that do not exist."""
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
class LogDensityTask:
    """Evaluates the separable model of each class at its images; models: by label."""

    models: dict[str, separable.Separable]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Add `log_density` to projections; it is null if the class has no component."""
        for batch in batches:
            values = np.full(batch.num_rows, np.nan)
            labels = np.asarray(batch.column("label").to_pylist(), dtype=object)
            for label in dict.fromkeys(labels.tolist()):
                model = self.models.get(label)
                if model is None:
                    continue
                of_class = np.flatnonzero(labels == label)
                components = batch.column("components").take(pa.array(of_class))
                points = arrow.matrix(components, nulls=True)[:, : len(model.marginals)]
                values[of_class] = model.log_density(points)
            columns = {name: batch.column(name) for name in schema.names if name != "log_density"}
            columns["log_density"] = pa.array(values, mask=np.isnan(values))
            yield arrow.record_batch(columns, schema)
