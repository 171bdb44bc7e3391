"""Open the source of images: a folder with one folder for each class, or a Parquet or Delta table.

Both become a `Source`, whose frame of candidates has the columns of CANDIDATE. A table may hold
vectors, alone or with the images that they are of. Use `find`, or `run.once(of_run)` within a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import given_tables, listing, remote_files
from jobs.acquisition.caller_columns import CallerColumns, caller_columns
from jobs.acquisition.candidate_reader import CandidateReader
from jobs.acquisition.decoding import Decoding
from jobs.acquisition.given_tables import quoted
from jobs.acquisition.image_reader import ImageReader, status_rows
from jobs.acquisition.pair_reader import PairReader
from jobs.acquisition.vector_reader import VECTOR, VectorReader, common_width
from jobs.errors import JobError, SettingsError
from jobs.paths import absolute, folder, is_mounted
from jobs.runtime.console import Console
from jobs.runtime.stage import RunContext
from jobs.settings.acquisition import IMAGE, Ingest
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.hadoop import HadoopFileSystem
from udfs.acquisition import samples
from udfs.acquisition.ranges import Range

# A candidate may become an image. Where `content` is null, the bytes lie in the file at `path`.
CANDIDATE = arrow_frames.struct(
    "image_id string, label string, split string, path string, size_bytes bigint, "
    "modified_at timestamp, content binary"
)
OURS = (*CANDIDATE.names, VECTOR)  # a candidate's further columns are the caller's
# Names that callers' columns cannot have, since our tables, candidates or steps of ingest use them.
RESERVED = (*tables.RESERVED, *OURS, "_usable", "_place")

# Names of files whose pictures have 8 bits.
NARROW = (".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".bmp", ".dib")
HEADS = 5_000  # files whose first bytes the driver reads, for which Spark would take seconds
ByClass = Mapping[str, Mapping[str, Range]]  # ranges of values by label and kind of samples

IGNORED = "ignored: directly in the root, or with a name that begins with a dot"


@dataclass(frozen=True)
class Source:
    """The candidates of a folder or table, and what identifies them.

    frame: the candidates, as rows of CANDIDATE and the caller's columns; Spark is not asked before.
    root: the absolute path or URI, without credentials. is_remote: whether the bytes of some images
    lie in files that only Spark can read. content: a hash that changes when a file or row changes.
    count: candidates. ignored: files that are no candidates. notices: messages for the console.
    renamed: the name in the warehouse for each caller's column that could not keep its own. width:
    the numbers in a vector, if the source holds vectors. max_bytes: larger files are not read.
    within: the folders in which a table may name files; None of a folder. may_be_deep: whether
    some pictures may have more than 8 bits, as far as the driver can tell in a moment. holds_bytes:
    whether a table has the bytes of images or vectors in it, and not paths alone. listed: of a
    folder, the candidates as an Arrow table.
    """

    root: str
    content: str
    make_frame: Callable[[], DataFrame] = field(repr=False)
    is_folder: bool
    count: int
    size_bytes: int
    ignored: int = 0
    notices: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    is_remote: bool = False
    max_bytes: int = 2**30
    within: tuple[str, ...] | None = None
    may_be_deep: Callable[[], bool] = field(default=lambda: True, repr=False)
    holds_bytes: bool = False
    listed: Callable[[], pa.Table] | None = field(default=None, repr=False)

    @cached_property
    def frame(self) -> DataFrame:
        """See above."""
        return self.make_frame()

    @property
    def key(self) -> str:
        """The column by which an image of an earlier run is looked up among the candidates."""
        return "path" if self.is_folder else "image_id"

    def is_of(self, commit: CommitInfo) -> bool:
        """Whether a commit of `images` was made of this root; it has no credentials."""
        return bool(redacted(commit.metadata.get("root")) == redacted(self.root))

    def decoding_inputs(self, ingest: Ingest) -> dict[str, Any]:
        """The settings and the root that decide which rows the candidates become, as JSON.

        `tasks` and `vector_name` decide nothing and always have the same value here. Where a table
        holds vectors alone, the name of the column of images decides nothing either. Limits decide
        which files are refused, and not what the others become.
        """
        constant = {"tasks": 0, "vector_name": "", "image_column": ingest.pictures or IMAGE}
        inputs = asdict(ingest) | constant | {"root": self.root}
        return {key: value for key, value in inputs.items() if key not in ingest.limits}

    def fingerprint(self, ingest: Ingest) -> str:
        """The hash of the content and of the settings that it is read with."""
        return fingerprint(self.decoding_inputs(ingest) | {"content": self.content})

    def image_reader(self, ingest: Ingest, ranges: ByClass | None = None) -> ImageReader:
        """The reader that decodes pictures; ranges: of values, by class and kind of samples."""
        tile, stride = ingest.tiling or (None, None)
        decoding = Decoding(
            max_pixels=ingest.max_pixels,
            tile=tile,
            stride=stride,
            max_bytes=ingest.max_bytes,
            max_seconds=ingest.max_seconds,
            within=self.within,
            range=ingest.range,
            bands=ingest.bands,
        )
        is_listed = self.is_folder and not self.is_remote
        return ImageReader(decoding, listed=is_listed, ranges=ranges or {})

    def reader(self, ingest: Ingest, ranges: ByClass | None = None) -> CandidateReader:
        """The reader that turns the candidates into images on the executors."""
        images = self.image_reader(ingest, ranges)
        if self.width is None:
            return images
        vectors = VectorReader(self.width)
        return PairReader(vectors, images) if ingest.pictures else vectors

    def with_contents(self, rows: DataFrame, tasks: int) -> DataFrame:
        """Fill `content` of candidates whose file the executors' Python cannot open.

        rows: in `tasks` partitions, which keep their rows.
        """
        return remote_files.with_contents(rows, tasks, self.max_bytes) if self.is_remote else rows

    def log_notices(self, console: Console) -> None:
        """Tell which files are ignored, and which columns are renamed or left out."""
        for notice in self.notices:
            console.line(f"  {notice}")


def find(spark: SparkSession, settings: Settings) -> Source:
    """Return the source that the settings name. Raises JobError if it cannot be read."""
    if settings.ingest.source == "folder":
        return _folder_source(spark, settings)
    return _table_source(spark, settings.images, settings.ingest)


def recorded_root(root: str) -> str:
    """Return a root as it is recorded and compared: a new password makes no new source."""
    return absolute(root) if is_mounted(root) else redacted(absolute(root))


def of_run(run: RunContext) -> Source:
    """Return the source of a run. Call it by `run.once`, since a listing may take long."""
    return find(run.spark, run.settings)


def _folder_source(spark: SparkSession, settings: Settings) -> Source:
    root = settings.images
    # The warehouse may lie below the images; its files are none of them.
    warehouse = warehouse_prefix(spark, settings.warehouse)
    try:
        files = [file for file in walk(spark, root) if not file.path.startswith(warehouse)]
    except OSError as refused:
        raise JobError(f"--images {root}: {refused.strerror or refused}") from refused
    candidates = sorted(
        (file for file in files if not _is_ignored(file)), key=lambda file: file.relative
    )
    kind = given_tables.table_instead([file.relative for file in files])
    if kind:
        raise JobError(
            f"--images {root}: holds a {kind.capitalize()} table, no folders of images: set "
            f"ingest.source = {kind}"
        )
    if not candidates:
        raise JobError(
            f"--images {root}: no files in folders by class; expected {root}/<label>/<image>, or "
            "ingest.layout = split/label and <split>/<label>/<image>"
        )
    ignored = len(files) - len(candidates)
    listed = cache(partial(_listing_table, candidates, settings.ingest.layout))
    return Source(
        root=recorded_root(root),
        content=_listing_hash(candidates),
        make_frame=lambda: spark.createDataFrame(listed(), CANDIDATE),
        is_folder=True,
        count=len(candidates),
        size_bytes=sum(file.size_bytes for file in candidates),
        ignored=ignored,
        notices=(f"{ignored:,} file{'s' * (ignored > 1)} {IGNORED}",) if ignored else (),
        is_remote=not is_mounted(root),
        max_bytes=settings.ingest.max_bytes,
        may_be_deep=partial(_may_be_deep, candidates),
        listed=listed,
    )


def _may_be_deep(files: list[listing.SourceFile]) -> bool:
    """Whether some files may be pictures of more than 8 bits, by their names and first bytes."""
    unknown = [file.path for file in files if not file.path.lower().endswith(NARROW)]
    if len(unknown) > HEADS or not all(map(is_mounted, unknown)):
        return bool(unknown)
    return any(map(_head_may_be_deep, unknown))


def _head_may_be_deep(path: str) -> bool:
    try:
        head = listing.head(path, samples.HEAD)
    except (OSError, ValueError):  # it becomes a reject
        return False
    return bool(head) and samples.may_be_deep(head)


def walk(spark: SparkSession, root: str) -> Iterator[listing.SourceFile]:
    """Yield every file below a root, wherever it lies. Raises OSError."""
    return listing.walk(root) if is_mounted(root) else remote_files.walk(spark, root)


def warehouse_prefix(spark: SparkSession, warehouse: str) -> str:
    """Return what the paths of a warehouse's files begin with, as a listing has them."""
    if is_mounted(warehouse):
        return absolute(warehouse) + "/"
    return HadoopFileSystem(spark, warehouse).root + "/"


def _is_ignored(file: listing.SourceFile) -> bool:
    parts = file.relative.split("/")
    return len(parts) < 2 or any(part.startswith(".") for part in parts)


def _listing_hash(files: list[listing.SourceFile]) -> str:
    digest = hashlib.sha256()
    for file in files:
        state = f"{file.path}\0{file.size_bytes}\0{file.modified_at}\0{file.readable}\n"
        digest.update(state.encode())
    return digest.hexdigest()


def _listing_table(files: list[listing.SourceFile], layout: str) -> pa.Table:
    """Return the listing as candidates.

    A folder's name is the class as it stands: `class=001` and `001` are two, both of type string.
    """
    parts = [file.relative.split("/") for file in files]
    labels: list[str | None]
    splits: list[str | None]
    if layout == "label":
        labels, splits = [part[0] for part in parts], [None] * len(parts)
    else:
        labels = [part[1] if len(part) > 2 else None for part in parts]
        splits = [part[0] for part in parts]
    return pa.table(
        {
            "image_id": [file.relative for file in files],
            "label": pa.array(labels, pa.string()),
            "split": pa.array(splits, pa.string()),
            "path": [file.path for file in files],
            "size_bytes": [file.size_bytes for file in files],
            "modified_at": pa.array(
                [file.modified_at for file in files], pa.timestamp("us", "UTC")
            ),
            "content": pa.nulls(len(files), pa.binary()),
        }
    )


def _table_source(spark: SparkSession, root: str, ingest: Ingest) -> Source:
    frame, notices = given_tables.read(spark, root, ingest)
    named = _named_columns(frame, ingest)
    callers = caller_columns(frame.schema, set(named.values()), RESERVED)
    vector = _vector(frame.schema, ingest)
    above = _table_folder(spark, root)
    rows = frame.select(
        *_candidate_columns(frame.schema, above, ingest),
        *[column.alias(name) for name, column in callers.columns.items()],
        *([] if vector is None else [vector.alias(VECTOR)]),
    )
    files = sorted(walk(spark, root), key=lambda file: file.path)
    within = (above, *map(absolute, ingest.allow_paths))
    rows, statuses, is_remote = _with_status(rows, within)
    return Source(
        root=recorded_root(root),
        content=fingerprint([statuses, *(asdict(file) for file in files)]),
        make_frame=lambda: rows,
        is_folder=False,
        count=frame.count(),
        size_bytes=sum(file.size_bytes for file in files),
        notices=(*notices, *_notices(callers)),
        renamed=callers.renamed,
        width=None if vector is None else common_width(frame, vector),
        is_remote=is_remote,
        max_bytes=ingest.max_bytes,
        within=within,
        may_be_deep=lambda: bool(ingest.pictures),
        holds_bytes=vector is not None or _holds_bytes(frame.schema, ingest),
    )


def _table_folder(spark: SparkSession, root: str) -> str:
    """Return the folder of a table, which may be a single file."""
    if is_mounted(root):
        return folder(root)
    system = HadoopFileSystem(spark, root)
    status = system.status(system.root)
    return system.root if status is None or status.is_folder else system.root.rpartition("/")[0]


def _candidate_columns(schema: T.StructType, above: str, ingest: Ingest) -> list[Column]:
    """The columns of CANDIDATE made of a table's; relative paths are relative to `above`."""
    content, path = _content_and_path(schema, ingest)
    as_it_is = F.rlike(path, F.lit("^/|^[A-Za-z][A-Za-z0-9+.-]*:")) | content.isNotNull()
    full_path = F.when(as_it_is, path).otherwise(F.concat(F.lit(above + "/"), path))
    label = _label(schema, ingest.label_column)
    split = F.col(quoted(ingest.split_column)) if ingest.split_column else F.lit(None)
    return [
        _image_id(ingest, label, path, content).alias("image_id"),
        label.alias("label"),
        split.cast("string").alias("split"),
        full_path.cast("string").alias("path"),
        F.length(content).cast("bigint").alias("size_bytes"),
        F.lit(None).cast("timestamp").alias("modified_at"),
        content.cast("binary").alias("content"),
    ]


def _label(schema: T.StructType, name: str) -> Column:
    """The classes as text; NaN, by which pandas writes that there is none, is none."""
    label = F.col(quoted(name))
    if isinstance(schema[name].dataType, T.FloatType | T.DoubleType):
        label = F.when(~F.isnan(label), label)
    return label.cast("string")


def _with_status(rows: DataFrame, within: tuple[str, ...]) -> tuple[DataFrame, int, bool]:
    """Fill in size and time of the files where a row is a path.

    Also return a hash of them all, 0 if no row is a path; and whether some are remote.
    """
    is_path = F.col("content").isNull() & F.col("path").isNotNull()
    paths = rows.where(is_path)
    if paths.isEmpty():
        return rows, 0, False
    remote = remote_files.is_remote(F.col("path"))
    schema = rows.schema
    mounted = paths.where(~remote)
    found = arrow_frames.mapped(mounted, partial(status_rows, within=within), schema)
    is_remote = not paths.where(remote).isEmpty()
    if is_remote:
        found = found.unionByName(remote_files.with_statuses(paths.where(remote), within))
    status_hash = F.bit_xor(F.xxhash64("image_id", "path", "size_bytes", "modified_at"))
    statuses = int(found.agg(status_hash).collect()[0][0])
    return rows.where(~is_path).unionByName(found), statuses, is_remote


def _named_columns(frame: DataFrame, ingest: Ingest) -> dict[str, str]:
    """Return the columns that settings name, by setting.

    Raises SettingsError if the table lacks some; the message lists all of them.
    """
    named = {
        "image_column": ingest.pictures,
        "vector_column": ingest.vector_column,
        "label_column": ingest.label_column,
        "id_column": ingest.id_column,
        "split_column": ingest.split_column,
    }
    named = {key: name for key, name in named.items() if name}
    vectors = bool(ingest.vector_column)
    missing = [
        f"ingest.{key} = {name!r}: the table has no such column; it has {', '.join(frame.columns)}"
        + (
            "; leave it empty if vectors are all there is"
            if key == "image_column" and vectors
            else ""
        )
        for key, name in named.items()
        if name not in frame.columns
    ]
    if missing:
        raise SettingsError("\n".join(missing))
    return named


def _vector(schema: T.StructType, ingest: Ingest) -> Column | None:
    """Return the column of vectors as array<double>, None if the source holds images alone.

    Doubles keep a number that is too large for float32, so that `validation.checked` can report it.
    """
    if not ingest.vector_column:
        return None
    data_type = schema[ingest.vector_column].dataType
    if isinstance(data_type, T.ArrayType) and isinstance(data_type.elementType, T.NumericType):
        return F.col(quoted(ingest.vector_column)).cast("array<double>")
    raise SettingsError(
        f"ingest.vector_column = {ingest.vector_column!r}: is {data_type.simpleString()}; expected "
        "an array of numbers: cast it to array<float> (a vector of Spark ML by vector_to_array)"
    )


def _content_and_path(schema: T.StructType, ingest: Ingest) -> tuple[Column, Column]:
    """Bytes and path of a column that holds bytes, a path, or Hugging Face's struct of both."""
    nothing = F.lit(None)
    if not ingest.pictures:
        return nothing.cast("binary"), nothing.cast("string")
    data_type, image = schema[ingest.pictures].dataType, quoted(ingest.pictures)
    match data_type:
        case T.BinaryType():
            return F.col(image), nothing
        case T.StringType():
            return nothing.cast("binary"), F.col(image)
        case T.StructType() if {"bytes", "path"} <= set(data_type.names):
            return F.col(f"{image}.bytes"), F.col(f"{image}.path")
        case _:
            raise SettingsError(
                f"ingest.image_column = {ingest.pictures!r}: is {data_type.simpleString()}; "
                "expected binary (the file's bytes), string (a path) or struct<bytes, path>"
            )


def _holds_bytes(schema: T.StructType, ingest: Ingest) -> bool:
    """Whether the column of images may hold their bytes."""
    return bool(ingest.pictures) and schema[ingest.pictures].dataType != T.StringType()


def _image_id(ingest: Ingest, label: Column, path: Column, content: Column) -> Column:
    """The caller's id, else the path as given, else the class and the hash of the bytes.

    A path without folders beside bytes is a name alone, which each class may have: Hugging Face
    writes such. The class is put before it.
    """
    if ingest.id_column:
        return F.col(quoted(ingest.id_column)).cast("string")
    of_class = F.concat(F.coalesce(label, F.lit("")), F.lit("/"))
    is_name = content.isNotNull() & ~path.contains("/")
    named = F.when(is_name, F.concat(of_class, path)).otherwise(path)
    return F.coalesce(named, F.concat(of_class, F.sha2(content, 256)))


def _notices(callers: CallerColumns) -> tuple[str, ...]:
    renamed = [f"column {old!r} is carried as {new}" for old, new in callers.renamed.items()]
    dropped = [f"column {name!r} holds nothing (void) and is left out" for name in callers.dropped]
    return tuple(renamed + dropped)


def column_types(schema: T.StructType) -> dict[str, Any]:
    """Names and types of the callers' columns in a schema of `images` or of candidates."""
    ours = set(tables.TABLES["images"].schema.names) | set(OURS)
    return {column.name: column.dataType for column in schema if column.name not in ours}
