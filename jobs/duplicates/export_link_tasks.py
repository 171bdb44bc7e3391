"""Name and make hard links to the files of images, on the executors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from jobs.acquisition import listing
from jobs.duplicates.original_files import AGAIN
from jobs.paths import mounted, safe_name
from jobs.warehouse import arrow_frames, shared_folder
from udfs import arrow

NAMES = arrow_frames.struct("image_id string, stem string, ending string")
# What tasks answer. problem: why an image cannot be exported at all. obstacle: why there can be no
# link to it.
ANSWERS = arrow_frames.struct("links bigint, problem string, obstacle string")
# Errors that say that there can be no links between the two places, whatever the file is.
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


def name_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Turn rows with image_id and path into rows of NAMES."""
    for batch in batches:
        pairs = zip(*(batch.column(name).to_pylist() for name in ("image_id", "path")), strict=True)
        parts = [(image_id, *name_of(image_id, path)) for image_id, path in pairs]
        columns = {name: [row[at] for row in parts] for at, name in enumerate(schema.names)}
        yield arrow.record_batch(columns, schema)


def name_of(image_id: str, path: str) -> tuple[str, str]:
    """Return stem and ending of the name of an image's link, which hold no odd characters.

    They are those of the last part of the image's id, with the ending of its file, by which loaders
    know images.

    >>> name_of("cat/a.b.jpg", "/x/cat/a.b.jpg"), name_of("7", "/x/y.PNG")
    (('a.b', '.jpg'), ('7', '.PNG'))
    """
    ending = PurePosixPath(mounted(path).name).suffix
    last = image_id.rpartition("/")[2]
    return safe_name(last.removesuffix(ending)), safe_name(f"x{ending}").removeprefix("x")


@dataclass(frozen=True)
class Linker:
    """Makes links in a folder that all executors see; folder: that of split and class in it."""

    folder: Path

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Link rows with file, path, size_bytes and modified_at; yield one row of ANSWERS.

        The task stops at the first image that cannot be linked.
        """
        links, problem, obstacle = 0, None, None
        for row in (row for batch in batches for row in batch.to_pylist()):
            shared_folder.check_folder((self.folder / row["file"]).parent)
            problem = changed(row)
            obstacle = None if problem else self._obstacle(row)
            if problem or obstacle:
                break
            links += 1
        answer = {"links": links, "problem": problem, "obstacle": obstacle}
        yield arrow.record_batch({name: [answer[name]] for name in schema.names}, schema)

    def _obstacle(self, row: Mapping[str, Any]) -> str | None:
        """Link an image; return the reason if there can be no links."""
        source, target = os.path.realpath(mounted(row["path"])), self.folder / row["file"]
        try:
            try:
                os.link(source, target)
            except FileExistsError:  # an attempt before this one made it, if it is the same
                if not target.samefile(source):
                    raise
        except OSError as refused:
            if refused.errno not in NO_LINKS:
                raise
            return f"{row['path']}: {refused.strerror}"
        return None


def changed(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a file that is no longer as ingest saw it."""
    status: tuple[int, datetime] | None = listing.status(row["path"])
    if status is None:
        return f"{row['path']} is gone or cannot be reached: if it is gone, {AGAIN}"
    size, modified = status
    if size != row["size_bytes"] or modified != row["modified_at"]:
        return f"{row['path']} changed since it was read: {AGAIN}"
    return None
