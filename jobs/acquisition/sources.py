"""Where images come from: a folder by class, or a Parquet or Delta table. One shape for both.

A table may hold vectors instead of images.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import caller_columns, listing
from jobs.acquisition.candidate_reader import Reading
from jobs.acquisition.image_reader import Decoding, status_rows
from jobs.acquisition.vector_reader import VECTOR, Vectors, common_width
from jobs.errors import JobError, SettingsError
from jobs.runtime.console import Console
from jobs.runtime.stage import RunContext
from jobs.settings.acquisition import Ingest
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse import paths as file_paths
from jobs.warehouse.commits import fingerprint

# A candidate: what may become an image. `content` null: the bytes lie at `path`.
CANDIDATE = arrow_frames.struct(
    "image_id string, label string, split string, path string, size_bytes bigint, "
    "modified_at timestamp, content binary"
)
OURS = (*CANDIDATE.names, VECTOR)  # of a candidate's columns; the others are the caller's
# Names that callers' columns cannot have: of our tables, of candidates and of the steps of ingest.
RESERVED = (*tables.RESERVED, *OURS, "_usable", "_place")

IGNORED = "files ignored: directly in the root, or with a name that begins with a dot"


@dataclass(frozen=True)
class Source:
    """Candidates, and what identifies them: the root, and a fingerprint of their content."""

    root: str
    content: str
    frame: DataFrame
    is_folder: bool
    count: int
    size_bytes: int
    ignored: int = 0
    notices: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    width: int | None = None  # of the vectors that stand in the place of images

    @property
    def key(self) -> str:
        """What tells whether an image is still there: its file, or its row's id."""
        return "path" if self.is_folder else "image_id"

    def reading(self, ingest: Ingest) -> dict[str, Any]:
        """What decides what its candidates turn into: the settings, and the root of paths."""
        return asdict(ingest) | {"tasks": 0, "vector_name": "", "root": self.root}

    def mark(self, ingest: Ingest) -> str:
        """A fingerprint of this content read in this way."""
        return fingerprint(self.reading(ingest) | {"content": self.content})

    def reader(self, ingest: Ingest) -> Reading:
        """How executors read its candidates."""
        if self.width is not None:
            return Vectors(self.width)
        tile, stride = ingest.tiling or (None, None)
        return Decoding(ingest.max_pixels, tile, stride)

    def say(self, console: Console) -> None:
        """Tell what was found and what of it is set aside."""
        for notice in self.notices:
            console.line(f"  {notice}")


def find(spark: SparkSession, settings: Settings) -> Source:
    """The source that the settings name. Raises JobError where there is none."""
    if settings.ingest.source == "folder":
        return _folder(spark, settings)
    return _table(spark, settings.images, settings.ingest)


def of_run(run: RunContext) -> Source:
    """The source of a run; for `run.once`, since a listing may take long."""
    return find(run.spark, run.settings)


def _folder(spark: SparkSession, settings: Settings) -> Source:
    root = settings.images
    own = (
        file_paths.absolute(settings.warehouse) + "/"
    )  # may lie below the images: it is none of them
    try:
        found = [file for file in listing.walk(root) if not file.path.startswith(own)]
    except OSError as refused:
        raise JobError(f"--images {root}: {refused.strerror or refused}") from refused
    taken = sorted(
        (file for file in found if not _is_ignored(file)), key=lambda file: file.relative
    )
    if not taken:
        raise JobError(
            f"--images {root}: no files in folders by class; expected {root}/<label>/<image>, or "
            "ingest.layout = split/label and <split>/<label>/<image>"
        )
    ignored = len(found) - len(taken)
    return Source(
        root=file_paths.absolute(root),
        content=_listing_hash(taken),
        frame=_listing_frame(spark, taken, settings.ingest.layout),
        is_folder=True,
        count=len(taken),
        size_bytes=sum(file.size_bytes for file in taken),
        ignored=ignored,
        notices=(f"{ignored:,} {IGNORED}",) if ignored else (),
    )


def _is_ignored(file: listing.SourceFile) -> bool:
    parts = file.relative.split("/")
    return len(parts) < 2 or any(part.startswith(".") for part in parts)


def _listing_hash(taken: list[listing.SourceFile]) -> str:
    digest = hashlib.sha256()
    for file in taken:
        state = f"{file.path}\0{file.size_bytes}\0{file.modified_at}\0{file.readable}\n"
        digest.update(state.encode())
    return digest.hexdigest()


def _listing_frame(spark: SparkSession, taken: list[listing.SourceFile], layout: str) -> DataFrame:
    """The listing as candidates. A folder's name is its class, also `class=001` and `001`."""
    parts = [file.relative.split("/") for file in taken]
    labels: list[str | None]
    splits: list[str | None]
    if layout == "label":
        labels, splits = [part[0] for part in parts], [None] * len(parts)
    else:
        labels = [part[1] if len(part) > 2 else None for part in parts]
        splits = [part[0] for part in parts]
    table = pa.table(
        {
            "image_id": [file.relative for file in taken],
            "label": pa.array(labels, pa.string()),
            "split": pa.array(splits, pa.string()),
            "path": [file.path for file in taken],
            "size_bytes": [file.size_bytes for file in taken],
            "modified_at": pa.array(
                [file.modified_at for file in taken], pa.timestamp("us", "UTC")
            ),
            "content": pa.nulls(len(taken), pa.binary()),
        }
    )
    return spark.createDataFrame(table, CANDIDATE)


def _table(spark: SparkSession, root: str, ingest: Ingest) -> Source:
    try:
        frame = spark.read.format(ingest.source).load(root)
    except Exception as refused:
        first = str(refused).splitlines()[0]
        raise JobError(f"--images {root}: cannot be read as {ingest.source}: {first}") from refused
    used = _named_columns(frame, ingest)
    own = caller_columns.carried(frame.schema, set(used.values()), RESERVED)
    vector = _vector(frame.schema, ingest)
    content, path = _content_and_path(frame.schema, ingest)
    whole = F.rlike(path, F.lit("^/|^[A-Za-z][A-Za-z0-9+.-]*:")) | content.isNotNull()
    beside = F.when(whole, path).otherwise(F.concat(F.lit(file_paths.folder(root) + "/"), path))
    label = F.col(_quoted(ingest.label_column)).cast("string")
    split = (
        F.col(_quoted(ingest.split_column)).cast("string") if ingest.split_column else F.lit(None)
    )
    rows = frame.select(
        _identity(ingest, label, path, content).alias("image_id"),
        label.alias("label"),
        split.cast("string").alias("split"),
        beside.cast("string").alias("path"),
        F.length(content).cast("bigint").alias("size_bytes"),
        F.lit(None).cast("timestamp").alias("modified_at"),
        content.cast("binary").alias("content"),
        *[column.alias(name) for name, column in own.columns.items()],
        *([] if vector is None else [vector.alias(VECTOR)]),
    )
    parts = sorted(listing.walk(root), key=lambda part: part.path)
    rows, states = _with_status(rows)
    return Source(
        root=file_paths.absolute(root),
        content=fingerprint([states, *(asdict(part) for part in parts)]),
        frame=rows,
        is_folder=False,
        count=frame.count(),
        size_bytes=sum(part.size_bytes for part in parts),
        notices=_notices(own),
        renamed=own.renamed,
        width=None if vector is None else common_width(frame, vector),
    )


def _with_status(rows: DataFrame) -> tuple[DataFrame, int]:
    """Size and time of the files where a row is a path, and a hash of them all: 0 where none is."""
    paths = rows.where("content IS NULL AND path IS NOT NULL")
    if paths.isEmpty():
        return rows, 0
    schema = rows.schema
    paths = paths.mapInArrow(partial(status_rows, schema=arrow_frames.arrow_schema(schema)), schema)
    state = F.bit_xor(F.xxhash64("image_id", "path", "size_bytes", "modified_at"))
    states = int(paths.agg(state).collect()[0][0])
    return rows.where("content IS NOT NULL OR path IS NULL").unionByName(paths), states


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _named_columns(frame: DataFrame, ingest: Ingest) -> dict[str, str]:
    """The columns that settings name; raises SettingsError naming all that are not there."""
    named = {
        "image_column": "" if ingest.vector_column else ingest.image_column,
        "vector_column": ingest.vector_column,
        "label_column": ingest.label_column,
        "id_column": ingest.id_column,
        "split_column": ingest.split_column,
    }
    named = {key: name for key, name in named.items() if name}
    missing = [
        f"ingest.{key} = {name!r}: the table has no such column; it has {', '.join(frame.columns)}"
        for key, name in named.items()
        if name not in frame.columns
    ]
    if missing:
        raise SettingsError("\n".join(missing))
    return named


def _vector(schema: T.StructType, ingest: Ingest) -> Column | None:
    """The column of vectors as array<double>, which holds what there is to say of each number."""
    if not ingest.vector_column:
        return None
    kind = schema[ingest.vector_column].dataType
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.NumericType):
        return F.col(_quoted(ingest.vector_column)).cast("array<double>")
    raise SettingsError(
        f"ingest.vector_column = {ingest.vector_column!r}: is {kind.simpleString()}; expected an "
        "array of numbers: cast it to array<float> (a vector of Spark ML by vector_to_array)"
    )


def _content_and_path(schema: T.StructType, ingest: Ingest) -> tuple[Column, Column]:
    """Bytes and path of a column that holds bytes, a path, or Hugging Face's struct of both."""
    nothing = F.lit(None)
    if ingest.vector_column:
        return nothing.cast("binary"), nothing.cast("string")
    kind, image = schema[ingest.image_column].dataType, _quoted(ingest.image_column)
    match kind:
        case T.BinaryType():
            return F.col(image), nothing
        case T.StringType():
            return nothing.cast("binary"), F.col(image)
        case T.StructType() if {"bytes", "path"} <= set(kind.names):
            return F.col(f"{image}.bytes"), F.col(f"{image}.path")
        case _:
            raise SettingsError(
                f"ingest.image_column = {ingest.image_column!r}: is {kind.simpleString()}; "
                "expected binary (the file's bytes), string (a path) or struct<bytes, path>"
            )


def _identity(ingest: Ingest, label: Column, path: Column, content: Column) -> Column:
    """The id: the caller's; else the path; else class and hash of the bytes."""
    if ingest.id_column:
        return F.col(_quoted(ingest.id_column)).cast("string")
    return F.coalesce(
        path, F.concat(F.coalesce(label, F.lit("")), F.lit("/"), F.sha2(content, 256))
    )


def _notices(own: caller_columns.Carried) -> tuple[str, ...]:
    renamed = [f"column {old!r} is carried as {new}" for old, new in own.renamed.items()]
    dropped = [f"column {name!r} holds nothing (void) and is left out" for name in own.dropped]
    return tuple(renamed + dropped)


def column_types(schema: T.StructType) -> dict[str, Any]:
    """Names and types of the callers' columns in a schema of `images` or of candidates."""
    ours = set(tables.TABLES["images"].schema.names) | set(OURS)
    return {column.name: column.dataType for column in schema if column.name not in ours}
