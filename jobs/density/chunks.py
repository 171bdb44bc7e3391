"""Classes larger than a task: pieces of consecutive images, and sums over them on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames
from jobs.warehouse.partitioning import streamed
from udfs.density import pca

BOUNDS = arrow_frames.struct("piece int, class string, first string, following string")


@dataclass(frozen=True)
class Piece:
    """Images of a class from an id on, up to the next piece's."""

    label: str
    first: str


def cut(latents: DataFrame, labels: Iterable[str], rows: int) -> list[Piece]:
    """Pieces of `rows` images by id, the last of a class shorter; in order of class and id.

    Labels and ids alone are sorted for it.
    """
    by_id = (
        Window.partitionBy("label")
        .orderBy("image_id")
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    ids = latents.where(F.col("label").isin(list(labels))).select("label", "image_id")
    ranked = ids.withColumn("place", F.row_number().over(by_id) - 1)
    firsts = ranked.where(F.col("place") % rows == 0).orderBy("label", "image_id")
    return [Piece(row.label, row.image_id) for row in firsts.collect()]


def placed(latents: DataFrame, pieces: Sequence[Piece]) -> DataFrame:
    """Latents with the number of their piece, shuffled once: partition p is piece p, by id."""
    bounds = [
        (number, piece.label, piece.first, after.first if _goes_on(piece, after) else None)
        for number, (piece, after) in enumerate(zip_longest(pieces, pieces[1:]))
    ]
    table = arrow_frames.frame(latents.sparkSession, bounds, BOUNDS)
    inside = (
        (F.col("label") == F.col("class"))
        & (F.col("image_id") >= F.col("first"))
        & (F.col("following").isNull() | (F.col("image_id") < F.col("following")))
    )
    found = latents.join(F.broadcast(table), on=inside, how="inner")
    ordered = found.repartitionById(len(pieces), F.col("piece")).sortWithinPartitions("image_id")
    return ordered.select("piece", "image_id", "label", "latent")


def _goes_on(piece: Piece, after: Piece | None) -> bool:
    return after is not None and after.label == piece.label


def added(frame: DataFrame, pieces: Sequence[Piece]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each class with the sum of its pieces' `sums`, added in order.

    frame: one row (piece, sums) a partition, sums as the bytes of float64. The driver holds one
    piece's beside the class's.
    """
    for label, rows in groupby(streamed(frame), key=lambda row: pieces[row.piece].label):
        yield label, pca.added(np.frombuffer(row.sums) for row in rows)
