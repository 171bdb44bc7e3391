"""ingest: source files become rows of `images`; what cannot be used becomes a row of `rejects`.

So do the rows of a table, of images or of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import sources
from jobs.errors import SettingsError
from jobs.runtime import session
from jobs.runtime.stage import Details, RunContext, Stage, StageRun
from jobs.settings.acquisition import Ingest
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.parquet_write import ArrowTransform

VERSION = 1
FILE_BYTES = 256 << 20  # of a file of the table images
EXPANSION = 10  # a JPEG's pixels against its bytes; vectors become no pixels
FILE_KEY = ["path", "size_bytes", "modified_at"]  # a file with all three equal is not read again
IMAGES = tables.TABLES["images"].schema
REJECTS = tables.TABLES["rejects"].schema


def main(stage_run: StageRun) -> None:
    """Source files or a table's rows → images, rejects."""
    source = stage_run.run.once(sources.of_run)
    decoding = fingerprint(reading(stage_run.run))
    source.say(stage_run.console)
    stage_run.images = source.count
    earlier = find_earlier(stage_run, source, decoding)
    check_types(stage_run, source)
    candidates, losers = unique(source, stage_run.settings.ingest)
    known = earlier_images(stage_run, source)
    record_vanished(stage_run, candidates, source, known)
    write_images(stage_run, candidates, earlier, source, decoding)
    if known is None and all_used(stage_run, source):
        rejects: DataFrame | pa.Table = tables.rows("rejects", [])
    else:
        failed = examined(stage_run, candidates, earlier, source).unionByName(losers)
        gone = still_vanished(stage_run, candidates, source, known is not None)
        rejects = failed.unionByName(gone)
    stage_run.write(rejects, "rejects", where="stage = 'ingest'")
    summarise(stage_run, source)


def reading(run: RunContext) -> dict[str, Any]:
    """How source files become images: the settings that decide it, the root, the version."""
    source = run.once(sources.of_run)
    return source.reading(run.settings.ingest) | {"version": VERSION}


def depends(run: RunContext) -> dict[str, Any]:
    """How source files are read, and the hash of their listing."""
    return {"decoding": Details(reading(run)), "content": run.once(sources.of_run).content}


@dataclass(frozen=True)
class Earlier:
    """What an earlier run over the same root, decoded the same way, left in the warehouse."""

    images: DataFrame
    rejects: DataFrame


def find_earlier(stage_run: StageRun, source: sources.Source, decoding: str) -> Earlier | None:
    """The rows of an earlier run that may stay; None where all is to be read anew."""
    commit = stage_run.previous_commit("images")
    if commit is None or not source.is_folder or "ingest" in stage_run.settings.overwrite:
        return None
    if commit.metadata.get("decoding") != decoding:
        return None
    images, rejects = stage_run.previous("images"), stage_run.previous("rejects")
    assert images is not None  # it has a commit
    if rejects is None:
        rejects = arrow_frames.frame(stage_run.spark, [], REJECTS)
    rejects = rejects.where("stage = 'ingest'")
    return Earlier(
        images=images,
        rejects=rejects.where("error_code NOT IN ('vanished', 'unreachable', 'changed')"),
    )


def check_types(stage_run: StageRun, source: sources.Source) -> None:
    """Refuse a caller's column that comes with another type than it has in `images`."""
    images = stage_run.previous("images")
    if images is None:
        return
    stored = sources.column_types(images.schema)
    come = sources.column_types(source.frame.schema)
    changed = [
        f"column {name!r} is {come[name].simpleString()}, but {stored[name].simpleString()} in the "
        "table images: cast it back, or give another --warehouse"
        for name in come.keys() & stored.keys()
        if come[name].simpleString() != stored[name].simpleString()
    ]
    if changed:
        raise SettingsError("\n".join(changed))


def unique(source: sources.Source, settings: Ingest) -> tuple[DataFrame, DataFrame]:
    """One row per id, and the others as rejects: the smallest sha256 stays, then the path.

    Only rows that can become an image compete: one without a class must not push another out.
    """
    rows = source.frame
    nothing = arrow_frames.frame(rows.sparkSession, [], REJECTS)
    if source.is_folder:  # a path is there once
        return rows, nothing
    complete = rows.where(_is_complete())
    twice = complete.groupBy("image_id").count().where("count > 1").select("image_id")
    if twice.isEmpty():
        return rows, nothing
    schema = T.StructType([*rows.schema, *arrow_frames.struct("_usable int, sha256 string")])
    hashed = complete.join(twice, on="image_id", how="left_semi").select(rows.columns)
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
    losers = ranked.where("_place > 1").select(*_reject_columns("duplicate_id", message))
    alone = complete.join(twice, on="image_id", how="left_anti").select(rows.columns)
    alone = alone.unionByName(rows.where(~_is_complete()))
    return alone.unionByName(ranked.where("_place = 1").select(rows.columns)), losers


def earlier_images(stage_run: StageRun, source: sources.Source) -> DataFrame | None:
    """The images that an earlier run found in the same place, however it decoded them."""
    commit, images = stage_run.previous_commit("images"), stage_run.previous("images")
    if commit is None or images is None or commit.metadata.get("root") != source.root:
        return None
    if commit.metadata["tiled"]:
        images = images.withColumn("image_id", _base_id(F.col("image_id")))
    return images


def record_vanished(
    stage_run: StageRun, candidates: DataFrame, source: sources.Source, known: DataFrame | None
) -> None:
    """Note images that are gone before they leave `images`: a crash then loses none."""
    if known is None:
        return
    gone = (
        known.join(candidates.select(source.key), on=source.key, how="left_anti")
        .groupBy("image_id")
        .agg(
            F.first("path").alias("path"),
            F.first("size_bytes").alias("size_bytes"),
            F.first("modified_at").alias("modified_at"),
        )
        .select(*_reject_columns("vanished", F.lit("it is no longer there")))
    )
    if not gone.isEmpty():
        stage_run.write(gone, "rejects", append=True, finished=False)


def write_images(
    stage_run: StageRun,
    candidates: DataFrame,
    earlier: Earlier | None,
    source: sources.Source,
    decoding: str,
) -> None:
    """Decode what is new; rows of files that are as they were stay as they are."""
    if "images" not in stage_run.pending:
        return
    pixels = fingerprint(stage_run.settings.ingest.decoding | {"version": VERSION})
    metadata: dict[str, Any] = {"decoding": decoding, "pixels": pixels, "root": source.root}
    metadata |= {"renamed": source.renamed, "tiled": bool(stage_run.settings.ingest.tiling)}
    metadata |= {
        "source": source.mark(stage_run.settings.ingest),
        "vectors": source.width is not None,
    }
    if earlier is None:
        stage_run.write(decoded(stage_run, candidates, source), "images", metadata=metadata)
        return
    seen = earlier.images.select(FILE_KEY).unionByName(earlier.rejects.select(FILE_KEY)).distinct()
    fresh = candidates.join(seen, on=FILE_KEY, how="left_anti").select(candidates.columns)
    stays = earlier.images.join(candidates.select(FILE_KEY), on=FILE_KEY, how="left_semi")
    stays = stays.select(earlier.images.columns)
    stage_run.images = None  # how many are fresh, nobody has counted
    rows = decoded(stage_run, fresh, source)
    if stays.count() == earlier.images.count():
        stage_run.write(rows, "images", append=True, metadata=metadata)
    else:
        stage_run.write(stays.unionByName(rows.mapped()), "images", metadata=metadata)


def decoded(stage_run: StageRun, candidates: DataFrame, source: sources.Source) -> ArrowTransform:
    """Candidates as rows of `images`: read, hashed, decoded and cut on the executors, once."""
    own = [field for field in candidates.schema if field.name not in sources.OURS]
    schema = T.StructType([*IMAGES.fields[:-1], *own, IMAGES.fields[-1]])
    settings = stage_run.settings.ingest
    tasks = settings.tasks or _tasks(source, session.slots(stage_run.spark))
    shared = candidates.where(_is_complete()).repartitionByRange(tasks, "label", "image_id")
    in_order = shared.sortWithinPartitions("label", "image_id")
    return ArrowTransform(in_order, source.reader(settings).image_rows, schema)


def all_used(stage_run: StageRun, source: sources.Source) -> bool:
    """Whether every file of a folder became an image; looking for others takes Spark seconds."""
    if not source.is_folder:
        return False
    (used,) = stage_run.query("images", "SELECT count(DISTINCT path) AS files FROM rows")
    return int(used["files"]) == source.count


def examined(
    stage_run: StageRun, candidates: DataFrame, earlier: Earlier | None, source: sources.Source
) -> DataFrame:
    """Why the candidates that are no images are none.

    They are looked at once more, instead of carrying every image's pixels past a cache; so the
    answer is the same after a run that died between the two tables.
    """
    base = F.col("image_id")
    if stage_run.settings.ingest.tiling:
        base = _base_id(base)
    used = stage_run.read("images").select(base.alias("image_id")).distinct()
    complete = candidates.where(_is_complete())
    unusable = complete.join(used, on="image_id", how="left_anti").select(candidates.columns)
    kept = arrow_frames.frame(stage_run.spark, [], REJECTS)
    if earlier is not None:
        kept = earlier.rejects.join(unusable.select(FILE_KEY), on=FILE_KEY, how="left_semi")
        kept = kept.select(REJECTS.names).where("error_code != 'missing_label'")
        unusable = unusable.join(kept.select(FILE_KEY), on=FILE_KEY, how="left_anti")
        unusable = unusable.select(candidates.columns)
    shared = unusable.repartition(session.slots(stage_run.spark))
    failed = arrow_frames.mapped(
        shared, source.reader(stage_run.settings.ingest).reject_rows, REJECTS
    )
    no_id = F.lit("the row has no id: fill the column that ingest.id_column names")
    no_label = F.lit("it has no class: put it into a folder, or fill ingest.label_column's column")
    incomplete = candidates.where(~_is_complete()).select(
        *_reject_columns(
            "missing_label", F.when(F.col("image_id").isNull(), no_id).otherwise(no_label)
        )
    )
    return failed.unionByName(kept).unionByName(incomplete)


def still_vanished(
    stage_run: StageRun, candidates: DataFrame, source: sources.Source, same_root: bool
) -> DataFrame:
    """The rejects of vanished images of this source that have not come back."""
    warehouse = stage_run.warehouse
    if not same_root or not warehouse.exists("rejects"):
        return arrow_frames.frame(stage_run.spark, [], REJECTS)
    rows = warehouse.read("rejects").where("stage = 'ingest' AND error_code = 'vanished'")
    back = candidates.select(source.key)
    gone = rows.join(back, on=source.key, how="left_anti").dropDuplicates(["image_id"])
    return gone.select(REJECTS.names)


def summarise(stage_run: StageRun, source: sources.Source) -> None:
    """Counts for `runs` and the console."""
    warehouse = stage_run.warehouse
    stage_run.rows["images"] = warehouse.count("images")
    stage_run.rows["rejects"] = warehouse.count("rejects", "stage = 'ingest'")
    stage_run.summary = (
        f"{stage_run.rows['images']:,} images, {stage_run.rows['rejects']:,} rejects"
    )


def _is_complete() -> Column:
    return F.col("image_id").isNotNull() & (F.coalesce(F.col("label"), F.lit("")) != "")


def _base_id(image_id: Column) -> Column:
    """The id of the file that a tile was cut from."""
    return F.regexp_replace(image_id, r"#\d+,\d+$", "")


def _reject_columns(code: str, message: Column) -> list[Column]:
    return [
        F.col("path"),
        F.col("image_id"),
        F.col("size_bytes"),
        F.col("modified_at"),
        F.lit("ingest").alias("stage"),
        F.lit(code).alias("error_code"),
        message.alias("error_message"),
    ]


def _tasks(source: sources.Source, slots: int) -> int:
    """Parts of about FILE_BYTES each; a few a slot where there is enough to share out."""
    expansion = EXPANSION if source.width is None else 1
    by_size = -(-source.size_bytes * expansion // FILE_BYTES)
    return max(1, by_size, min(4 * slots, source.count // 64))


STAGE = Stage(
    "ingest",
    main,
    writes=("images", "rejects"),
    depends=depends,
    version=VERSION,
)
