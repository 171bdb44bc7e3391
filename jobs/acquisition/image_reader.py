"""Read, hash and decode source files on the executors, and cut them into tiles.

Use it for candidates that are images, whether their bytes lie in a file or in a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.acquisition import decoders, listing
from jobs.acquisition.allowed_paths import is_allowed
from jobs.acquisition.candidate_reader import CandidateReader
from jobs.acquisition.decoders import Answer
from jobs.acquisition.decoding import Decoding, too_many_bytes
from jobs.warehouse import shared_folder
from udfs import arrow
from udfs.acquisition import decode, levels

ROWS = 512  # tiles in a batch: 6 MB of pixels


@dataclass(frozen=True)
class ImageReader(CandidateReader):
    """Decodes source files, in a process of its own beside each worker (`decoders`).

    listed: the driver saw all files in their folders, so a folder that is missing on an executor is
    an error of the cluster and not of the files.
    """

    decoding: Decoding
    listed: bool = False

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates into rows of `images`, one for each tile; leave out unusable ones."""
        copied = [name for name in schema.names if name not in _COMPUTED]
        for batch in batches:
            held: list[Answer] = []
            count = 0
            for answer in self._answers(batch, with_tiles=True):
                if count and count + len(answer.tiles) > ROWS:
                    yield _image_batch(batch, held, copied, schema)
                    held, count = [], 0
                if answer.tiles:
                    held.append(answer)
                    count += len(answer.tiles)
            if held:
                yield _image_batch(batch, held, copied, schema)

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Read, hash and decode each candidate."""
        for answer in self._answers(batch, with_tiles=False):
            yield answer.digest, (answer.code, answer.text) if answer.code else None

    def _answers(self, batch: pa.RecordBatch, *, with_tiles: bool) -> Iterator[Answer]:
        """Yield what the decoding process says of each candidate.

        Raises JobError if the folder of a listed file cannot be seen on this machine.
        """
        files = _files(batch)
        for answer in decoders.examined(files, self.decoding, with_tiles=with_tiles):
            path, content = files[answer.number]
            if answer.code == "unreachable" and content is None:
                if self.listed and shared_folder.is_hidden_here(path):
                    raise shared_folder.unseen(Path(path))
                size = batch.column("size_bytes")[answer.number].as_py() or 0
                if size > self.decoding.max_bytes:  # so it was not brought here
                    reason = too_many_bytes(size, self.decoding.max_bytes)
                    answer = replace(answer, code=reason.code, text=reason.message)
            yield answer


def status_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, within: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Fill in the size and the modification time of the files at `path`.

    They are null if there is no such file, and of those that lie outside of the folders `within`.
    """
    for batch in batches:
        statuses = [
            listing.status(path) if is_allowed(path, within) else None
            for path in batch.column("path").to_pylist()
        ]
        columns = {name: batch.column(name) for name in batch.schema.names}
        columns["size_bytes"] = [status[0] if status else None for status in statuses]
        columns["modified_at"] = [status[1] if status else None for status in statuses]
        yield arrow.record_batch(columns, schema)


_COMPUTED = ("image_id", "sha256", "width", "height", "pixels_sha256", "levels", "pixels")


def _files(batch: pa.RecordBatch) -> list[tuple[str, bytes | None]]:
    """Return path and bytes of each row: the column `content`, or None to read the file at `path`.

    A row that has neither is a file without bytes.
    """
    paths, contents = (batch.column(name).to_pylist() for name in ("path", "content"))
    return [
        (path or "", b"" if path is None and content is None else content)
        for path, content in zip(paths, contents, strict=True)
    ]


def _image_batch(
    batch: pa.RecordBatch, answers: list[Answer], copied: list[str], schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of `images`; answers: the tiles of files, by the files' rows in the batch."""
    tiles = [(answer, tile) for answer in answers for tile in answer.tiles]
    rows = pa.array([answer.number for answer, _ in tiles], pa.int32())
    base = batch.column("image_id").take(rows).to_pylist()
    images = [
        answer.pixels[at : at + decode.PIXELS]
        for answer in answers
        for at in range(0, len(answer.pixels), decode.PIXELS)
    ]
    columns: dict[str, Any] = {name: batch.column(name).take(rows) for name in copied}
    columns |= {
        "image_id": [name + suffix for name, (_, (suffix, *_)) in zip(base, tiles, strict=True)],
        "sha256": [answer.digest for answer, _ in tiles],
        "width": [width for _, (_, width, _, _) in tiles],
        "height": [height for _, (_, _, height, _) in tiles],
        "pixels_sha256": [digest for _, (_, _, _, digest) in tiles],
        "levels": [levels.count(pixels) for pixels in images],
        "pixels": images,
    }
    return arrow.record_batch(columns, schema)
