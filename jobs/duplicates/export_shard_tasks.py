"""Turn images into the members of WebDataset's tar shards, on the executors.

A shard is a plain tar. An image is three members that follow each other and share a key: the file
itself, `KEY.json` with what is told of it, and `KEY.cls` with the number of its class. Use
`SampleReader.rows` where the driver writes the shards, `ShardWriter.rows` where tasks do.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pyarrow as pa

from jobs.duplicates.original_files import NotAsIngested, Originals
from jobs.warehouse import arrow_frames, shared_folder
from udfs import arrow

BLOCK = tarfile.BLOCKSIZE  # 512 bytes, to which members are filled up
END = bytes(2 * BLOCK)  # of an archive
# What tasks answer. problem: why images cannot be exported; then nothing else is told.
SAMPLES = arrow_frames.struct("bucket int, data binary, problem string")
SHARDS = arrow_frames.struct(
    "bucket int, part int, file string, images bigint, size bigint, sha256 string, problem string"
)


class Sample(NamedTuple):
    """An image as members of a tar. bucket: the number of the bucket that it belongs to."""

    bucket: int
    data: bytes


class Part(NamedTuple):
    """A shard among those of a bucket: the bucket's number, and that of the shard within it."""

    bucket: int
    part: int


def member(name: str, data: bytes) -> bytes:
    """Return a file as it stands in a tar (POSIX ustar), without owner and time."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def in_parts(samples: Iterable[Sample], most: int) -> Iterator[tuple[Part, Iterator[bytes]]]:
    """Yield the shards of samples whose buckets follow each other, and the bytes of each sample.

    A shard has samples of one bucket, and at most `most` bytes unless a single sample has more.
    """
    for part, group in groupby(_numbered(samples, most), lambda pair: pair[0]):
        yield part, (sample.data for _, sample in group)


def _numbered(samples: Iterable[Sample], most: int) -> Iterator[tuple[Part, Sample]]:
    part, size = Part(-1, 0), 0
    for sample in samples:
        if sample.bucket != part.bucket:
            part, size = Part(sample.bucket, 0), len(END)
        elif size + len(sample.data) > most:
            part, size = Part(part.bucket, part.part + 1), len(END)
        size += len(sample.data)
        yield part, sample


@dataclass(frozen=True)
class SampleReader:
    """Makes samples of images. Rows come by bucket, and within it by key."""

    originals: Originals

    def samples(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Sample]:
        """Yield the samples of rows, which have bucket, key, info, number and what is read."""
        for batch in batches:
            for at in range(batch.num_rows):
                (row,) = batch.slice(at, 1).to_pylist()
                yield Sample(row["bucket"], self._sample(row))

    def _sample(self, row: dict[str, Any]) -> bytes:
        data, ending = self.originals.read(row)
        members = {ending: data, "json": row["info"].encode(), "cls": str(row["number"]).encode()}
        return b"".join(member(f"{row['key']}.{end}", data) for end, data in members.items())

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row of SAMPLES for each image, up to the first that cannot be exported."""
        try:
            for sample in self.samples(batches):
                yield _row(schema, bucket=sample.bucket, data=sample.data)
        except NotAsIngested as problem:
            yield _row(schema, problem=str(problem))


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards as files of a folder that all executors see.

    Each attempt of a task has names of its own; the driver renames those of the attempts that
    Spark took, and deletes all others. most: bytes of a shard.
    """

    reader: SampleReader
    folder: Path
    most: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row of SHARDS for each shard, up to the first image that cannot be exported."""
        attempt = uuid4().hex
        try:
            for part, samples in in_parts(self.reader.samples(batches), self.most):
                shared_folder.check_folder(self.folder)
                name = f".{part.bucket}-{part.part}-{attempt}"
                written = write_parts(self.folder / name, samples)
                yield _row(schema, **part._asdict(), file=name, **written._asdict())
        except NotAsIngested as problem:
            yield _row(schema, problem=str(problem))


class Written(NamedTuple):
    """What a shard holds: images, bytes, and the SHA-256 of the file in hexadecimal."""

    images: int
    size: int
    sha256: str


class Counted:
    """The parts of a shard on their way to a file, with its end, counted and hashed."""

    def __init__(self, samples: Iterable[bytes]) -> None:
        self._samples = samples
        self._images = self._size = 0
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for data in self._samples:
            self._images += 1
            yield self._counted(data)
        yield self._counted(END)

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        self._digest.update(data)
        return data

    @property
    def written(self) -> Written:
        """What passed through so far."""
        return Written(self._images, self._size, self._digest.hexdigest())


def write_parts(path: Path, samples: Iterable[bytes]) -> Written:
    """Write a shard; what was written of one that fails is deleted."""
    counted = Counted(samples)
    try:
        with path.open("wb") as file:
            file.writelines(counted)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return counted.written


def _row(schema: pa.Schema, **values: Any) -> pa.RecordBatch:
    return arrow.record_batch({name: [values.get(name)] for name in schema.names}, schema)
