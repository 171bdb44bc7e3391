"""Export images as WebDataset's shards: tar files of the original files, bounded in bytes.

Images go to buckets by the first bits of their keys, and each bucket becomes a shard, or several
where it is too large for one. So a shard depends on its images alone, whatever runs it, and a
bucket in which nothing changed keeps its shards: they are not written again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from jobs.acquisition.value_ranges import ValueRanges
from jobs.duplicates import export_images
from jobs.duplicates.export_folder import ExportFolder
from jobs.duplicates.export_shard_tasks import (
    BLOCK,
    SAMPLES,
    SHARDS,
    Counted,
    Sample,
    SampleReader,
    ShardWriter,
    Written,
    in_parts,
)
from jobs.errors import JobError
from jobs.paths import safe_name
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import WEBDATASET
from jobs.warehouse import arrow_frames, shared_folder
from jobs.warehouse.commits import fingerprint

VERSION = 1  # raised when the same images make other shards
DIGITS = 8  # hexadecimal digits of a key that may decide its bucket
BITS = 4 * DIGITS
# A partition that Spark brings to the driver as a whole, where the driver alone can write.
SENT_BYTES = 32 << 20
READ = ("path", "content", "image_id", "label", "frame_id", "sha256", "size_bytes", "x", "y",
        "width", "height", "key", "info", "number", "is_first")  # fmt: skip

Place = Callable[[str], Written]  # gives a shard of a bucket its name in the new folder


@dataclass(frozen=True)
class Bucket:
    """The images of a split whose keys begin with the same bits.

    bits: how many bits that are. of_split: their value. images, size: how many images there are,
    and about how many bytes they take. content: a hash of what the bucket's shards will hold.
    """

    split: str
    bits: int
    of_split: int
    images: int
    size: int
    content: str


@dataclass(frozen=True)
class Shard:
    """A shard, as `index.json` lists it. file: its name. content: that of its bucket."""

    file: str
    split: str
    images: int
    bytes: int
    sha256: str
    content: str


def export(stage_run: StageRun, images: DataFrame) -> str:
    """Write the shards of `export_images.exported`; return a line for the console."""
    folder = ExportFolder.of(stage_run.run, WEBDATASET)
    folder.begin()
    index = folder.index()
    earlier = listed(index)
    folder.check_ours(index, {shard.file: shard for shard in earlier})
    placed = with_buckets(images, stage_run.settings.publish.shard_bytes)
    buckets = buckets_of(stage_run, placed)
    kept = reusable(folder, earlier, buckets)
    made = written(stage_run, folder, placed, [b for b in buckets if b.content not in kept])
    shards = named(folder, buckets, kept, made)
    folder.finish(index_of(stage_run, shards))
    return summarise(stage_run, folder, shards, sum(map(len, kept.values())))


def is_current(folder: ExportFolder, fingerprint: str) -> bool:
    """Whether the folder is an export of this fingerprint and all its shards are there."""
    index = folder.index()
    if index is None or index["fingerprint"] != fingerprint:
        return False
    sizes = folder.sizes()
    return all(sizes.get(shard.file) == shard.bytes for shard in listed(index))


def listed(index: Mapping[str, Any] | None) -> list[Shard]:
    """The shards that `index.json` lists; none without one."""
    return [Shard(**shard) for shard in index["shards"]] if index else []


def with_buckets(images: DataFrame, shard_bytes: int) -> DataFrame:
    """Add `taken`, the bytes in a shard at most; `bits`, `head` and `of_split`, which tell buckets.

    head: the first BITS bits of the key. Buckets are as many as a power of two, so many that a
    shard holds one if they were all alike.
    """
    spark = images.sparkSession
    head = F.conv(F.substring("key", 1, DIGITS), 16, 10).cast("bigint")
    rows = images.withColumns({"taken": _taken(), "head": head})
    totals = rows.groupBy("split").agg(F.sum("taken").alias("bytes")).collect()
    bits = [(row["split"], _bits(row["bytes"], shard_bytes)) for row in totals]
    of_splits = arrow_frames.frame(spark, bits, arrow_frames.struct("split string, bits int"))
    rows = rows.join(F.broadcast(of_splits), on="split", how="inner")
    of_split = F.expr(f"CAST(shiftright(head, {BITS} - bits) AS INT)")
    return rows.withColumn("of_split", of_split)


def _bits(size: int, most: int) -> int:
    """How many bits number the parts of about equal size, of `most` at most: ceil(log2(n))."""
    return min(BITS - 1, max(0, math.ceil(math.log2(max(1, size) / most))))


def _taken() -> Column:
    """The bytes of an image's members in a tar; of a tile, which is compressed, at most."""
    tile = 3 * F.col("width").cast("bigint") * F.col("height") + F.col("height") + 4096
    data = F.when(F.col("x").isNull(), F.coalesce("size_bytes", F.lit(0))).otherwise(tile)
    members = (data, F.octet_length("info"), F.lit(1))
    blocks = [F.lit(1) + F.ceil(size / F.lit(BLOCK)) for size in members]
    return (BLOCK * (blocks[0] + blocks[1] + blocks[2])).cast("bigint")


def buckets_of(stage_run: StageRun, images: DataFrame) -> list[Bucket]:
    """The buckets that hold images, in their order."""
    columns = ("key", "info", "number", "sha256", "size_bytes")
    rows = (
        images.groupBy("split", "bits", "of_split")
        .agg(
            F.count("*").alias("images"),
            F.sum("taken").alias("size"),
            F.bit_xor(F.xxhash64(*columns)).alias("hash"),
            F.bit_xor(F.xxhash64(F.lit(VERSION), *columns)).alias("other_hash"),
        )
        .collect()
    )
    made_of: list[Any] = [VERSION, stage_run.settings.publish.shard_bytes]
    reader = export_images.originals(stage_run)
    if not reader.has_digest:  # so images may differ in nothing here
        made_of.append(stage_run.fingerprint)
    if export_images.is_tiled(stage_run) and reader.ranges != ValueRanges():
        made_of.append(asdict(reader.ranges))
    buckets = [
        Bucket(**known, content=fingerprint([*made_of, *known.values(), *hashes]))
        for known, hashes in map(_parted, rows)
    ]
    return sorted(buckets, key=lambda bucket: (bucket.split, bucket.of_split))


def _parted(row: Row) -> tuple[dict[str, Any], list[int]]:
    values = row.asDict()
    return values, [values.pop("hash"), values.pop("other_hash")]


def reusable(
    folder: ExportFolder, shards: Iterable[Shard], buckets: Iterable[Bucket]
) -> dict[str, list[Shard]]:
    """The shards of an earlier export that are right as they are, by the content of buckets."""
    sizes = folder.sizes()
    images = {bucket.content: bucket.images for bucket in buckets}
    kept: dict[str, list[Shard]] = {}
    for shard in shards:
        if shard.content in images and sizes.get(shard.file) == shard.bytes:
            kept.setdefault(shard.content, []).append(shard)
    return {
        content: of_bucket
        for content, of_bucket in kept.items()
        if sum(shard.images for shard in of_bucket) == images[content]
    }


def written(
    stage_run: StageRun, folder: ExportFolder, images: DataFrame, buckets: Sequence[Bucket]
) -> Iterator[Iterator[Place]]:
    """Yield for each of the buckets, in their order, what places its shards.

    In a mounted folder tasks have written them by then. Elsewhere the driver alone can write: tasks
    send it the samples.
    """
    if not buckets:
        return
    reader = SampleReader(export_images.originals(stage_run))
    most, aside = stage_run.settings.publish.shard_bytes, folder.local_aside
    if aside is None:
        rows = in_tasks(stage_run, images, buckets, _extra_bits(buckets))
        samples = arrow_frames.mapped(rows, reader.rows, SAMPLES).toLocalIterator()
        yield from placed_by_driver(folder, samples, most)
        return
    aside.mkdir(parents=True, exist_ok=True)
    rows = in_tasks(stage_run, images, buckets, 0)
    answers = arrow_frames.mapped(rows, ShardWriter(reader, aside, most).rows, SHARDS).collect()
    yield from placed_by_tasks(folder, aside, answers)


def _extra_bits(buckets: Sequence[Bucket]) -> int:
    """The bits by which buckets are divided among partitions of about SENT_BYTES at most."""
    largest = max(bucket.size for bucket in buckets)
    return min(BITS - max(bucket.bits for bucket in buckets), _bits(largest, SENT_BYTES))


def in_tasks(
    stage_run: StageRun, images: DataFrame, buckets: Sequence[Bucket], extra: int
) -> DataFrame:
    """The images of these buckets, each in the partition of its bucket, in the order of the keys.

    extra: the bits by which a bucket is divided among partitions that follow each other.
    """
    schema = arrow_frames.struct("split string, of_split int, bucket int")
    numbers = [(each.split, each.of_split, number) for number, each in enumerate(buckets)]
    wanted = F.broadcast(arrow_frames.frame(stage_run.spark, numbers, schema))
    rows = images.join(wanted, on=["split", "of_split"], how="inner")
    within = F.expr(f"shiftright(head, {BITS} - bits - {extra}) & {2**extra - 1}")
    task = (F.col("bucket") * 2**extra + within).cast("int")
    rows = export_images.with_contents(stage_run, rows.withColumn("task", task))
    tasks = len(buckets) << extra
    rows = rows.select("bucket", "task", *READ).repartitionById(tasks, F.col("task"))
    rows = export_images.with_remote_contents(stage_run, rows, tasks)
    return rows.sortWithinPartitions("bucket", "key")


def placed_by_tasks(
    folder: ExportFolder, aside: Path, answers: Sequence[Row]
) -> Iterator[Iterator[Place]]:
    """Yield what renames the shards that tasks wrote, by bucket. Raises JobError for problems."""
    check(answers)
    files = [shared_folder.WrittenFile(row.file, row["size"]) for row in answers]
    shared_folder.check_written(aside, files)
    by_part = sorted(answers, key=lambda row: (row.bucket, row.part))
    for _, rows in groupby(by_part, lambda row: row.bucket):
        yield (partial(_renamed, folder, row) for row in rows)


def _renamed(folder: ExportFolder, row: Row, name: str) -> Written:
    folder.files.rename(f"{folder.aside}/{row.file}", f"{folder.aside}/{name}")
    return Written(row.images, row["size"], row.sha256)


def placed_by_driver(
    folder: ExportFolder, samples: Iterator[Row], most: int
) -> Iterator[Iterator[Place]]:
    """Yield what writes the shards of samples that tasks send, by bucket."""
    parts = in_parts(_received(samples), most)
    for _, of_bucket in groupby(parts, lambda part: part[0].bucket):
        yield (partial(_saved, folder, data) for _, data in of_bucket)


def _received(rows: Iterator[Row]) -> Iterator[Sample]:
    for row in rows:
        check((row,))
        yield Sample(row.bucket, bytes(row.data))


def _saved(folder: ExportFolder, samples: Iterator[bytes], name: str) -> Written:
    counted = Counted(samples)
    folder.files.write_parts(f"{folder.aside}/{name}", counted)
    return counted.written


def check(answers: Iterable[Row]) -> None:
    """Raise JobError for the first image that a task could not export."""
    problems = [row.problem for row in answers if row.problem is not None]
    if problems:
        more = f" (and {len(problems) - 1:,} more tasks found one)" if len(problems) > 1 else ""
        raise JobError(f"publish.export: {problems[0]}{more}")


def named(
    folder: ExportFolder,
    buckets: Iterable[Bucket],
    kept: Mapping[str, Sequence[Shard]],
    made: Iterator[Iterator[Place]],
) -> list[Shard]:
    """Number the shards of each split from 0 on, and bring all of them together in the new folder.

    made: of the buckets that are not kept, in their order.
    """
    count: Counter[str] = Counter()
    shards = []

    def name(split: str) -> str:
        count[split] += 1
        return f"{safe_name(split)}-{count[split] - 1:06}.tar"

    for bucket in buckets:
        for shard in kept.get(bucket.content, ()):
            file = name(bucket.split)
            folder.files.link_or_copy(folder.named(shard.file), f"{folder.aside}/{file}")
            shards.append(replace(shard, file=file))
        if bucket.content in kept:
            continue
        for place in next(made):
            file = name(bucket.split)
            images, size, sha256 = place(file)
            shards.append(Shard(file, bucket.split, images, size, sha256, bucket.content))
    return shards


def index_of(stage_run: StageRun, shards: Sequence[Shard]) -> dict[str, Any]:
    """What `index.json` says, beside what the folder adds."""
    splits: dict[str, dict[str, int]] = {}
    for shard in shards:
        of_split = splits.setdefault(shard.split, {"shards": 0, "images": 0, "bytes": 0})
        for key, value in (("shards", 1), ("images", shard.images), ("bytes", shard.bytes)):
            of_split[key] += value
    return {
        **export_images.provenance(stage_run, WEBDATASET),
        "classes": export_images.labels(stage_run),
        "splits": splits,
        "shards": [asdict(shard) for shard in shards],
    }


def summarise(stage_run: StageRun, folder: ExportFolder, shards: Sequence[Shard], kept: int) -> str:
    """Set the counts for the table `runs`; return a line for the console."""
    images = sum(shard.images for shard in shards)
    stage_run.rows |= {"shards": len(shards), "shards_kept": kept, "images_in_shards": images}
    as_they_were = f" ({kept:,} as they were)" if kept else ""
    count = "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"
    return f"{images:,} images in {count}{as_they_were}: {folder.path}"
