"""Numbers the images that the page shows, and encodes each once as a small JPEG."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.acquisition import decode

QUALITY = 78
MOST_BYTES = 11_000_000  # of all pictures, as base64
READ = arrow_frames.struct(
    "image_id string, width int, height int, pixels_sha256 string, pixels binary"
)
ENCODED = arrow_frames.struct(
    "image_id string, picture binary, aspect double, pixels_sha256 string"
)


@dataclass(frozen=True)
class Encoded:
    """The JPEG of an image; width / height of the original; what identifies its pixels."""

    jpeg: bytes
    aspect: float = 1.0
    pixels_sha256: str | None = None


@dataclass
class Thumbnails:
    """The numbers of the images in the page, from 0; the first `most` of them get a picture.

    The most important images must be numbered first: if not all pictures fit into the page, the
    last ones are left out, and the page shows their ids instead.
    """

    most: int
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, image_id: str) -> int:
        """Return the number of an image; a new image gets the next one."""
        return self.numbers.setdefault(image_id, len(self.numbers))

    def has_room(self, image_ids: Iterable[str], share: float = 1.0) -> bool:
        """Return whether all of these would get a picture among the first `share` of `most`."""
        new = sum(image_id not in self.numbers for image_id in image_ids)
        return not new or len(self.numbers) + new <= share * self.most

    @property
    def filled(self) -> float:
        """The share of the pictures that is used up."""
        return min(len(self.numbers) / self.most, 1.0) if self.most else 1.0

    @property
    def image_ids(self) -> list[str]:
        """The ids of the images, by number."""
        return list(self.numbers)

    def pictures(self, encoded: Mapping[str, Encoded]) -> list[str]:
        """Return the JPEGs by number as base64; empty without a picture or room for it."""
        texts, left = [], MOST_BYTES
        for image_id in self.image_ids[: self.most]:
            jpeg = encoded[image_id].jpeg if image_id in encoded else b""
            text = base64.b64encode(jpeg).decode("ascii")
            left -= len(text)
            texts.append(text if left >= 0 else "")
        return texts + [""] * (len(self.numbers) - len(texts))


def encode(images: DataFrame, image_ids: Iterable[str]) -> dict[str, Encoded]:
    """Return the pictures of these images by id, without images that have no pixels.

    images: the table `images`, which one Spark job reads.
    """
    distinct = sorted(set(image_ids))
    if not distinct:
        return {}
    ids = arrow_frames.ids(images.sparkSession, distinct)
    aspect = F.coalesce(F.expr("try_divide(width, height)"), F.lit(1.0))
    shown = arrow_frames.completed(images, READ).where("pixels IS NOT NULL")
    shown = shown.select("image_id", aspect.alias("aspect"), "pixels_sha256", "pixels")
    shown = shown.join(F.broadcast(ids), on="image_id", how="left_semi")
    rows = arrow_frames.mapped(shown, _encode_rows, ENCODED).collect()
    return {
        row.image_id: Encoded(bytes(row.picture), row.aspect, row.pixels_sha256) for row in rows
    }


def _encode_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Turn rows (image_id, aspect, pixels_sha256, pixels) into rows of ENCODED."""
    for batch in batches:
        pixels = arrow.binary_matrix(batch.column("pixels"), decode.PIXELS)
        columns = {name: batch.column(name) for name in ("image_id", "aspect", "pixels_sha256")}
        columns["picture"] = [decode.jpeg(row, QUALITY) for row in pixels]
        yield arrow.record_batch(columns, schema)
