"""The images that the page shows: each once, by number, and its picture as a small JPEG."""

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
CODED = arrow_frames.struct("image_id string, picture binary")


@dataclass
class Album:
    """Numbers of images, from 0 in the order of asking; the first `most` get a picture.

    What is asked for first is most wanted: where pictures do not fit in, those of the last are
    left out, and the page shows their ids.
    """

    most: int
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, image_id: str) -> int:
        """The number of an image, new or known."""
        return self.numbers.setdefault(image_id, len(self.numbers))

    def has_room(self, image_ids: Iterable[str], share: float = 1.0) -> bool:
        """Whether all of these would have a picture, among the first `share` of all."""
        new = sum(image_id not in self.numbers for image_id in image_ids)
        return not new or len(self.numbers) + new <= share * self.most

    @property
    def filled(self) -> float:
        """The share of the pictures that is taken."""
        return min(len(self.numbers) / self.most, 1.0) if self.most else 1.0

    @property
    def names(self) -> list[str]:
        """The ids by number."""
        return list(self.numbers)

    def pictures(self, coded: Mapping[str, bytes]) -> list[str]:
        """Pictures by number as base64; empty where there is none, or no more room."""
        found, left = [], MOST_BYTES
        for name in self.names[: self.most]:
            text = base64.b64encode(coded.get(name, b"")).decode("ascii")
            left -= len(text)
            found.append(text if left >= 0 else "")
        return found + [""] * (len(self.numbers) - len(found))


def coded(images_table: DataFrame, wanted: Iterable[str]) -> dict[str, bytes]:
    """The pictures of some images, by id; none of those that have no pixels. One Spark job."""
    names = sorted(set(wanted))
    if not names:
        return {}
    rows = arrow_frames.ids(images_table.sparkSession, names)
    shown = images_table.select("image_id", "pixels").where("pixels IS NOT NULL")
    shown = shown.join(F.broadcast(rows), on="image_id", how="left_semi")
    found = arrow_frames.mapped(shown, _coded, CODED).collect()
    return {row.image_id: bytes(row.picture) for row in found}


def _coded(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows (image_id, pixels) to rows of CODED."""
    for batch in batches:
        pixels = arrow.binary_matrix(batch.column("pixels"), decode.PIXELS)
        pictures = [decode.jpeg(row, QUALITY) for row in pixels]
        ids = batch.column("image_id").to_pylist()
        yield arrow.record_batch({"image_id": ids, "picture": pictures}, schema)
