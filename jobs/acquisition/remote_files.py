"""Read images that lie in a file system which only Spark reaches: hdfs, s3a, abfss, gs.

Where images are on a mounted file system the executors' Python opens them itself (`listing`). Here
Spark's reader of binary files brings their bytes, with Spark's own credentials. It passes over
some names, such as those that begin with `_` (HIDDEN); of those the driver reads the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.acquisition.allowed_paths import is_allowed
from jobs.acquisition.listing import SourceFile
from jobs.errors import JobError, reason
from jobs.warehouse import arrow_frames
from jobs.warehouse.hadoop import HadoopFileSystem, Status

REMOTE = r"^(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/"  # of paths that are on no mounted file system
HIDDEN = re.compile(r"[_.].*|.*\._COPYING_")  # names that Spark's reader passes over
READ_BY_DRIVER = 256 << 20  # bytes of files with such names, at most
# A path of a file is taken as it stands, whatever characters it holds. With the second option
# Spark lists each file once; without it, once for every file of its folder.
_OPTIONS = {"__globPaths__": "false", "recursiveFileLookup": "true", "ignoreMissingFiles": "true"}
_CONTENTS = arrow_frames.struct("path string, _bytes binary")
_STATUSES = arrow_frames.struct("path string, _path string, _size bigint, _modified timestamp")


def walk(spark: SparkSession, root: str) -> Iterator[SourceFile]:
    """Yield every file below a root, as `listing.walk` does. Raises OSError."""
    system = HadoopFileSystem(spark, root)
    top = system.status(system.root)
    if top is None:
        raise FileNotFoundError("there is no such file or folder")
    above = system.root if top.is_folder else system.root.rpartition("/")[0]
    for status in system.walk(system.root):
        relative = status.path.removeprefix(above + "/")
        # A folder among the files is one that may not be listed.
        readable = not status.is_folder
        yield SourceFile(status.path, relative, status.size_bytes, status.modified_at, readable)


def is_remote(path: Column) -> Column:
    """Whether a path is of a file system that only Spark reaches; false for null."""
    return F.coalesce(F.rlike(path, F.lit(REMOTE)), F.lit(False))


def with_contents(rows: DataFrame, tasks: int, most: int) -> DataFrame:
    """Fill `content` of the rows whose file only Spark can read.

    rows: with the columns path, size_bytes and content (null where the bytes lie in the file), in
    `tasks` partitions, which keep their rows. most: bytes of a file; larger ones keep null, as does
    a file that is gone meanwhile.
    """
    missing = is_remote(F.col("path")) & F.col("content").isNull()
    wanted = rows.where(missing & (F.col("size_bytes") <= most)).select("path", "size_bytes")
    sizes = {row["path"]: row["size_bytes"] for row in wanted.toArrow().to_pylist()}
    if not sizes:
        return rows
    sizes = {path: size for path, size in sizes.items() if size}
    placed = rows.withColumn("_task", F.spark_partition_id())
    filled = placed.join(contents(rows.sparkSession, sizes), on="path", how="left")
    # Spark's reader passes over empty files, too.
    empty = F.when(missing & (F.col("size_bytes") == 0), F.lit(b""))
    content = F.coalesce("content", "_bytes", empty).alias("content")
    columns = [content if name == "content" else F.col(name) for name in rows.columns]
    return filled.repartitionById(tasks, F.col("_task")).select(*columns)


def contents(spark: SparkSession, sizes: Mapping[str, int]) -> DataFrame:
    """Return the bytes of files as rows (path, _bytes); sizes: in bytes, by path.

    Raises JobError if a file is gone by now.
    """
    hidden = [name for name in sizes if HIDDEN.fullmatch(name.rpartition("/")[2])]
    if sum(sizes[name] for name in hidden) > READ_BY_DRIVER:
        raise JobError(
            f"{len(hidden):,} files have names that begin with _ or ., such as {hidden[0]}: Spark "
            f"passes over such names, and the driver reads {READ_BY_DRIVER >> 20} MB of them at "
            "most: rename them"
        )
    read = arrow_frames.frame(spark, _read(spark, hidden), _CONTENTS)
    shown = sorted(sizes.keys() - set(hidden))
    if not shown:
        return read
    try:
        files = spark.read.format("binaryFile").options(**_OPTIONS).load(shown)
    except AnalysisException as refused:
        raise JobError(
            f"images changed while they were read, run it again: {reason(refused)}"
        ) from refused
    return files.select("path", F.col("content").alias("_bytes")).unionByName(read)


def _read(spark: SparkSession, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """Read files by the driver; one that cannot be read is left out."""
    rows = []
    for name in names:
        try:
            rows.append((name, HadoopFileSystem(spark, name).read(name)))
        except OSError:
            continue
    return rows


def with_statuses(rows: DataFrame, within: Sequence[str]) -> DataFrame:
    """Fill in size and time of the remote files that rows of a table name; null where gone.

    Files outside of the folders `within` are not asked for, and their values are null.

    Their paths become those that Spark writes: a file may be named in several ways, such as
    hdfs:/x/1.png and hdfs://host/x/./1.png.
    """
    spark = rows.sparkSession
    paths = rows.select("path").distinct().toArrow().column("path").to_pylist()
    names = [path for path in paths if is_allowed(path, within)]
    statuses = [
        (name, status.path, status.size_bytes, status.modified_at)
        for name, status in _statuses(spark, names)
    ]
    found = arrow_frames.frame(spark, statuses, _STATUSES)
    values = {
        "path": F.coalesce("_path", "path"),
        "size_bytes": F.col("_size"),
        "modified_at": F.col("_modified"),
    }
    return rows.join(found, on="path", how="left").withColumns(values).select(rows.columns)


def _statuses(spark: SparkSession, names: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield the names of files that exist, with their statuses.

    A folder is listed once for all its files. What cannot be listed counts as gone.
    """
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    for folder, files in sorted(by_folder.items()):
        try:
            system = HadoopFileSystem(spark, f"{folder}/")
            children = system.children(system.root)
        except OSError:
            continue
        statuses = {each.path: each for each in children if not each.is_folder}
        for name in files:
            status = statuses.get(f"{system.root}/{name.rpartition('/')[2]}")
            if status is not None:
                yield name, status
