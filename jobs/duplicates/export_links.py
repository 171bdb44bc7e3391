"""Export images as a folder `split/label/name` of hard links to their files.

Where no hard links can be made, since the folder or the files lie in another file system, the
export is the list of the files alone.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.duplicates import export_images
from jobs.duplicates.export_folder import ExportFolder
from jobs.duplicates.export_link_tasks import ANSWERS, NAMES, Linker, name_rows
from jobs.errors import JobError
from jobs.paths import hashed, safe_name
from jobs.runtime.session import slots
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import IMAGEFOLDER
from jobs.warehouse import arrow_frames

LIST = "files.parquet"
TASKS_A_SLOT = 4
COLUMNS = ("file", "path", "image_id", "label", "split", "weight", "group_size")


def export(stage_run: StageRun, images: DataFrame) -> str:
    """Make the links of `export_images.exported`, or the list alone; return a console line."""
    folder = ExportFolder.of(stage_run.run, IMAGEFOLDER)
    remote = check_files(images)
    folder.begin()
    folder.check_ours(folder.index(), dict.fromkeys(linked_files(folder)))
    named = with_files(images)
    obstacle = link(stage_run, folder, named) if not remote else "the images are not mounted"
    if obstacle:
        folder.files.delete(folder.aside)
        named = named.withColumn("file", F.lit(None).cast("string"))
        stage_run.console.warn(
            f"publish.export: {IMAGEFOLDER}: no hard links to the images can be made ({obstacle}); "
            f"{LIST} lists them where they are"
        )
    rows = named.select(*COLUMNS).orderBy("split", "label", "image_id").toArrow()
    folder.files.write(f"{folder.aside}/{LIST}", parquet(rows))
    folder.finish(index_of(stage_run, rows, is_linked=not obstacle))
    kind = "listed" if obstacle else "linked"
    stage_run.rows[f"images_{kind}"] = rows.num_rows
    return f"{rows.num_rows:,} images {kind}: {folder.path}"


def is_current(folder: ExportFolder, fingerprint: str) -> bool:
    """Whether the folder is an export of this fingerprint and has as many files as it should."""
    index = folder.index()
    if index is None or index["fingerprint"] != fingerprint:
        return False
    links = index["images"] if index["linked"] else 0
    sizes = folder.sizes()
    return LIST in sizes and len(sizes) == links + len(("index", LIST))


def linked_files(folder: ExportFolder) -> list[str]:
    """The names of the files of an earlier export; none without one."""
    index = folder.index()
    if index is None:
        return []
    try:
        data = folder.files.read(folder.named(LIST))
    except OSError:
        return [LIST]
    names = pq.read_table(io.BytesIO(data), columns=["file"]).column("file").to_pylist()
    return [LIST, *(name for name in names if name is not None)]


def check_files(images: DataFrame) -> bool:
    """Return whether some files lie where only Spark reads.

    Raises JobError if there are images that are no files.
    """
    counts = export_images.count_without_files(images)
    what = [
        f"{counts[key]:,} {text}"
        for key, text in (("tiles", "are tiles of frames"), ("in_tables", "are bytes in a table"))
        if counts[key]
    ]
    if what:
        raise JobError(
            f"publish.export: {IMAGEFOLDER} makes links to files, and of the images "
            f"{' and '.join(what)}: take webdataset, which writes these as files of its shards"
        )
    return bool(counts["remote"])


def with_files(images: DataFrame) -> DataFrame:
    """Add `file`, the path of an image's link below the folder; no two are the same.

    Where images of a folder have names that differ in nothing but capital letters, each gets a ~
    and the hash of its id: some file systems take such names for one.
    """
    spark = images.sparkSession
    pairs = images.select("split", "label").distinct().collect()
    splits, labels = (distinct_names({row[name] for row in pairs}) for name in ("split", "label"))
    folders = [(row.split, row.label, f"{splits[row.split]}/{labels[row.label]}") for row in pairs]
    schema = arrow_frames.struct("split string, label string, folder string")
    of_class = F.broadcast(arrow_frames.frame(spark, folders, schema))
    names = arrow_frames.mapped(images.select("image_id", "path"), name_rows, NAMES)
    rows = images.join(names, on="image_id", how="inner")
    rows = rows.join(of_class, on=["split", "label"], how="inner")
    name = F.concat("stem", "ending")
    alike = Window.partitionBy("folder", F.lower(name))
    digest = F.substring(F.sha2("image_id", 256), 1, 16)
    unique = F.concat("stem", F.lit("~"), digest, F.col("ending"))
    chosen = F.when(F.count("*").over(alike) > 1, unique).otherwise(name)
    return rows.withColumn("file", F.concat_ws("/", "folder", chosen))


def distinct_names(texts: Iterable[str]) -> dict[str, str]:
    """Return names of folders by their texts; none differs from another in capitals alone.

    >>> distinct_names(["a/b", "c"])
    {'a/b': 'a%2Fb', 'c': 'c'}
    """
    names = {text: safe_name(text) for text in sorted(texts)}
    count = Counter(name.lower() for name in names.values())
    return {
        text: f"{name}~{hashed(text)}" if count[name.lower()] > 1 else name
        for text, name in names.items()
    }


def link(stage_run: StageRun, folder: ExportFolder, images: DataFrame) -> str:
    """Link all images in the new folder; return the reason if that cannot be, else "".

    Raises JobError if a file is gone or has changed.
    """
    aside = folder.local_aside
    if aside is None:
        return f"{folder.path} is not mounted"
    for row in images.select("folder").distinct().collect():
        (aside / row.folder).mkdir(parents=True, exist_ok=True)
    tasks = TASKS_A_SLOT * slots(stage_run.spark)
    rows = images.select("file", "path", "size_bytes", "modified_at").repartition(tasks, "file")
    answers = arrow_frames.mapped(rows, Linker(aside).rows, ANSWERS).collect()
    problem = next((row.problem for row in answers if row.problem), None)
    if problem:
        raise JobError(f"publish.export: {problem}")
    return next((row.obstacle for row in answers if row.obstacle), "")


def parquet(rows: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    target = io.BytesIO()
    pq.write_table(rows, target, compression="zstd")
    return target.getvalue()


def index_of(stage_run: StageRun, rows: pa.Table, *, is_linked: bool) -> Mapping[str, Any]:
    """What `index.json` says, beside what the folder adds."""
    counts = Counter(rows.column("split").to_pylist())
    return {
        **export_images.provenance(stage_run, IMAGEFOLDER),
        "classes": export_images.labels(stage_run),
        "images": rows.num_rows,
        "splits": dict(sorted(counts.items())),
        "linked": is_linked,
        "list": LIST,
    }
