"""Cut classes that are too large for one task into chunks of consecutive images.

`project` uses it: `cut` finds the chunks, `repartitioned_by_chunk` makes each a partition, and
`class_sums` adds what the tasks computed of the chunks of a class.
"""

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

BOUNDS = arrow_frames.struct("chunk int, class string, first string, following string")


@dataclass(frozen=True)
class Chunk:
    """The images of a class from the id `first` on, up to the first id of the next chunk."""

    label: str
    first: str


def cut(latents: DataFrame, labels: Iterable[str], rows: int) -> list[Chunk]:
    """Return the chunks of some classes, in order of class and id.

    A chunk has `rows` images with consecutive ids, the last one of a class fewer. Only labels and
    ids are sorted, not latents.
    """
    by_id = (
        Window.partitionBy("label")
        .orderBy("image_id")
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    ids = latents.where(F.col("label").isin(list(labels))).select("label", "image_id")
    numbered = ids.withColumn("number", F.row_number().over(by_id) - 1)
    firsts = numbered.where(F.col("number") % rows == 0).orderBy("label", "image_id")
    return [Chunk(row.label, row.image_id) for row in firsts.collect()]


def repartitioned_by_chunk(latents: DataFrame, chunks: Sequence[Chunk]) -> DataFrame:
    """Latents with the number of their chunk, shuffled so that partition k is chunk k, by id."""
    bounds = [
        (number, chunk.label, chunk.first, after.first if _same_class(chunk, after) else None)
        for number, (chunk, after) in enumerate(zip_longest(chunks, chunks[1:]))
    ]
    table = arrow_frames.frame(latents.sparkSession, bounds, BOUNDS)
    inside = (
        (F.col("label") == F.col("class"))
        & (F.col("image_id") >= F.col("first"))
        & (F.col("following").isNull() | (F.col("image_id") < F.col("following")))
    )
    numbered = latents.join(F.broadcast(table), on=inside, how="inner")
    ordered = numbered.repartitionById(len(chunks), F.col("chunk"))
    ordered = ordered.sortWithinPartitions("image_id")
    return ordered.select("chunk", "image_id", "label", "latent")


def _same_class(chunk: Chunk, after: Chunk | None) -> bool:
    return after is not None and after.label == chunk.label


def class_sums(
    frame: DataFrame, chunks: Sequence[Chunk]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each class with the sum of its chunks' `sums`, added in order.

    frame: one row (chunk, sums) for each partition, `sums` being the bytes of float64. The driver
    holds the sums of one chunk and of one class at a time.
    """
    for label, rows in groupby(streamed(frame), key=lambda row: chunks[row.chunk].label):
        yield label, pca.added(np.frombuffer(row.sums) for row in rows)
