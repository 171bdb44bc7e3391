"""The work table `placed`: the images of large groups in their order, each with its rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo
from udfs import arrow

PIECE = 32_768  # images of a group that lie together in `placed`: 134 MB at width 1024
SENT = 2**21  # images whose ranks are sent to every executor, some 100 bytes each

PLACED, ROUNDS = "placed", "rounds"

_PACKED = arrow_frames.struct(
    "image_id string, label string, group string, standing bigint, undecided bigint, latent binary"
)


def pack(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Latents as bytes: they travel to Python in half the time of a list."""
    for batch in batches:
        columns = {name: batch.column(name) for name in schema.names}
        columns["latent"] = arrow.bytes_column(columns["latent"])
        yield arrow.record_batch(columns, schema)


def place(
    stage_run: StageRun, found: DataFrame, counts: dict[str, int], order: Sequence[Column]
) -> None:
    """The images of large groups, ranked and cut into pieces, into the table `placed`.

    counts: of each group. A piece is a file, so that those which are done are passed over.
    """
    if _resumable(stage_run, PLACED, sorted(counts)):
        return
    chosen = found.where(F.col("group").isin(list(counts)))
    orders = [name for name in chosen.columns if name.startswith("order_")]
    narrow = chosen.select("image_id", "group", "standing", *orders)
    rank = (F.row_number().over(Over.partitionBy("group").orderBy(*order, "image_id")) - 1).cast(
        "bigint"
    )
    ranked = narrow.select("image_id", rank.alias("rank"))
    packed = arrow_frames.mapped(chosen.select(*_PACKED.names), pack, _PACKED)
    if sum(counts.values()) <= SENT:  # else latents go twice through Spark's shuffle
        ranked = F.broadcast(ranked)
    pieces = [-(-count // PIECE) for count in counts.values()]
    firsts = zip(counts, np.cumsum([0, *pieces[:-1]]).tolist(), strict=True)
    columns = arrow_frames.struct("group string, first_piece int")
    numbers = arrow_frames.frame(stage_run.spark, firsts, columns)
    piece = (F.col("first_piece") + F.floor(F.col("rank") / PIECE)).cast("int")
    placed = (
        packed.join(ranked, on="image_id")
        .join(F.broadcast(numbers), on="group")
        .repartitionById(sum(pieces), piece)
        .sortWithinPartitions("rank")
        .select(tables.TABLES[PLACED].schema.names)
    )
    stage_run.warehouse.drop(ROUNDS)
    metadata = {"for": stage_run.fingerprint, "groups": sorted(counts)}
    stage_run.write(placed, PLACED, finished=False, metadata=metadata)


def _resumable(stage_run: StageRun, table: str, groups: Sequence[str] | None = None) -> bool:
    """Whether a table is what this stage left when it was stopped, of the same large groups."""
    commit: CommitInfo | None = stage_run.previous_commit(table)
    if commit is None or stage_run.name in stage_run.settings.overwrite:
        return False
    if groups is not None and commit.metadata.get("groups") != list(groups):
        return False
    return commit.metadata.get("for") == stage_run.fingerprint
