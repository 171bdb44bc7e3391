"""The vectors by which images are compared in each space (docs/method.md, "Whitening").

In the space `raw` these are the latents; in the space `whitened` they are the table `vectors`, and
in the space `gradients` the table of that name, both computed by `VectorsTask`. Use `reads` and
`vectors` in a stage that compares images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import GRADIENTS, RAW, WHITENED
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store
from udfs import arrow
from udfs.vectors.whitening import Whitening

LATENTS = tables.TABLES["latents"].schema
VECTORS = tables.TABLES["vectors"].schema
_TABLES = {
    RAW: ("latents", "latent", "encode"),
    WHITENED: ("vectors", "vector", "whiten"),
    GRADIENTS: ("gradients", "vector", "describe"),
}
# What `gradients` needs of `images`, with constants for the columns that only latents have.
PICTURES = arrow_frames.struct(
    "image_id string, label string, split string, sha256 string, model_id string, "
    "encoded_on string, pixels binary"
)
MatrixOf = Callable[[pa.RecordBatch], NDArray[np.float32]]  # vectors (n, width) of a batch of rows


def reads(spaces: Iterable[str]) -> dict[str, str]:
    """The tables of the spaces with the stages that write them, for `Stage.reads`."""
    return dict(map(table_of, spaces))


def table_of(space: str) -> tuple[str, str]:
    """The table of a space and the stage that writes it."""
    table, _, stage = _TABLES[space]
    return table, stage


def column_of(space: str) -> str:
    """The column of a space's table that holds the vectors."""
    return _TABLES[space][1]


def vectors(stage_run: StageRun, spaces: Iterable[str]) -> dict[str, DataFrame]:
    """The rows of each space's table, with the vectors in a column `latent` in every space."""
    return {space: _compared(stage_run.read(table_of(space)[0]), space) for space in spaces}


def vectors_of_other(warehouse: Store, other: Store, space: str) -> DataFrame:
    """The images of another warehouse in a space of this one, with the columns of `vectors`.

    They are whitened by the fit of `warehouse`. Raises JobError if there is none.
    """
    latents = other.read("latents", other.version("latents"))
    if space == RAW:
        return latents.select(LATENTS.names)
    whitening = stored_fit(warehouse, space)
    if whitening is None:
        raise JobError(
            f"the warehouse {warehouse.root} has no table spaces to see other images by: run "
            f"./spark-submit.sh {table_of(space)[1]} first (or pipeline, which does)"
        )
    matrix: MatrixOf = latents_of
    rows, columns = latents, LATENTS
    if space == GRADIENTS:
        matrix, columns = gradients_of, PICTURES
        named = latents.select("image_id", "model_id", "encoded_on")
        rows = other.read("images", other.version("images")).join(named, on="image_id")
    task = VectorsTask(whitening, fit_id(whitening), space, matrix)
    found = ArrowTransform(rows.select(columns.names), task.rows, VECTORS)
    return _compared(found.mapped(), space)


def _compared(table: DataFrame, space: str) -> DataFrame:
    return table.withColumnRenamed(column_of(space), "latent").select(LATENTS.names)


def stored_fit(warehouse: Store, space: str) -> Whitening | None:
    """The whitening of a space that the table `spaces` holds; None if there is none."""
    if not warehouse.exists("spaces"):
        return None
    row = warehouse.read("spaces").where(F.col("space") == space).first()
    if row is None:
        return None
    mean, deviations, axes = (np.array(part) for part in (row.mean, row.deviations, row.axes))
    return Whitening(mean, axes.reshape(len(deviations), len(mean)), deviations)


def fit_id(whitening: Whitening) -> str:
    """The sha256 of the numbers of a fitted whitening."""
    digest = hashlib.sha256()
    for part in (whitening.mean, whitening.deviations, whitening.axes):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def latents_of(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """The latents of a batch of rows of `latents`."""
    return arrow.matrix(batch.column("latent"))


def gradients_of(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """The vectors of gradients (n, 1327) of a batch of rows of `images`."""
    # Numba takes a second to load, which most stages that import this module do without.
    from udfs.registration.gradients import gradient_vectors
    from udfs.registration.pictures import SIDE, grey_of

    pixels = arrow.binary_matrix(batch.column("pixels"), 3 * SIDE * SIDE)
    return gradient_vectors(grey_of(pixels))


@dataclass(frozen=True)
class VectorsTask:
    """Computes the vectors of a space on the executors, whitened by a fit.

    name: the `fit_id` of the whitening. matrix: makes the vectors before whitening of a batch.
    """

    whitening: Whitening
    name: str
    space: str
    matrix: MatrixOf

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows with what `matrix` needs into rows of VECTORS; zeros stay zeros."""
        for batch in batches:
            n = batch.num_rows
            whitened = self.whitening(self.matrix(batch))
            shared = set(batch.schema.names) & set(schema.names)
            columns = {name: batch.column(name) for name in shared}
            columns |= {
                "space": pa.array([self.space] * n, pa.string()),
                "fit_id": pa.array([self.name] * n, pa.string()),
                "vector": arrow.list_column(whitened, np.ones(n, np.bool_)),
            }
            yield arrow.record_batch(columns, schema)
