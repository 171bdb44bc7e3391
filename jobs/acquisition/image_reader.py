"""What executors do with source files: read, hash, decode, cut; in batches of Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.acquisition import listing
from jobs.acquisition.candidate_reader import Reading
from udfs import arrow
from udfs.acquisition import decode

ROWS = 512  # tiles a batch: 6 MB of pixels


@dataclass(frozen=True)
class Decoding(Reading):
    """The settings that decide what a source file turns into."""

    max_pixels: int
    tile: int | None
    stride: int | None

    def tiles(self, content: bytes) -> list[decode.Tile]:
        """The images in a file's bytes; raises Unusable."""
        return decode.decode(
            content, max_pixels=self.max_pixels, tile=self.tile, stride=self.stride
        )

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates to rows of `images`; unusable ones are left out (reject_rows tells why)."""
        carried = [name for name in schema.names if name not in _MADE]
        for batch in batches:
            held: list[tuple[int, str, decode.Tile]] = []
            for row, content in enumerate(_contents(batch)):
                try:
                    tiles = self.tiles(_bytes(content))
                except decode.Unusable:
                    continue
                digest = decode.sha256(_bytes(content))
                for tile in sorted(tiles, key=lambda tile: tile.suffix):
                    held.append((row, digest, tile))
                    if len(held) == ROWS:
                        yield _image_batch(batch, held, carried, schema)
                        held = []
            if held:
                yield _image_batch(batch, held, carried, schema)

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Read, hash and decode each candidate."""
        for content in _contents(batch):
            digest = decode.sha256(content) if isinstance(content, bytes) else ""
            yield digest, self._reason(content)

    def _reason(self, content: bytes | OSError) -> tuple[str, str] | None:
        """Code and message of why there is no image in it; None where there is one."""
        try:
            self.tiles(_bytes(content))
        except decode.Unusable as reason:
            return reason.code, reason.message
        return None


def status_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Candidates that are paths, with the size and time of the file there; null where it is not."""
    for batch in batches:
        found = [listing.status(path) for path in batch.column("path").to_pylist()]
        columns = {name: batch.column(name) for name in batch.schema.names}
        columns["size_bytes"] = [state[0] if state else None for state in found]
        columns["modified_at"] = [state[1] if state else None for state in found]
        yield arrow.record_batch(columns, schema)


_MADE = ("image_id", "sha256", "width", "height", "pixels")


def _contents(batch: pa.RecordBatch) -> Iterator[bytes | OSError]:
    """Each row's bytes: the column `content`, or else the file at `path`."""
    for content, path in zip(batch.column("content"), batch.column("path"), strict=True):
        if content.is_valid:
            yield content.as_py()
        elif path.is_valid:
            try:
                yield listing.read(path.as_py())
            except (OSError, ValueError) as refused:  # ValueError: a name with a zero byte
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
    held: list[tuple[int, str, decode.Tile]],
    carried: list[str],
    schema: pa.Schema,
) -> pa.RecordBatch:
    rows = pa.array([row for row, _, _ in held], pa.int32())
    base = batch.column("image_id").take(rows).to_pylist()
    columns: dict[str, Any] = {name: batch.column(name).take(rows) for name in carried}
    columns |= {
        "image_id": [name + tile.suffix for name, (_, _, tile) in zip(base, held, strict=True)],
        "sha256": [digest for _, digest, _ in held],
        "width": [tile.width for _, _, tile in held],
        "height": [tile.height for _, _, tile in held],
        "pixels": [tile.pixels for _, _, tile in held],
    }
    return arrow.record_batch(columns, schema)
