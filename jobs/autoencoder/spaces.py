"""The vectors by which images are compared in each space (docs/method.md, "Whitening").

In the space `raw` these are the latents; in the space `whitened` they are the table `vectors`,
which `WhiteningTask` computes. Use `reads` and `vectors` in a stage that compares images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import RAW, WHITENED
from jobs.warehouse import tables
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store
from udfs import arrow
from udfs.vectors.whitening import Whitening

LATENTS = tables.TABLES["latents"].schema
VECTORS = tables.TABLES["vectors"].schema
_TABLES = {RAW: ("latents", "latent", "encode"), WHITENED: ("vectors", "vector", "whiten")}


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

    Its latents are whitened by the fit of `warehouse`. Raises JobError if there is none.
    """
    latents = other.read("latents", other.version("latents"))
    if space == RAW:
        return latents.select(LATENTS.names)
    whitening = stored_fit(warehouse)
    if whitening is None:
        raise JobError(
            f"the warehouse {warehouse.root} has no table spaces to see other images by: run "
            "./spark-submit.sh whiten first (or pipeline, which does)"
        )
    return _compared(whitened(latents, whitening).mapped(), space)


def _compared(table: DataFrame, space: str) -> DataFrame:
    return table.withColumnRenamed(column_of(space), "latent").select(LATENTS.names)


def stored_fit(warehouse: Store) -> Whitening | None:
    """The whitening that the table `spaces` holds; None if there is none."""
    if not warehouse.exists("spaces"):
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
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


@dataclass(frozen=True)
class WhiteningTask:
    """A fitted whitening and its `fit_id`, sent to the executors to whiten latents there."""

    whitening: Whitening
    name: str

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows of `latents` into rows of `vectors`."""
        for batch in batches:
            n = batch.num_rows
            whitened = self.whitening(arrow.matrix(batch.column("latent")))
            shared = set(batch.schema.names) & set(schema.names)
            columns = {name: batch.column(name) for name in shared}
            columns |= {
                "space": pa.array([WHITENED] * n, pa.string()),
                "fit_id": pa.array([self.name] * n, pa.string()),
                "vector": arrow.list_column(whitened, np.ones(n, np.bool_)),
            }
            yield arrow.record_batch(columns, schema)


def whitened(latents: DataFrame, whitening: Whitening) -> ArrowTransform:
    """Rows of `vectors`: one for each latent, in the same order; a zero latent gives zeros."""
    task = WhiteningTask(whitening, fit_id(whitening))
    return ArrowTransform(latents.select(LATENTS.names), task.rows, VECTORS)
