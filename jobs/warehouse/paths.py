"""Listing and reading the files of a folder, wherever it lies.

A mounted file system is walked by `os.scandir`; other places (s3://, gs://, hdfs://) go through
pyarrow's file systems. Spark's own binaryFile silently skips names that begin with `_` or `.`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from pyarrow import fs


@dataclass(frozen=True)
class SourceFile:
    """One file: `path` absolute and unescaped, `relative` to the listed root with / between."""

    path: str
    relative: str
    size_bytes: int
    modified_at: datetime
    readable: bool = True  # as far as permissions tell


def scheme(root: str) -> str:
    """What stands before `://`, or `file` for a path, which urlsplit would cut at # and ?."""
    before, separator, _ = root.partition("://")
    return before if separator and "/" not in before else "file"


def is_mounted(root: str) -> bool:
    """Whether the path is one of a mounted file system."""
    return scheme(root) == "file"


def mounted(path: str) -> Path:
    """A path, or a URI such as file:/a%20b or file:///a%20b, as a path."""
    if not path.startswith("file:"):
        return Path(path)
    return Path("/" + unquote(path.removeprefix("file:")).lstrip("/"))


def absolute(root: str) -> str:
    """The root as it stands in the tables."""
    return str(mounted(root).resolve()) if is_mounted(root) else root.rstrip("/")


def folder(root: str) -> str:
    """The root, or the folder of a root that is a single file."""
    place = absolute(root)
    return str(Path(place).parent) if is_mounted(root) and Path(place).is_file() else place


def walk(root: str) -> Iterator[SourceFile]:
    """Every file below a root, in no certain order. Links are followed, loops are not.

    A root that is itself a file is the one. Raises FileNotFoundError where there is nothing.
    """
    return _walk_mounted(absolute(root)) if is_mounted(root) else _walk_remote(root)


def read(path: str) -> bytes:
    """A file's bytes; raises OSError."""
    if is_mounted(path):
        place = mounted(path)
        if not stat.S_ISREG(place.stat().st_mode):  # a pipe would wait for a writer for ever
            raise OSError(f"is no regular file: {path}")
        return place.read_bytes()
    system, inside = fs.FileSystem.from_uri(path)
    with system.open_input_file(inside) as stream:
        return bytes(stream.read())


def status(path: str) -> tuple[int, datetime] | None:
    """Size and time of a file; None where there is none."""
    try:
        if is_mounted(path):
            found = mounted(path).stat()
            return found.st_size, _from_microseconds(found.st_mtime_ns // 1000)
        system, inside = fs.FileSystem.from_uri(path)
        info = system.get_file_info(inside)
    except (OSError, ValueError):
        return None
    if info.type != fs.FileType.File:
        return None
    return info.size, info.mtime or _from_microseconds(0)


def _walk_mounted(root: str) -> Iterator[SourceFile]:
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
            yield _mounted_file(folder, root)  # reading it will say why it cannot be listed
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


def _mounted_file(place: str, root: str) -> SourceFile:
    # A broken link: reading it will say so.
    size, modified = status(place) or (0, _from_microseconds(0))
    # Bytes of a name that are no UTF-8 cannot stand in a table: shown as replacement characters.
    path = os.fsencode(place).decode("utf-8", "replace")
    relative = os.fsencode(os.path.relpath(place, root)).decode("utf-8", "replace")
    readable = os.access(place, os.R_OK)
    return SourceFile(path, relative, size, modified, readable)


def _from_microseconds(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _walk_remote(root: str) -> Iterator[SourceFile]:
    system, inside = fs.FileSystem.from_uri(root)
    prefix = f"{scheme(root)}://"
    base = inside.rstrip("/") + "/"
    for info in system.get_file_info(fs.FileSelector(inside, recursive=True)):
        if info.type == fs.FileType.File:
            modified = info.mtime or datetime.fromtimestamp(0, UTC)
            relative = info.path.removeprefix(base)
            yield SourceFile(f"{prefix}{info.path}", relative, info.size, modified)
