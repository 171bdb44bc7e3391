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
from typing import BinaryIO
from urllib.parse import quote

from jobs.acquisition.decoding import too_many_bytes
from jobs.paths import absolute, is_mounted, mounted


@dataclass(frozen=True)
class SourceFile:
    """One file of a folder.

    path: absolute and unescaped, or a URI (`in_utf8`). relative: the path below the listed root,
    separated by /.
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


def read(path: str, most: int) -> bytes:
    """Return a file's bytes.

    Raises OSError if it cannot be read, and Unusable if it has more than `most` bytes, of which
    none is read then.
    """
    if not is_mounted(path):
        raise OSError(f"it is no longer there, or Spark cannot read it: {path}")
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise too_many_bytes(size, most)
        data = file.read(size + 1)
        if len(data) > size:  # it grows, or it is no real file and has no true size
            data += file.read(most)
    if len(data) > most:
        raise too_many_bytes(len(data), most)
    return data


def head(path: str, most: int) -> bytes:
    """Return the first bytes of a mounted file, at most so many. Raises OSError."""
    with _opened(path) as file:
        return file.read(most)


def _opened(path: str) -> BinaryIO:
    """Open a file, and nothing that a reader might wait for. Raises OSError."""
    try:
        return _open(path)
    except OSError as refused:
        if refused.filename is not None:
            refused.filename = path  # as the table has it: the system's name may be no UTF-8
        raise


def _open(path: str) -> BinaryIO:
    file = mounted(path)
    _check_regular(file.stat(), path)  # to open a device may already do something
    # Between both checks another file may have taken its place: a pipe must not be waited for.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    content = os.fdopen(descriptor, "rb")
    try:
        _check_regular(os.fstat(descriptor), path)
    except OSError:
        content.close()
        raise
    return content


def _check_regular(state: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"is no regular file: {path}")


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
    readable = os.access(name, os.R_OK)
    path, relative = in_utf8(name, os.path.relpath(name, root))
    return SourceFile(path, relative, size, modified, readable)


def in_utf8(path: str, relative: str) -> tuple[str, str]:
    """Return both as tables can hold them: a path that holds other bytes than UTF-8 as a URI.

    Its relative path is percent-encoded as well, with `//` before the last name: no other file's
    relative path holds that, so that the ids of all files differ.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        folder, _, name = quote(os.fsencode(relative)).rpartition("/")
        return "file://" + quote(os.fsencode(path)), f"{folder}//{name}"
    return path, relative


def _from_microseconds(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
