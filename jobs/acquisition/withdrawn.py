"""Images that others took out of `images` or `latents`, as a law may ask for: they stay out.

`ingest` gives each a row of `rejects` with the code `withdrawn`, by which later runs know it. See
docs/operations.md, "Deleting an image for good".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import RunContext, StageRun
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import LOST, Change, fingerprint
from jobs.warehouse.parquet_write import ArrowTransform
from jobs.warehouse.store import Store

CODE = "withdrawn"
MESSAGE = (
    "somebody took it out of the table {}: it is not read again, unless its row here is deleted"
)
SEEN = "seen"  # in the metadata of `images`: the version of each table that ingest looked at
CHANGED = "changed"  # there, too: the versions at which others changed rows that are still there
WATCHED = ("images", "latents")  # whoever takes an image out of one of them withdraws it
LOOKED_AT = (*WATCHED, "rejects")  # who takes its row out of the last lets an image in again
TILE = re.compile(r"#\d+,\d+$")  # the end of a tile's id
# A RESTORE takes back what was done, and an UPDATE keeps all rows: they withdraw nothing.
KEEPING = ("RESTORE", "UPDATE")
REJECTS = tables.TABLES["rejects"].schema
FILE = ("path", "image_id", "size_bytes", "modified_at")


def unseen(warehouse: Store, table: str) -> tuple[Change, ...]:
    """Return what others changed in a table since `ingest` looked at it last, the newest first."""
    commit = warehouse.newest("images", "ingest")
    if commit is None:
        return ()
    writer = warehouse.newest(table, tables.TABLES[table].stages[0])
    first = commit.metadata.get(SEEN, {}).get(table, writer.version if writer else -1)
    return tuple(change for change in warehouse.changes(table) if change.version > first)


def disturbed_by(run: RunContext) -> dict[str, tuple[Change, ...]]:
    """What others took out of the tables that tell which images there are, since the last look."""
    changes = {}
    for table in LOOKED_AT:
        run.warehouse.refresh(table)
        changes[table] = tuple(c for c in unseen(run.warehouse, table) if c.removes)
    return {table: of_table for table, of_table in changes.items() if of_table}


@dataclass(frozen=True)
class Withdrawn:
    """The images that must stay out.

    rows: of `rejects`, one for each. ids: of the images. files: ids of files of which all tiles are
    withdrawn. has_new: whether `rejects` lacks some. changed: the versions of `images` at which
    others changed rows that are still there. seen: the versions of the tables that were looked at.
    """

    rows: DataFrame
    ids: frozenset[str]
    files: frozenset[str]
    has_new: bool
    changed: tuple[int, ...]
    seen: dict[str, int]

    @classmethod
    def of(cls, stage_run: StageRun) -> Withdrawn:
        """Find those of earlier runs and new ones. Raises JobError if they cannot be told."""
        store, spark = stage_run.warehouse, stage_run.spark
        seen = {table: store.version(table) for table in LOOKED_AT if store.exists(table)}
        sql = f"SELECT * FROM rows WHERE error_code = '{CODE}'"
        known = {row["image_id"]: row for row in store.query("rejects", sql)}
        rows = {name: known[name] for name in known.keys() - put_back(store)}
        for table in filter(lambda table: unseen(store, table), WATCHED):
            # By Arrow, since in Spark's own rows times have the time zone of the driver.
            taken = taken_out(stage_run, table).toArrow().to_pylist()
            rows = {row["image_id"]: row for row in taken} | rows
        content = [[rows[name][column] for column in REJECTS.names] for name in sorted(rows)]
        commit = stage_run.previous_commit("images")
        before = tuple(commit.metadata.get(CHANGED, ())) if commit else ()
        changed = (*before, *sorted(change.version for change in unseen(store, "images")))
        ids = frozenset(rows)
        files = emptied(store, ids) if commit and commit.metadata.get("tiled") else frozenset()
        more = ids != known.keys()
        return cls(arrow_frames.frame(spark, content, REJECTS), ids, files, more, changed, seen)

    def metadata(self, *, reused: bool) -> dict[str, Any]:
        """What the commit of `images` records.

        reused: whether rows of an earlier version stay, and with them what others changed.
        """
        changed = list(self.changed) if reused else []
        differs = {"content": fingerprint([sorted(self.ids), changed])}
        more = differs if self.ids or changed else {}
        return {SEEN: self.seen, CHANGED: changed} | more

    def without(self, rows: DataFrame) -> DataFrame:
        """Rows with an `image_id` that are not withdrawn."""
        if not self.ids:
            return rows
        ids = F.broadcast(arrow_frames.ids(rows.sparkSession, sorted(self.ids | self.files)))
        return rows.join(ids, on="image_id", how="left_anti").select(rows.columns)

    def filtered(self, made: ArrowTransform) -> ArrowTransform:
        """The same for rows that tasks make: a tile's id is known when its frame was cut."""
        if not self.ids:
            return made
        rows = partial(_without, made=made.rows, ids=sorted(self.ids))
        return replace(made, rows=rows)


def emptied(store: Store, ids: Iterable[str]) -> frozenset[str]:
    """The files of withdrawn tiles that have no tile in `images` that may stay."""
    files = {TILE.sub("", name) for name in ids if TILE.search(name)}
    if not files:
        return frozenset()
    out = arrow_frames.ids(store.spark, sorted(ids))
    rest = store.read("images").select("image_id").join(out, on="image_id", how="left_anti")
    file = F.regexp_replace("image_id", TILE.pattern, "").alias("image_id")
    of_files = arrow_frames.ids(store.spark, sorted(files))
    used = rest.select(file).join(of_files, on="image_id", how="left_semi").distinct()
    return frozenset(files - {row.image_id for row in used.collect()})


def _without(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, made: Any, ids: list[str]
) -> Iterator[pa.RecordBatch]:
    values = pa.array(ids, pa.string())
    for batch in made(batches, schema=schema):
        yield batch.filter(pc.invert(pc.is_in(batch.column("image_id"), value_set=values)))


def taken_out(stage_run: StageRun, table: str) -> DataFrame:
    """Rows of `rejects` of images that others took out of a table and did not put back."""
    store = stage_run.warehouse
    changes = [c for c in unseen(store, table) if c.removes and c.operation not in KEEPING]
    now = store.read(table).select("image_id")
    nothing = arrow_frames.frame(store.spark, [], REJECTS).select(*FILE)
    rows = reduce(
        DataFrame.unionByName, [nothing, *(_gone(stage_run, table, change) for change in changes)]
    )
    rows = rows.join(now, on="image_id", how="left_anti").dropDuplicates(["image_id"])
    return rows.select(
        *FILE,
        F.lit("ingest").alias("stage"),
        F.lit(CODE).alias("error_code"),
        F.lit(MESSAGE.format(table)).alias("error_message"),
    )


def put_back(store: Store) -> set[str]:
    """The ids of images that others put into `images` since `ingest` looked at it last."""
    added: set[str] = set()
    for change in unseen(store, "images"):
        versions = (change.version, change.version - 1)
        if change.operation == LOST or not all(store.is_readable("images", v) for v in versions):
            continue
        after, before = (store.read("images", version).select("image_id") for version in versions)
        rows = after.join(before, on="image_id", how="left_anti").collect()
        added |= {row.image_id for row in rows}
    return added


def _gone(stage_run: StageRun, table: str, change: Change) -> DataFrame:
    """The images, with their files, that a change took out of a table."""
    store = stage_run.warehouse
    versions = (change.version - 1, change.version)
    if change.operation == LOST or not all(store.is_readable(table, v) for v in versions):
        return _gone_by_other_tables(stage_run, table, change)
    before, after = (store.read(table, version) for version in versions)
    gone = before.join(after.select("image_id"), on="image_id", how="left_anti")
    return _with_files(store, gone)


def _gone_by_other_tables(stage_run: StageRun, table: str, change: Change) -> DataFrame:
    """The same where old versions cannot be read: what tables made of it still have.

    Raises JobError if they have no image that the table lacks, and so cannot tell.
    """
    store = stage_run.warehouse
    now = store.read(table).select("image_id")
    made_of_it = [name for name in ("latents", "selection") if name != table]
    nothing = arrow_frames.frame(store.spark, [], arrow_frames.struct("image_id string"))
    ids = [store.read(name).select("image_id") for name in made_of_it if store.exists(name)]
    gone = reduce(DataFrame.unionByName, [nothing, *ids]).distinct()
    gone = gone.join(now, on="image_id", how="left_anti")
    if table == "latents":  # of images that ingest has dropped there are no latents either
        gone = gone.join(store.read("images").select("image_id"), on="image_id", how="left_semi")
    elif store.exists("rejects"):
        vanished = store.read("rejects").where("error_code = 'vanished'").select("image_id")
        gone = gone.join(vanished, on="image_id", how="left_anti")
    if change.operation != LOST and not stage_run.is_overwritten and gone.isEmpty():
        raise JobError(
            f"others changed the table {store.path(table)} ({change}), and files of the version "
            "before were deleted, so which images they took out cannot be told any more. Append to "
            f"{store.path('rejects')} a row for each, with its image_id, the stage ingest and the "
            f"error_code {CODE}; then run with --overwrite ingest, which reads all others again"
        )
    return _with_files(store, gone)


def _with_files(store: Store, gone: DataFrame) -> DataFrame:
    """Ids with the columns FILE, which are null where nothing tells them."""
    if "path" in gone.columns:
        return gone.select(*FILE)
    images = store.read("images").select(*FILE)
    return gone.select("image_id").join(images, on="image_id", how="left").select(*FILE)
