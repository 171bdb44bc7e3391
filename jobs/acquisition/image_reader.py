"""Read, hash and decode source files on the executors, and cut them into tiles.

Use it for candidates that are images, whether their bytes lie in a file or in a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.acquisition import decoders, listing
from jobs.acquisition.allowed_paths import is_allowed
from jobs.acquisition.candidate_reader import CandidateReader
from jobs.acquisition.decoders import Answer
from jobs.acquisition.decoding import Decoding, too_many_bytes
from jobs.warehouse import arrow_frames, shared_folder
from udfs import arrow
from udfs.acquisition import decode, levels, samples
from udfs.acquisition.ranges import Range

ROWS = 512  # tiles in a batch: 6 MB of pixels
# How the values of a picture of more than 8 bits spread (`ranges.Spread`).
SPREAD = arrow_frames.struct(
    "label string, kind string, edges array<double>, quantiles array<double>"
)


@dataclass(frozen=True)
class ImageReader(CandidateReader):
    """Decodes source files, in a process of its own beside each worker (`decoders`).

    listed: the driver saw all files in their folders, so a folder that is missing on an executor is
    an error of the cluster and not of the files. ranges: of each class, by kind of samples
    (`value_ranges`).
    """

    decoding: Decoding
    listed: bool = False
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)

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

    def spread_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates that are pictures of more than 8 bits into rows of SPREAD."""
        for batch in batches:
            files = _files(batch)
            numbers = [n for n, file in enumerate(files) if self._may_be_deep(*file)]
            deep = [files[number] for number in numbers]
            answers = [a for a in decoders.spread_of(deep, self.decoding) if a.spread]
            if answers:
                labels = batch.column("label")
                found = [(labels[numbers[a.number]].as_py(), a.spread or ()) for a in answers]
                columns: dict[str, Any] = {
                    "label": [label for label, _ in found],
                    "kind": [kind for _, (kind, _) in found],
                    "edges": [edges for _, (_, (edges, _)) in found],
                    "quantiles": [quantiles for _, (_, (_, quantiles)) in found],
                }
                yield arrow.record_batch(columns, schema)

    def _may_be_deep(self, path: str, content: bytes | None) -> bool:
        """Whether a file may be a picture of more than 8 bits, by its first bytes."""
        within = self.decoding.within
        if content is None and (within is None or is_allowed(path, within)):
            with suppress(OSError, ValueError):
                content = listing.head(path, samples.HEAD)
        return content is not None and samples.may_be_deep(content[: samples.HEAD])

    def _answers(self, batch: pa.RecordBatch, *, with_tiles: bool) -> Iterator[Answer]:
        """Yield what the decoding process says of each candidate.

        Raises JobError if the folder of a listed file cannot be seen on this machine.
        """
        files = _files(batch)
        ranges: list[Mapping[str, Range]] = []
        if self.ranges:
            ranges = [self.ranges.get(label, {}) for label in batch.column("label").to_pylist()]
        for answer in decoders.examined(files, self.decoding, with_tiles=with_tiles, ranges=ranges):
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


_COMPUTED = (
    *("image_id", "sha256", "width", "height", "pixels_sha256", "levels"),
    *("range_low", "range_high", "pixels"),
)


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
        "width": [width for _, (_, width, *_) in tiles],
        "height": [height for _, (_, _, height, *_) in tiles],
        "pixels_sha256": [digest for _, (_, _, _, digest, _) in tiles],
        "levels": [levels.count(pixels) for pixels in images],
        "range_low": [shown and shown[0] for _, (*_, shown) in tiles],
        "range_high": [shown and shown[1] for _, (*_, shown) in tiles],
        "pixels": images,
    }
    return arrow.record_batch(columns, schema)
