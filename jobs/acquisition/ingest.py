"""The stage `ingest`: turns source files, or the rows of a table, into rows of `images`.

What cannot be used becomes a row of `rejects` with the reason. Only what is new or changed since an
earlier run is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import sources, value_ranges, withdrawn
from jobs.acquisition.value_ranges import ValueRanges
from jobs.acquisition.withdrawn import Withdrawn
from jobs.errors import SettingsError
from jobs.runtime import long_writes, session
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun
from jobs.settings.acquisition import Ingest
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import UNFINISHED, fingerprint
from jobs.warehouse.parquet_write import ArrowTransform
from udfs.acquisition.levels import FLAT

VERSION = 5
PIXELS_VERSION = 3  # raised when the column `pixels` changes; until then latents stay valid
FILE_BYTES = 256 << 20  # size to aim at for a file of the table images
# Stored pixels are assumed to take 10 times the bytes of the source file; vectors do not grow.
EXPANSION = 10
# Rejects that are looked at again whenever the stage runs: it may have more memory now, another
# limit, or the right to read the file. What is withdrawn stands for no file.
RETRIED = (
    *("vanished", "unreachable", "changed", "crashed", "too_large", "too_slow", "outside"),
    withdrawn.CODE,
)
NO_LABEL = "missing_label"
FILE_KEY = ["path", "size_bytes", "modified_at"]  # a file with all three equal is not read again
IMAGES = tables.TABLES["images"].schema
REJECTS = tables.TABLES["rejects"].schema


def main(stage_run: StageRun) -> None:
    """Source files or a table's rows → images, rejects."""
    source = stage_run.run.once(sources.of_run)
    decoding_fingerprint = fingerprint(decoding_inputs(stage_run.run))
    source.log_notices(stage_run.console)
    stage_run.progress_total = source.count
    if not stage_run.settings.ingest.tiling:  # of a file may come any number of tiles
        session.plan_for(stage_run.spark, source.count)
    out = Withdrawn.of(stage_run)
    record_withdrawn(stage_run, out)
    reusable = reusable_rows(stage_run, source, decoding_fingerprint, out)
    check_types(stage_run, source)
    listed, duplicate_ids = unique(source, stage_run.settings.ingest)
    previous = previous_images(stage_run, source)
    record_vanished(stage_run, listed, source, previous, out)
    candidates = out.without(listed)
    write_images(stage_run, candidates, reusable, source, decoding_fingerprint, out)
    if previous is None and all_used(stage_run, source):
        rejects: DataFrame | pa.Table = tables.rows("rejects", []) if not out.ids else out.rows
    else:
        failed = rejected(stage_run, candidates, reusable, source, out).unionByName(duplicate_ids)
        gone = still_vanished(stage_run, listed, source, previous is not None)
        rejects = failed.unionByName(out.without(gone)).unionByName(out.rows)
    stage_run.write(rejects, "rejects", where="stage = 'ingest'")
    summarise(stage_run)


def decoding_inputs(run: RunContext) -> dict[str, Any]:
    """What decides how source files become images: settings, the root and this version."""
    source = run.once(sources.of_run)
    return source.decoding_inputs(run.settings.ingest) | {"version": VERSION}


def depends(run: RunContext) -> dict[str, Any]:
    """What decides how source files are read, and the hash of their listing."""
    inputs = decoding_inputs(run)
    constant = ("tasks", "vector_name")  # see Source.decoding_inputs
    limits = run.settings.ingest.limits
    named = inputs | limits
    named = {f"ingest.{key}": value for key, value in named.items() if key not in constant}
    # Warehouses of before there were such limits stay up to date.
    changed = {key: value for key, value in limits.items() if value != getattr(Ingest, key)}
    return {
        "decoding": NamedValues(named, hashed=fingerprint(inputs | changed)),
        "content": run.once(sources.of_run).content,
    }


@dataclass(frozen=True)
class ReusableRows:
    """The rows that an earlier run over the same root, decoded the same way, wrote."""

    images: DataFrame
    rejects: DataFrame


def record_withdrawn(stage_run: StageRun, out: Withdrawn) -> None:
    """Write the images that must stay out to `rejects` before they leave `images`.

    In this order a run that dies between the two tables lets none of them in again.
    """
    if out.has_new:
        where = f"error_code = '{withdrawn.CODE}'"
        stage_run.write(out.rows, "rejects", where=where, finished=False)


def reusable_rows(
    stage_run: StageRun, source: sources.Source, decoding_fingerprint: str, out: Withdrawn
) -> ReusableRows | None:
    """Return rows that can be reused for unchanged files; None if every file is to be read.

    decoding_fingerprint: of `decoding_inputs`, which that run must have recorded. Rejects that may
    turn out otherwise when the file is read again are not among them. Nothing tells which rows of a
    table changed, so they are reused only if none did, nor did others change `images` since; and
    rejects of a table never are.
    """
    commit = stage_run.previous_commit("images")
    if commit is None or stage_run.is_overwritten:
        return None
    if commit.metadata.get("decoding") != decoding_fingerprint:
        return None
    is_same = commit.metadata.get("source") == source.fingerprint(stage_run.settings.ingest)
    if not source.is_folder and (commit.changes or not is_same):
        return None
    images, rejects = stage_run.previous("images"), stage_run.previous("rejects")
    assert images is not None  # it has a commit
    if rejects is None or not source.is_folder:
        rejects = arrow_frames.frame(stage_run.spark, [], REJECTS)
    rejects = rejects.where("stage = 'ingest'")
    return ReusableRows(
        images=out.without(images),
        rejects=rejects.where(~F.col("error_code").isin(*RETRIED)),
    )


def check_types(stage_run: StageRun, source: sources.Source) -> None:
    """Raise SettingsError if a caller's column has another type than it has in `images`."""
    images = stage_run.previous("images")
    if images is None:
        return
    stored = sources.column_types(images.schema)
    new = sources.column_types(source.frame.schema)
    changed = [
        f"column {name!r} is {new[name].simpleString()}, but {stored[name].simpleString()} in the "
        "table images: cast it back, or give another --warehouse"
        for name in new.keys() & stored.keys()
        if new[name].simpleString() != stored[name].simpleString()
    ]
    if changed:
        raise SettingsError("\n".join(changed))


def unique(source: sources.Source, settings: Ingest) -> tuple[DataFrame, DataFrame]:
    """Return the candidates with one row per id, and the other rows of repeated ids as rejects.

    Of rows with the same id the one with the smallest sha256 stays, then the smallest path. Only
    rows that can become an image compete, since one without a class must not push another out.
    """
    rows = source.frame
    nothing = arrow_frames.frame(rows.sparkSession, [], REJECTS)
    if source.is_folder:  # the id is the path, and no path is listed twice
        return rows, nothing
    complete = rows.where(_is_complete())
    repeated = complete.groupBy("image_id").count().where("count > 1").select("image_id")
    if repeated.isEmpty():
        return rows, nothing
    schema = T.StructType([*rows.schema, *arrow_frames.struct("_usable int, sha256 string")])
    hashed = complete.join(repeated, on="image_id", how="left_semi").select(rows.columns)
    slots = session.slots(rows.sparkSession)
    hashed = source.with_contents(hashed.repartition(slots), slots) if source.is_remote else hashed
    hashed = arrow_frames.mapped(hashed, source.reader(settings).hashed_rows, schema)
    first = Window.partitionBy("image_id").orderBy(
        F.desc("_usable"),
        F.asc("sha256"),
        F.asc_nulls_last("path"),
        F.asc("label"),
        F.asc_nulls_last("split"),
    )
    ranked = hashed.withColumn("_place", F.row_number().over(first))
    message = F.concat(
        F.lit("another row has the id "),
        F.col("image_id"),
        F.lit(" and a smaller sha256; give every image an id of its own"),
    )
    rejects = ranked.where("_place > 1").select(*_reject_columns(F.lit("duplicate_id"), message))
    others = complete.join(repeated, on="image_id", how="left_anti").select(rows.columns)
    others = others.unionByName(rows.where(~_is_complete()))
    return others.unionByName(ranked.where("_place = 1").select(rows.columns)), rejects


def previous_images(stage_run: StageRun, source: sources.Source) -> DataFrame | None:
    """Return the images of an earlier run over the same root, however it decoded them.

    They are those of the last run that finished the table, since one that was killed may have left
    a part of them. The ids are those of files: a tile has its file's. None if there was no such
    run.
    """
    commit, images = stage_run.previous_commit("images"), stage_run.previous("images")
    if commit is None or images is None or not source.is_of(commit):
        return None
    store = stage_run.warehouse
    if commit.fingerprint == UNFINISHED:
        ours = (each for each in store.commits("images") if each.stage == stage_run.name)
        finished = next((each for each in ours if each.fingerprint != UNFINISHED), None)
        if finished and source.is_of(finished) and store.is_readable("images", finished.version):
            commit, images = finished, store.read("images", finished.version)
    if commit.metadata["tiled"]:
        images = images.withColumn("image_id", _base_id(F.col("image_id")))
    return images


def record_vanished(
    stage_run: StageRun,
    candidates: DataFrame,
    source: sources.Source,
    previous: DataFrame | None,
    out: Withdrawn,
) -> None:
    """Append images whose file or row is gone to `rejects`, before they leave `images`.

    In this order a run that dies between the two tables loses none of them.
    """
    if previous is None:
        return
    gone = (
        out.without(previous)
        .join(candidates.select(source.key), on=source.key, how="left_anti")
        .groupBy("image_id")
        .agg(
            F.first("path").alias("path"),
            F.first("size_bytes").alias("size_bytes"),
            F.first("modified_at").alias("modified_at"),
        )
        .select(*_reject_columns(F.lit("vanished"), F.lit("it is no longer there")))
    )
    if not gone.isEmpty():
        stage_run.write(gone, "rejects", append=True, finished=False)


def write_images(
    stage_run: StageRun,
    candidates: DataFrame,
    reusable: ReusableRows | None,
    source: sources.Source,
    decoding_fingerprint: str,
    out: Withdrawn,
) -> None:
    """Write `images`: the rows of unchanged files as they are, those of other candidates decoded.

    Rows of files that are gone leave the table first, then new ones are added. So a run that is
    killed meanwhile leaves what it had decoded to the next one.
    """
    if "images" not in stage_run.pending:
        return
    new = unread(candidates, reusable, source, stage_run)
    ranges = value_ranges.fixed(stage_run, source, new)
    metadata = images_metadata(stage_run.settings.ingest, source, decoding_fingerprint, ranges)
    metadata = combined(metadata, out.metadata(reused=reusable is not None))
    resumable = resumable_by(source, decoding_fingerprint, ranges)
    if stage_run.adopt("images", resumable, metadata):
        reusable = reusable_rows(stage_run, source, decoding_fingerprint, out)
    if reusable is not None:
        stage_run.log_kept("images")

    def images_of(part: DataFrame, share: float) -> ArrowTransform:
        return out.filtered(decoded(stage_run, part, source, ranges, resumable, share))

    # Each part reads the source: a table that holds the bytes is written at once.
    count, key = 0 if source.holds_bytes else source.count, source.key
    if reusable is None:
        long_writes.write(
            stage_run, "images", candidates, images_of, key=key, count=count, metadata=metadata
        )
        return
    new = unread(candidates, reusable, source, stage_run)
    reused = small_enough(reusable, stage_run)
    if source.is_folder:
        reused = reused.join(candidates.select(FILE_KEY), on=FILE_KEY, how="left_semi")
        reused = reused.select(reusable.images.columns)
    stage_run.progress_total = None  # how many are new is not counted
    if reused.count() < stage_run.warehouse.count("images"):
        stage_run.write(reused, "images", metadata=metadata, finished=False)
    long_writes.write(
        stage_run,
        "images",
        new,
        images_of,
        key=key,
        count=_read_again(stage_run, new, count),
        append=True,
        metadata=metadata,
    )


def small_enough(reusable: ReusableRows, stage_run: StageRun) -> DataFrame:
    """Return the reusable images whose file is not larger than is read now."""
    size = F.coalesce("size_bytes", F.lit(0))  # a row of a table of vectors has none
    return reusable.images.where(size <= stage_run.settings.ingest.max_bytes)


def unread(
    candidates: DataFrame,
    reusable: ReusableRows | None,
    source: sources.Source,
    stage_run: StageRun,
) -> DataFrame:
    """Return the candidates that no earlier run has read, or that have changed since."""
    if reusable is None:
        return candidates
    if not source.is_folder:
        base = F.col("image_id")
        base = _base_id(base) if stage_run.settings.ingest.tiling else base
        read = small_enough(reusable, stage_run).select(base.alias("image_id")).distinct()
        return candidates.join(read, on="image_id", how="left_anti").select(candidates.columns)
    images = small_enough(reusable, stage_run).select(FILE_KEY)
    unchanged = images.unionByName(reusable.rejects.select(FILE_KEY)).distinct()
    new = candidates.join(unchanged, on=FILE_KEY, how="left_anti")
    return new.select(candidates.columns)


def resumable_by(source: sources.Source, decoding_fingerprint: str, ranges: ValueRanges) -> str:
    """Return what parts of `images` that a stopped run wrote must have been decoded by.

    It holds the ranges, since a stopped run may have seen other files, and of a table its content.
    """
    parts: list[Any] = [ranges.by_class] if ranges.by_class else []
    if not source.is_folder:
        parts.append(source.content)
    return fingerprint([decoding_fingerprint, *parts]) if parts else decoding_fingerprint


def images_metadata(
    settings: Ingest, source: sources.Source, decoding_fingerprint: str, ranges: ValueRanges
) -> dict[str, Any]:
    """What the commit of `images` records for later runs and for the stages that read it."""
    epoch = {"ranges": ranges.epoch} if ranges.epoch else {}
    metadata = {
        "decoding": decoding_fingerprint,
        "pixels": fingerprint(settings.decoding | {"version": PIXELS_VERSION} | epoch),
        "root": source.root,
        "renamed": source.renamed,
        "tiled": bool(settings.tiling),
        "source": source.fingerprint(settings),
        "vectors": source.width is not None,
        "pictures": bool(settings.pictures),
    }
    return metadata | ranges.metadata()


def combined(metadata: dict[str, Any], withdrawn: dict[str, Any]) -> dict[str, Any]:
    """Return both parts of a commit's metadata; their `content`, if they have one, as one."""
    content = [part["content"] for part in (metadata, withdrawn) if "content" in part]
    whole = metadata | withdrawn
    return whole | {"content": "|".join(content)} if content else whole


def decoded(
    stage_run: StageRun,
    candidates: DataFrame,
    source: sources.Source,
    ranges: ValueRanges,
    resumable: str,
    share: float,
) -> ArrowTransform:
    """Candidates as rows of `images`: read, hashed, decoded and cut on the executors, once.

    share: of all candidates, that these are.
    """
    callers = [field for field in candidates.schema if field.name not in sources.OURS]
    schema = T.StructType([*IMAGES.fields[:-1], *callers, IMAGES.fields[-1]])
    settings = stage_run.settings.ingest
    slots, pixels = session.slots(stage_run.spark), bool(settings.pictures)
    tasks = settings.tasks or _tasks(source, slots, share, has_pixels=pixels)
    shared = candidates.where(_is_complete()).repartitionByRange(tasks, "label", "image_id")
    in_order = source.with_contents(shared, tasks).sortWithinPartitions("label", "image_id")
    reader = source.reader(settings, ranges.by_class)
    goes_on = _is_of_same_frame if settings.tiling else None
    return ArrowTransform(in_order, reader.image_rows, schema, resumable, goes_on)


def _is_of_same_frame(before: pa.Table, after: pa.Table) -> bool:
    """Whether the first tile of a table was cut from the same frame as the last one before it.

    A frame some of whose tiles are there counts as read.
    """
    last, first = before.column("image_id")[-1].as_py(), after.column("image_id")[0].as_py()
    return bool(withdrawn.TILE.sub("", last) == withdrawn.TILE.sub("", first))


def all_used(stage_run: StageRun, source: sources.Source) -> bool:
    """Whether every file of a folder became an image, so that there are no rejects to look for.

    To look for them would take Spark seconds.
    """
    if not source.is_folder:
        return False
    (used,) = stage_run.query("images", "SELECT count(DISTINCT path) AS files FROM rows")
    return int(used["files"]) == source.count


def rejected(
    stage_run: StageRun,
    candidates: DataFrame,
    reusable: ReusableRows | None,
    source: sources.Source,
    out: Withdrawn,
) -> DataFrame:
    """Return a row of `rejects` for each candidate that became no image.

    These candidates are read a second time, rather than caching the pixels of all images; and so
    the result is the same after a run that died between the two tables.
    """
    base = F.col("image_id")
    if stage_run.settings.ingest.tiling:
        base = _base_id(base)
    used = stage_run.read("images").select(base.alias("image_id")).distinct()
    complete = candidates.where(_is_complete())
    unusable = complete.join(used, on="image_id", how="left_anti").select(candidates.columns)
    reused = arrow_frames.frame(stage_run.spark, [], REJECTS)
    if reusable is not None:
        reused = reusable.rejects.join(unusable.select(FILE_KEY), on=FILE_KEY, how="left_semi")
        reused = reused.select(REJECTS.names).where(F.col("error_code") != NO_LABEL)
        unusable = unusable.join(reused.select(FILE_KEY), on=FILE_KEY, how="left_anti")
        unusable = unusable.select(candidates.columns)
    slots = session.slots(stage_run.spark)
    shared = source.with_contents(unusable.repartition(slots), slots)
    failed = arrow_frames.mapped(
        shared, source.reader(stage_run.settings.ingest).reject_rows, REJECTS
    )
    return failed.unionByName(reused).unionByName(
        incomplete(candidates, has_images=source.width is None)
    )


def incomplete(candidates: DataFrame, *, has_images: bool) -> DataFrame:
    """Return a row of `rejects` for each candidate without an image, an id or a class.

    has_images: whether the source holds images; of vectors alone no row has one.
    """
    no_bytes = F.col("content").isNull() & F.col("path").isNull()
    nothing = F.lit(has_images) & no_bytes & F.col("image_id").isNull()
    no_image = F.lit(
        "the row has no image, neither bytes nor a path: fill the column that ingest.image_column "
        "names, or leave the row out"
    )
    no_id = F.lit("the row has no id: fill the column that ingest.id_column names")
    no_label = F.lit("it has no class: put it into a folder, or fill ingest.label_column's column")
    message = F.when(nothing, no_image).when(F.col("image_id").isNull(), no_id).otherwise(no_label)
    code = F.when(nothing, F.lit("empty")).otherwise(F.lit(NO_LABEL))
    return candidates.where(~_is_complete()).select(*_reject_columns(code, message))


def still_vanished(
    stage_run: StageRun, candidates: DataFrame, source: sources.Source, same_root: bool
) -> DataFrame:
    """Return the rows of `rejects` of images that vanished from this root and have not come back.

    same_root: whether the earlier images are of this root; else there are none.
    """
    warehouse = stage_run.warehouse
    if not same_root or not warehouse.exists("rejects"):
        return arrow_frames.frame(stage_run.spark, [], REJECTS)
    rows = warehouse.read("rejects").where("stage = 'ingest' AND error_code = 'vanished'")
    back = candidates.select(source.key)
    gone = rows.join(back, on=source.key, how="left_anti").dropDuplicates(["image_id"])
    return gone.select(REJECTS.names)


def summarise(stage_run: StageRun) -> None:
    """Set the counts of rows for the table `runs` and the console."""
    warehouse = stage_run.warehouse
    stage_run.rows["images"] = warehouse.count("images")
    stage_run.rows["rejects"] = warehouse.count("rejects", "stage = 'ingest'")
    flat = stage_run.rows["flat"] = warehouse.count("images", f"levels < {FLAT}")
    if flat:
        stage_run.console.warn(
            f"{flat:,} images show one colour or next to nothing (fewer than {FLAT} levels): "
            f"SELECT image_id FROM images WHERE levels < {FLAT}"
        )
    stage_run.summary = (
        f"{stage_run.rows['images']:,} images, {stage_run.rows['rejects']:,} rejects"
    )


def _is_complete() -> Column:
    return F.col("image_id").isNotNull() & (F.coalesce(F.col("label"), F.lit("")) != "")


def _base_id(image_id: Column) -> Column:
    """The id of the file that a tile was cut from."""
    return F.regexp_replace(image_id, r"#\d+,\d+$", "")


def _reject_columns(code: Column, message: Column) -> list[Column]:
    return [
        F.col("path"),
        F.col("image_id"),
        F.col("size_bytes"),
        F.col("modified_at"),
        F.lit("ingest").alias("stage"),
        code.alias("error_code"),
        message.alias("error_message"),
    ]


def _tasks(source: sources.Source, slots: int, share: float, *, has_pixels: bool) -> int:
    """The number of tasks: one for each FILE_BYTES of `images`, or up to 4 a slot if that is more.

    A task gets 64 candidates at least, unless FILE_BYTES asks for less. share: of the candidates.
    """
    expansion = EXPANSION if has_pixels else 1
    by_size = math.ceil(share * source.size_bytes * expansion / FILE_BYTES)
    return max(1, by_size, min(4 * slots, int(share * source.count) // 64))


def _read_again(stage_run: StageRun, new: DataFrame, count: int) -> int:
    """The number of candidates that are read, where it decides how they are written; else 0."""
    many = count >= 2 * long_writes.LEAST and not stage_run.warehouse.adopts
    return new.count() if many else 0


STAGE = Stage(
    "ingest",
    main,
    writes=("images", "rejects"),
    depends=depends,
    version=VERSION,
    disturbed_by=withdrawn.disturbed_by,
)
