"""The work table `placed`: the candidates of large groups in their order, each with its rank.

Use `place_groups` before `rounds.Rounds`, which reads ranges of ranks from the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.runtime.stage import StageRun
from jobs.settings.redaction import redacted
from jobs.warehouse import arrow_frames, tables
from udfs import arrow

FILE_IMAGES = 32_768  # images of a group in one file of `placed`: 134 MB at width 1024
SENT = 2**21  # ranks that are sent to every executor at most, some 100 bytes each

PLACED, ROUNDS = "placed", "rounds"

# In the table, `standing` and `undecided` are what the code calls `reference_mask` and
# `pending_mask`. It keeps these names, so that a run that an earlier version began can be resumed.
_PACKED = arrow_frames.struct(
    "image_id string, label string, group string, standing bigint, undecided bigint, "
    "place bigint, content string, width int, height int, latent binary, grey binary"
)


def pack(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Write latents as bytes, which travel to Python in half the time of a list."""
    for batch in batches:
        columns = {name: batch.column(name) for name in schema.names}
        columns["latent"] = arrow.bytes_column(columns["latent"])
        yield arrow.record_batch(columns, schema)


def place_groups(
    stage_run: StageRun, compared: DataFrame, counts: Mapping[str, int], order: Sequence[Column]
) -> None:
    """Write the table `placed`, unless it is there from a run that was stopped.

    Args:
        stage_run: the stage whose work table it is.
        compared: the candidates that are compared.
        counts: how many there are in each large group; other groups are left out.
        order: sort keys of a group before the id.

    A group is cut into files by rank, so that Spark skips files whose images are all decided.
    """
    if resumable(stage_run, PLACED, sorted(counts)):
        return
    chosen = compared.where(F.col("group").isin(list(counts)))
    ranked = _ranked(chosen, order)
    columns = chosen.withColumnsRenamed({"reference_mask": "standing", "pending_mask": "undecided"})
    # Without rules that ask for a proof, there are no pictures: their columns are null.
    packed = arrow_frames.mapped(arrow_frames.completed(columns, _PACKED), pack, _PACKED)
    if sum(counts.values()) <= SENT:  # else latents go twice through Spark's shuffle
        ranked = F.broadcast(ranked)
    files = [-(-count // FILE_IMAGES) for count in counts.values()]
    firsts = zip(counts, np.cumsum([0, *files[:-1]]).tolist(), strict=True)
    numbers = arrow_frames.frame(
        stage_run.spark, firsts, arrow_frames.struct("group string, first_file int")
    )
    file = (F.col("first_file") + F.floor(F.col("rank") / FILE_IMAGES)).cast("int")
    placed = (
        packed.join(ranked, on=["image_id", "group"])
        .join(F.broadcast(numbers), on="group")
        .repartitionById(sum(files), file)
        .sortWithinPartitions("rank")
        .select(tables.TABLES[PLACED].schema.names)
    )
    stage_run.discard(ROUNDS)
    metadata = {"for": stage_run.fingerprint, "groups": sorted(counts)}
    stage_run.write(placed, PLACED, finished=False, metadata=metadata)


def _ranked(chosen: DataFrame, order: Sequence[Column]) -> DataFrame:
    """The id of every image with its rank in its group, from 0."""
    keys = [name for name in chosen.columns if name.startswith("order_")]
    narrow = chosen.select("image_id", "group", "reference_mask", "decided_earlier", *keys)
    number = F.row_number().over(Window.partitionBy("group").orderBy(*order, "image_id"))
    return narrow.select("image_id", "group", (number - 1).cast("bigint").alias("rank"))


def resumable(stage_run: StageRun, table: str, groups: Sequence[str] | None = None) -> bool:
    """Whether a work table was left by this stage, with these inputs, when it was stopped.

    groups: also compare the large groups that the table was made of.
    """
    commit = stage_run.previous_commit(table)
    if commit is None or stage_run.is_overwritten:
        return False
    if groups is not None and redacted(commit.metadata.get("groups")) != redacted(list(groups)):
        return False
    return bool(commit.metadata.get("for") == stage_run.fingerprint)
