"""Read, hash and decode source files on the executors, and cut them into tiles.

Use it for candidates that are images, whether their bytes lie in a file or in a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.acquisition import listing
from jobs.acquisition.candidate_reader import CandidateReader
from jobs.warehouse import shared_folder
from udfs import arrow
from udfs.acquisition import decode

ROWS = 512  # tiles in a batch: 6 MB of pixels


@dataclass(frozen=True)
class ImageReader(CandidateReader):
    """Decodes source files with these settings of [ingest].

    listed: the driver saw all files in their folders, so a folder that is missing on an executor is
    an error of the cluster and not of the files.
    """

    max_pixels: int
    tile: int | None
    stride: int | None
    listed: bool = False

    def tiles(self, content: bytes) -> list[decode.Tile]:
        """Decode the images in a file's bytes. Raises `decode.Unusable` if there are none."""
        return decode.decode(
            content, max_pixels=self.max_pixels, tile=self.tile, stride=self.stride
        )

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates into rows of `images`, one for each tile; leave out unusable ones."""
        copied = [name for name in schema.names if name not in _COMPUTED]
        for batch in batches:
            decoded: list[tuple[int, str, decode.Tile]] = []
            for row, content in enumerate(_contents(batch, self.listed)):
                try:
                    tiles = self.tiles(_bytes(content))
                except decode.Unusable:
                    continue
                digest = decode.sha256(_bytes(content))
                for tile in sorted(tiles, key=lambda tile: tile.suffix):
                    decoded.append((row, digest, tile))
                    if len(decoded) == ROWS:
                        yield _image_batch(batch, decoded, copied, schema)
                        decoded = []
            if decoded:
                yield _image_batch(batch, decoded, copied, schema)

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Read, hash and decode each candidate."""
        for content in _contents(batch, self.listed):
            digest = decode.sha256(content) if isinstance(content, bytes) else ""
            yield digest, self._reason(content)

    def _reason(self, content: bytes | OSError) -> tuple[str, str] | None:
        """Return None if the file holds an image, else the error code and message."""
        try:
            self.tiles(_bytes(content))
        except decode.Unusable as reason:
            return reason.code, reason.message
        return None


def status_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Fill in the size and the modification time of the files at `path`; null if there is none."""
    for batch in batches:
        statuses = [listing.status(path) for path in batch.column("path").to_pylist()]
        columns = {name: batch.column(name) for name in batch.schema.names}
        columns["size_bytes"] = [status[0] if status else None for status in statuses]
        columns["modified_at"] = [status[1] if status else None for status in statuses]
        yield arrow.record_batch(columns, schema)


_COMPUTED = ("image_id", "sha256", "width", "height", "pixels_sha256", "pixels")


def _contents(batch: pa.RecordBatch, listed: bool) -> Iterator[bytes | OSError]:
    """Yield each row's bytes: the column `content`, or else the file at `path`.

    An error in reading the file is yielded in place of its bytes. listed: see `ImageReader`; raises
    JobError if the folder of such a file cannot be seen on this machine.
    """
    for content, path in zip(batch.column("content"), batch.column("path"), strict=True):
        if content.is_valid:
            yield content.as_py()
        elif path.is_valid:
            try:
                yield listing.read(path.as_py())
            except (OSError, ValueError) as refused:  # ValueError: a name with a zero byte
                if listed and shared_folder.is_hidden_here(path.as_py()):
                    raise shared_folder.unseen(Path(path.as_py())) from refused
                yield OSError(str(refused))
        else:
            yield b""


def _bytes(content: bytes | OSError) -> bytes:
    if isinstance(content, OSError):
        raise decode.Unusable(
            "unreachable",
            f"the file cannot be read: {content}; make it readable and run it again (with "
            "--overwrite ingest where nothing else changed)",
        )
    return content


def _image_batch(
    batch: pa.RecordBatch,
    decoded: list[tuple[int, str, decode.Tile]],
    copied: list[str],
    schema: pa.Schema,
) -> pa.RecordBatch:
    """Rows of `images`; decoded: tiles with their row in the batch and their file's sha256."""
    rows = pa.array([row for row, _, _ in decoded], pa.int32())
    base = batch.column("image_id").take(rows).to_pylist()
    columns: dict[str, Any] = {name: batch.column(name).take(rows) for name in copied}
    columns |= {
        "image_id": [name + tile.suffix for name, (_, _, tile) in zip(base, decoded, strict=True)],
        "sha256": [digest for _, digest, _ in decoded],
        "width": [tile.width for _, _, tile in decoded],
        "height": [tile.height for _, _, tile in decoded],
        "pixels_sha256": [tile.pixels_sha256 for _, _, tile in decoded],
        "pixels": [tile.pixels for _, _, tile in decoded],
    }
    return arrow.record_batch(columns, schema)
