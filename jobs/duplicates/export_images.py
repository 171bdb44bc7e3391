"""The images that are exported, as one frame: those of `curated`, with their split and their key.

The key of an image is made of its id alone and names it in shards. Its order is as good as random,
so that each shard is a mixture of the classes; but tiles of one frame follow each other, so that
the frame is decoded once.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.acquisition import remote_files, sources
from jobs.acquisition.value_ranges import ValueRanges
from jobs.acquisition.withdrawn import TILE
from jobs.duplicates.original_files import FULL, Originals
from jobs.errors import JobError
from jobs.paths import absolute, folder, is_mounted
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames
from jobs.warehouse.commits import CommitInfo

NO_SPLIT = "all"  # of images that have none
KEY = 32  # hexadecimal digits of a key: 128 bits of a hash
# What a loader may want to know of an image, as JSON beside it and in the list of links.
TOLD = ("image_id", "label", "split", "weight", "group_size", "width", "height", "sha256")


def exported(stage_run: StageRun) -> DataFrame:
    """The images of `curated`, with TOLD, path, size_bytes, modified_at, and further columns.

    split: that of `splits` if it has rows, else that of `images`; NO_SPLIT where there
    is none. frame_id: the id of the file, which of a tile is that of its frame. x, y: the corner of
    a tile, null for a whole image. number: of the class, from 0 in the order of the labels. key,
    info: its name in a shard, and what is told of it, as JSON. is_first: whether it is the first
    of its file in the order of keys, for whom alone the file need be read.
    """
    rows = stage_run.read("curated").select(*TOLD, "path", "size_bytes", "modified_at")
    if has_splits(stage_run):
        own = stage_run.read("splits").select("image_id", "split")
        rows = rows.drop("split").join(own, on="image_id", how="left")
    tiled = is_tiled(stage_run)
    rows = rows.withColumn("split", F.coalesce("split", F.lit(NO_SPLIT)))
    rows = rows.withColumns(_corner(is_tiled=tiled))
    number = {label: number for number, label in enumerate(labels(stage_run))}
    numbers = arrow_frames.frame(
        stage_run.spark, number.items(), arrow_frames.struct("label string, number int")
    )
    digest = F.substring(F.sha2("frame_id", 256), 1, KEY)
    tile = F.format_string("-%d-%d", "x", "y")
    key = F.when(F.col("x").isNull(), digest).otherwise(F.concat(digest, tile))
    rows = rows.join(F.broadcast(numbers), on="label", how="left").withColumns(
        {"key": key, "info": F.to_json(F.struct(*TOLD))}
    )
    if not tiled:
        return rows.withColumn("is_first", F.lit(True))
    of_file = Window.partitionBy("frame_id").orderBy("key")
    return rows.withColumn("is_first", F.row_number().over(of_file) == 1)


def is_tiled(stage_run: StageRun) -> bool:
    """Return whether the images are tiles of files."""
    return bool(images_commit(stage_run).metadata.get("tiled"))


def has_splits(stage_run: StageRun) -> bool:
    """Return whether publish made splits; it empties their table where none are wanted.

    Raises JobError if the settings ask for some and there are none.
    """
    there = "splits" in stage_run.reads and stage_run.count("splits") > 0
    if stage_run.settings.publish.split and not there:
        raise JobError(
            "publish.split: the table splits is empty: run ./spark-submit.sh publish with it first "
            "(or pipeline, which does all)"
        )
    return there


def _corner(*, is_tiled: bool) -> dict[str, Column]:
    """The columns `frame_id`, `x` and `y`: an id ends in #x,y where images were cut into tiles."""
    if not is_tiled:
        nothing = F.lit(None).cast("int")
        return {"frame_id": F.col("image_id"), "x": nothing, "y": nothing}
    corners = [F.regexp_extract("image_id", r"#(\d+),(\d+)$", at).cast("int") for at in (1, 2)]
    frame_id = F.regexp_replace("image_id", TILE.pattern, "")
    return {"frame_id": frame_id, "x": corners[0], "y": corners[1]}


def labels(stage_run: StageRun) -> list[str]:
    """The classes in their order, by which they are numbered."""
    rows = stage_run.query("curated", "SELECT DISTINCT label FROM rows")
    return sorted(row["label"] for row in rows)


def provenance(stage_run: StageRun, name: str) -> dict[str, Any]:
    """What the index of an export says of where it comes from; name: that of the format."""
    (row,) = stage_run.query("curated", "SELECT rule, space FROM rows LIMIT 1") or [{}]
    return {
        "format": name,
        "fingerprint": stage_run.fingerprint,
        "run": stage_run.run.run_id,
        "curated": stage_run.reads["curated"],
        "rule": row.get("rule"),
        "space": row.get("space"),
    }


def images_commit(stage_run: StageRun) -> CommitInfo:
    """The commit of ingest that the published images are of.

    Raises JobError if nothing tells of it.
    """
    commit = stage_run.warehouse.newest("images", "ingest")
    if commit is None:
        raise JobError("nothing tells how the images were ingested: run the pipeline again first")
    return commit


def check_pictured(stage_run: StageRun) -> None:
    """Raise JobError if the images are vectors alone."""
    if not images_commit(stage_run).metadata.get("pictures", True):
        raise JobError(
            "publish.export: this warehouse holds vectors without images: nothing can be exported"
        )


def with_contents(stage_run: StageRun, rows: DataFrame) -> DataFrame:
    """Add the column `content`: the bytes that a table holds, of the first image of each file.

    It is null elsewhere. Raises JobError if --images names another source than the images are of.
    """
    nothing = F.lit(None).cast("binary")
    settings = stage_run.settings
    if not settings.images or settings.ingest.source == "folder":
        return rows.withColumn("content", nothing)
    source = stage_run.run.once(sources.of_run)
    commit = images_commit(stage_run)
    if not source.is_of(commit):
        raise JobError(
            f"--images {source.root}: the images were ingested from {commit.metadata.get('root')}: "
            "name that, or leave it out if the images are files"
        )
    held = source.frame.where("content IS NOT NULL").select(
        F.col("image_id").alias("frame_id"), "content", F.sha2("content", 256).alias("digest")
    )
    if commit.metadata.get("vectors"):
        first = F.min(F.struct("digest", "content")).alias("first")
        held = held.groupBy("frame_id").agg(first).select("frame_id", "first.content")
        return rows.join(held, on="frame_id", how="left")
    held = held.dropDuplicates(["frame_id", "digest"])
    is_same = (rows["frame_id"] == held["frame_id"]) & (rows["sha256"] == held["digest"])
    is_same &= rows["is_first"]
    return rows.join(held, on=is_same, how="left").select(rows["*"], "content")


def with_remote_contents(stage_run: StageRun, rows: DataFrame, tasks: int) -> DataFrame:
    """Fill `content` of images whose file only Spark can read, as `with_contents` does.

    rows: in `tasks` partitions, which keep their rows.
    """
    if stage_run.read("curated").where(remote_files.is_remote(F.col("path"))).isEmpty():
        return rows
    first = rows.withColumn("path", F.when(F.col("is_first"), F.col("path")))
    return remote_files.with_contents(first, tasks, stage_run.settings.ingest.max_bytes)


def originals(stage_run: StageRun) -> Originals:
    """What reads the images' files in tasks."""
    metadata = images_commit(stage_run).metadata
    root = metadata.get("root")
    ranges = ValueRanges.recorded(metadata) or ValueRanges()
    if not metadata.get("vectors") or not root:
        return Originals(ranges=ranges)
    # The digest is that of the vectors, so a path may lead to any file.
    above = folder(root) if is_mounted(root) else root
    within = (above, *map(absolute, stage_run.settings.ingest.allow_paths))
    return Originals(False, within, ranges)


def count_without_files(rows: DataFrame) -> dict[str, Any]:
    """How many images are tiles, have their bytes in a table, or lie where only Spark reads."""
    path = F.col("path")
    has_file = F.coalesce(F.rlike(path, F.lit(f"^({FULL.pattern})")), F.lit(False))
    (row,) = rows.agg(
        F.count_if(F.col("x").isNotNull()).alias("tiles"),
        F.count_if(~has_file).alias("in_tables"),
        F.count_if(remote_files.is_remote(path)).alias("remote"),
    ).collect()
    return dict(row.asDict())
