"""List and read the files of a folder on a mounted file system; for others see `remote_files`.

Folders are walked by `os.scandir`. Spark's own reader of binary files is not used: it silently
passes over names that begin with `_` or `.`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs.paths import absolute, is_mounted, mounted


@dataclass(frozen=True)
class SourceFile:
    """One file of a folder.

    path: absolute and unescaped. relative: the path below the listed root, separated by /.
    readable: False if the permissions forbid reading it.
    """

    path: str
    relative: str
    size_bytes: int
    modified_at: datetime
    readable: bool = True


def walk(root: str) -> Iterator[SourceFile]:
    """Yield every file below a root, in no particular order. Links are followed, loops are not.

    A root that is itself a file is yielded as the only one. Raises FileNotFoundError if the root
    does not exist.
    """
    return _walk(absolute(root))


def read(path: str) -> bytes:
    """Return a file's bytes. Raises OSError if it cannot be read."""
    if not is_mounted(path):
        raise OSError(f"it is no longer there, Spark cannot read it, or it has over 1 GiB: {path}")
    file = mounted(path)
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for a writer for ever
        raise OSError(f"is no regular file: {path}")
    return file.read_bytes()


def status(path: str) -> tuple[int, datetime] | None:
    """Return a file's size in bytes and its modification time; None if there is no such file."""
    try:
        file = mounted(path).stat()
    except (OSError, ValueError):
        return None
    return file.st_size, _from_microseconds(file.st_mtime_ns // 1000)


def _walk(root: str) -> Iterator[SourceFile]:
    if Path(root).is_file():
        yield _mounted_file(root, str(Path(root).parent))
        return
    pending = [(root, frozenset({os.path.realpath(root)}))]
    while pending:
        folder, above = pending.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            if folder == root:
                raise
            yield _mounted_file(folder, root)  # the error comes when it is read like a file
            continue
        with entries:
            for entry in entries:
                if not _is_folder(entry):
                    yield _mounted_file(entry.path, root)
                elif (real := os.path.realpath(entry.path)) not in above:
                    pending.append((entry.path, above | {real}))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a file that cannot be read
        return False


def _mounted_file(name: str, root: str) -> SourceFile:
    # A broken link has no status; the error comes when the file is read.
    size, modified = status(name) or (0, _from_microseconds(0))
    # Bytes that are no UTF-8 cannot stand in a table: replacement characters take their place.
    path = os.fsencode(name).decode("utf-8", "replace")
    relative = os.fsencode(os.path.relpath(name, root)).decode("utf-8", "replace")
    readable = os.access(name, os.R_OK)
    return SourceFile(path, relative, size, modified, readable)


def _from_microseconds(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
