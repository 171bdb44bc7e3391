"""whiten: latents seen along the axes of the whole set, each counting the same (spec §7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.common import command, pieces, schemas
from jobs.common.run import Run, Work
from jobs.common.settings import WHITENED
from jobs.common.storage import JobError
from udfs import frames, pca
from udfs.whitening import Moments, Whitening

VERSION = 1
ROWS = pca.GROUP * pca.CHUNK  # images whose moments are summed in a task
SUMS = schemas.struct("piece int, sums binary")
VECTORS = schemas.TABLES["vectors"].schema


def main(run: Run) -> None:
    """Table latents → spaces (the fit), vectors.

    In mode append a fit of the same model and orientations is used again, so that new images are
    seen as the others.
    """
    append = run.settings.prune.mode == "append"
    with run.stage(
        "whiten",
        reads={"latents": "encode"},
        writes=("spaces", "vectors"),
        depends={"append": append},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = work.read("latents")
        encoded = run.warehouse.newest("latents", "encode")
        seen = {"orientations": encoded.orientations if encoded else 1}
        whitening = (stored(work) if append else None) or fitted(latents)
        work.write(fit_rows(work, whitening), "spaces", notes=seen)
        work.write(vectors(latents, whitening), "vectors")
        work.rows["vectors"] = run.warehouse.count("vectors")
        work.summary = f"{work.rows['vectors']:,} vectors on {len(whitening.axes)} axes"


def piece_moments(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Latents of pieces, sorted by piece and id, to rows of SUMS: their moments in a line."""
    for piece, rows in frames.groups(batches, "piece"):
        moments = Moments.of(frames.matrix(rows.column("latent")))
        yield frames.record_batch({"piece": [piece], "sums": [moments.flat().tobytes()]}, schema)


def fitted(latents: DataFrame) -> Whitening:
    """The axes of all latents, from the moments of pieces of them added in the order of the ids.

    Raises JobError where there is none.
    """
    whole = latents.select("image_id", F.lit("").alias("label"), "latent")
    cut = pieces.cut(whole, [""], ROWS)
    sums = schemas.mapped(pieces.placed(whole, cut), piece_moments, SUMS)
    try:
        (_, total), *_ = pieces.added(sums, cut)
        return Whitening.fitted(Moments.from_flat(total))
    except ValueError as refused:
        raise JobError(f"prune.space = {WHITENED!r}: {refused}") from refused


def stored(work: Work) -> Whitening | None:
    """The fit that the table `spaces` has of latents of this model, seen from as many sides."""
    warehouse = work.run.warehouse
    made, encoded = warehouse.newest("spaces", "whiten"), warehouse.newest("latents", "encode")
    if made is None or encoded is None or made.orientations != encoded.orientations:
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
    if row is None or row.model_id != model_of(work):
        return None
    mean, deviations, axes = (np.array(part) for part in (row.mean, row.deviations, row.axes))
    return Whitening(mean, axes.reshape(len(deviations), len(mean)), deviations)


def model_of(work: Work) -> str:
    """The model of the latents."""
    row = work.read("latents").select("model_id").first()
    return str(row.model_id) if row else ""


def fit_id(whitening: Whitening) -> str:
    """The sha256 of the fit's numbers."""
    digest = hashlib.sha256()
    for part in (whitening.mean, whitening.deviations, whitening.axes):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def fit_rows(work: Work, whitening: Whitening) -> pa.Table:
    """The row of `spaces`."""
    row = (
        WHITENED,
        model_of(work),
        fit_id(whitening),
        work.read("latents").count(),
        whitening.mean.tolist(),
        whitening.deviations.tolist(),
        whitening.axes.ravel().tolist(),
    )
    return schemas.rows("spaces", [row])


@dataclass(frozen=True)
class Whitened:
    """A fit, on its way to the executors."""

    whitening: Whitening
    name: str

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows of `latents` to rows of `vectors`."""
        for batch in batches:
            n = batch.num_rows
            found = self.whitening(frames.matrix(batch.column("latent")))
            known = set(batch.schema.names) & set(schema.names)
            columns = {name: batch.column(name) for name in known}
            columns |= {
                "space": pa.array([WHITENED] * n, pa.string()),
                "fit_id": pa.array([self.name] * n, pa.string()),
                "vector": frames.list_column(found, np.ones(n, np.bool_)),
            }
            yield frames.record_batch(columns, schema)


def vectors(latents: DataFrame, whitening: Whitening) -> DataFrame:
    """Rows of `vectors`: one for each latent, where it lies; of a zero latent zeros."""
    columns = ("image_id", "label", "split", "sha256", "model_id", "encoded_on", "latent")
    whitened = Whitened(whitening, fit_id(whitening))
    return schemas.mapped(latents.select(*columns), whitened.rows, VECTORS)


if __name__ == "__main__":
    command.run("whiten", main)
