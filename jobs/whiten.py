"""whiten: latents seen along the axes of the whole set, which count alike (spec §7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.common import command, pieces, schemas, spaces
from jobs.common.run import Run, Work
from jobs.common.settings import WHITENED
from jobs.common.storage import JobError
from udfs import frames, pca
from udfs.whitening import Moments, Whitening

VERSION = 2
ROWS = pca.GROUP * pca.CHUNK  # images whose moments are summed in a task
SUMS = schemas.struct("piece int, sums binary")


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
        depends={"append": append, "axes": run.settings.prune.axes},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = work.read("latents")
        encoded = run.warehouse.newest("latents", "encode")
        seen = {"orientations": encoded.orientations if encoded else 1}
        most = run.settings.prune.axes
        whitening = (stored(work, latents, most) if append else None) or fitted(latents, most)
        work.write(fit_rows(work, whitening), "spaces", notes=seen)
        work.write(spaces.whitened(latents, whitening), "vectors")
        work.rows["vectors"] = run.warehouse.count("vectors")
        work.summary = f"{work.rows['vectors']:,} vectors on {len(whitening.axes)} axes"


def piece_moments(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Latents of pieces, sorted by piece and id, to rows of SUMS: their moments in a line."""
    for piece, rows in frames.groups(batches, "piece"):
        moments = Moments.of(frames.matrix(rows.column("latent")))
        yield frames.record_batch({"piece": [piece], "sums": [moments.flat().tobytes()]}, schema)


def fitted(latents: DataFrame, most: int) -> Whitening:
    """At most so many axes of all latents, from moments of pieces added in the order of the ids.

    Raises JobError where there is none.
    """
    whole = latents.select("image_id", F.lit("").alias("label"), "latent")
    cut = pieces.cut(whole, [""], ROWS)
    sums = schemas.mapped(pieces.placed(whole, cut), piece_moments, SUMS)
    try:
        (_, total), *_ = pieces.added(sums, cut)
        return Whitening.fitted(Moments.from_flat(total), most)
    except ValueError as refused:
        raise JobError(f"whiten: {refused}; --set prune.space=raw does without") from refused


def stored(work: Work, latents: DataFrame, most: int) -> Whitening | None:
    """The fit that the table `spaces` has of latents of this model, seen from as many sides.

    Raises JobError where it has less than half of the axes that all latents have now: along so few
    of them most images look alike, and would be removed.
    """
    warehouse = work.run.warehouse
    made, encoded = warehouse.newest("spaces", "whiten"), warehouse.newest("latents", "encode")
    if made is None or encoded is None or made.orientations != encoded.orientations:
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
    whitening = spaces.fit(warehouse) if row and row.model_id == model_of(work) else None
    if whitening and 2 * len(whitening.axes) < min(most, len(whitening.mean)):
        now = len(fitted(latents, most).axes)
        if 2 * len(whitening.axes) < now:
            raise JobError(
                f"prune.mode = 'append': the axes were fitted on few images, {len(whitening.axes)} "
                f"where all images now have {now}; --set prune.mode=all decides all anew"
            )
    return whitening


def model_of(work: Work) -> str:
    """The model of the latents."""
    row = work.read("latents").select("model_id").first()
    return str(row.model_id) if row else ""


def fit_rows(work: Work, whitening: Whitening) -> pa.Table:
    """The row of `spaces`."""
    row = (
        WHITENED,
        model_of(work),
        spaces.fit_id(whitening),
        work.read("latents").count(),
        whitening.mean.tolist(),
        whitening.deviations.tolist(),
        whitening.axes.ravel().tolist(),
    )
    return schemas.rows("spaces", [row])


if __name__ == "__main__":
    command.run("whiten", main)
