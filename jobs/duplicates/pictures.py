"""The pictures of images, as registration takes them: grey and small, on their way to the tasks.

Use `pictures` for the columns that travel with an image's vector where rules ask for a proof, and
`PictureRows` for these columns as arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames
from jobs.warehouse.base_store import Store
from udfs import arrow
from udfs.duplicates.pair_alignments import NO_CONTENT
from udfs.registration import Alignments, Registrar, grey_of
from udfs.vectors.cosine import Indices, Vector

_STORED = arrow_frames.struct(
    "image_id string, pixels_sha256 string, width int, height int, pixels binary"
)
PICTURES = arrow_frames.struct(
    "image_id string, content string, width int, height int, grey binary"
)
SIDE = 64  # pixels
_GREY = SIDE * SIDE  # bytes


def pictures(stage_run: StageRun) -> DataFrame:
    """Rows of PICTURES, one for each image; `grey` is null for images without pixels."""
    return stage_run.scan("images", _STORED, grey_rows, PICTURES).mapped()


def chosen_pictures(stage_run: StageRun, ids: Collection[str]) -> DataFrame:
    """Rows of PICTURES of these images that have pixels; of ids that are none there are no rows."""
    rows = partial(chosen_rows, pa.array(sorted(ids), pa.string()))
    return stage_run.scan("images", _STORED, rows, PICTURES).mapped()


def pictures_of(other: Store) -> DataFrame:
    """Rows of PICTURES of another warehouse.

    Raises JobError where its images have none that can be compared.
    """
    if not other.exists("images") or "pixels_sha256" not in other.read("images").columns:
        raise JobError(
            f"leaks.warehouse = {other.root!r}: an earlier version wrote its images, or it has "
            "none: run ingest on it, or give numbers in prune.thresholds"
        )
    version = other.version("images")
    return other.scan("images", _STORED, grey_rows, PICTURES, version=version).mapped()


def pictured(images: DataFrame, of_images: DataFrame, stack: ExitStack) -> DataFrame:
    """Images with their pictures, null where there are none.

    They are computed once, and kept on the executors' disks until the stack ends: window after
    window is compared with them. of_images: rows of PICTURES.
    """
    rows = images.join(of_images, on="image_id", how="left").persist(StorageLevel.DISK_ONLY)
    stack.callback(rows.unpersist)
    return rows


def contents(stage_run: StageRun) -> DataFrame:
    """The columns `image_id` and `content` of `pictures` alone, which costs no task in Python."""
    images = stage_run.read("images")
    return images.select("image_id", F.col("pixels_sha256").alias("content"))


def grey_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of `images` to rows of PICTURES."""
    for batch in batches:
        pixels = batch.column("pixels")
        empty = pc.is_null(pixels)
        full = pc.fill_null(pixels, bytes(3 * _GREY))
        grey = grey_of(arrow.binary_matrix(full, 3 * _GREY)).reshape(batch.num_rows, _GREY)
        columns = {name: batch.column(name) for name in ("image_id", "width", "height")}
        columns["content"] = batch.column("pixels_sha256")
        columns["grey"] = pc.if_else(empty, pa.scalar(None, pa.binary()), arrow.packed_column(grey))
        yield arrow.record_batch(columns, schema)


def chosen_rows(
    ids: pa.Array, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """As `grey_rows`, of the images of these ids that have pixels."""

    def chosen(batch: pa.RecordBatch) -> pa.RecordBatch:
        is_wanted = pc.is_in(batch.column("image_id"), value_set=ids)
        return batch.filter(pc.and_(is_wanted, pc.is_valid(batch.column("pixels"))))

    return grey_rows(map(chosen, batches), schema)


@dataclass(frozen=True)
class PictureRows:
    """Pictures as arrays, in parts that follow each other; an index counts through all of them.

    ids, contents: (n,) strings; a content may be null. width, height: (n,), of the originals in
    pixels. grey: for each part (k, 64, 64) uint8, a picture without pixels being black.
    """

    ids: pa.Array
    contents: pa.Array
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    grey: tuple[NDArray[np.uint8], ...]

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """From rows with the columns of PICTURES."""
        width, height = (
            np.asarray(pc.fill_null(rows.column(name), SIDE).to_numpy(), np.float64)
            for name in ("width", "height")
        )
        ids, contents = (_whole(rows.column(name)) for name in ("image_id", "content"))
        return cls(ids, contents, width, height, (_grey(rows.column("grey")),))

    def __len__(self) -> int:
        return len(self.width)

    def take(self, indices: Indices) -> Self:
        """The pictures with these indices."""
        wanted = pa.array(indices)
        return type(self)(
            self.ids.take(wanted),
            self.contents.take(wanted),
            self.width[indices],
            self.height[indices],
            (self.grey_at(indices),),
        )

    def followed_by(self, others: Self) -> Self:
        """These pictures and others; no picture is copied."""
        return type(self)(
            pa.concat_arrays([self.ids, others.ids]),
            pa.concat_arrays([self.contents, others.contents]),
            np.concatenate([self.width, others.width]),
            np.concatenate([self.height, others.height]),
            self.grey + others.grey,
        )

    def grey_at(self, indices: Indices) -> NDArray[np.uint8]:
        """The grey pictures with these indices: (k,) → (k, 64, 64)."""
        grey = np.empty((len(indices), SIDE, SIDE), np.uint8)
        first = 0
        for part in self.grey:
            inside = (indices >= first) & (indices < first + len(part))
            grey[inside] = part[indices[inside] - first]
            first += len(part)
        return grey

    def all_grey(self) -> NDArray[np.uint8]:
        """All grey pictures: (n, 64, 64); those of one part are not copied."""
        return self.grey[0] if len(self.grey) == 1 else np.concatenate(self.grey)

    def content_numbers(self) -> Indices:
        """Equal numbers for equal contents, NO_CONTENT where there is none: (n,)."""
        codes = self.contents.dictionary_encode().indices.fill_null(NO_CONTENT)
        return np.asarray(codes.to_numpy(zero_copy_only=False), np.int64)


class PictureAligner:
    """Registers pictures by their indices; nothing is prepared before a pair is asked for."""

    def __init__(
        self, pictures: PictureRows, orientations: int, device: str, threads: int = 1
    ) -> None:
        """Take the pictures; orientations, device and threads are those of `Registrar`."""
        self._pictures = pictures
        self._options = orientations, device, threads
        self._registrar: Registrar | None = None

    def align(
        self, images: Indices, others: Indices, least_overlap: Vector | float = 0.0
    ) -> Alignments:
        """Register images[j] with others[j], for all j; least_overlap: as in `Registrar.align`."""
        if self._registrar is None:
            pictures = self._pictures
            aspect = pictures.width / pictures.height
            orientations, device, threads = self._options
            self._registrar = Registrar(
                pictures.all_grey(),
                aspect,
                orientations=orientations,
                device=device,
                threads=threads,
            )
        return self._registrar.align(images, others, least_overlap)


def source_shifts(
    alignments: Alignments, pictures: PictureRows, images: Indices, others: Indices
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the centre of images[j] falls in others[j], in pixels of images[j]'s own original.

    An alignment has this displacement as 32·S⁻¹·t, in pixels of the other's 64×64 frame, where
    S = diag(√a, 1/√a) and a is the other's aspect. The result is (t / scale)·√(width·height) / 2.
    """
    root = np.sqrt(pictures.width[others] / pictures.height[others])
    size = np.sqrt(pictures.width[images] * pictures.height[images])
    factor = size / alignments.scale / SIDE
    return alignments.shift_x * root * factor, alignments.shift_y / root * factor


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _grey(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """A binary column as grey pictures; one chunk would hold 2 GB at most."""
    filled = (pc.fill_null(chunk, bytes(_GREY)) for chunk in column.chunks)
    parts = [np.empty((0, _GREY), np.uint8), *(arrow.binary_matrix(c, _GREY) for c in filled)]
    return np.concatenate(parts).reshape(-1, SIDE, SIDE)
