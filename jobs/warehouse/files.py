"""Small files of a warehouse beside its tables: trained models, generated images, the report.

`LocalFiles` is for a mounted folder, `HadoopFiles` for any other file system of Spark.
Names are relative to the warehouse and use `/`. A name that begins with a dot is a file that is
being written, or a folder that is being replaced or deleted; `list` omits it. `is_aside` tells such
names from those of other programs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from pyspark.sql import SparkSession

from jobs import paths
from jobs.warehouse.hadoop import HadoopFileSystem

# Object stores show a file only when it is whole, and cannot rename but by copying.
WHOLE = ("s3a", "s3", "gs")
NEW, OLD, DELETED = ".new", ".old", ".deleted"  # endings of folders that are set aside
# A folder that is replaced or deleted, or a file that a process of this number writes.
ASIDE = re.compile(r"\..+\.(new|old|deleted|\d+)")


class FileInfo(NamedTuple):
    """A file's name below the warehouse, its bytes, and when it was changed, in seconds."""

    name: str
    size: int
    modified: float


class Files(ABC):
    """Files that are read and written whole, by the driver."""

    @abstractmethod
    def path(self, name: str) -> str:
        """Return where a file lies, for messages and links."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is a file or a folder of this name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""

    @abstractmethod
    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file of parts aside, then rename it: readers see the old one or the new, whole.

        So a file may be larger than the driver's memory.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, or a folder and all in it, if it exists."""

    @abstractmethod
    def infos(self, folder: str) -> list[FileInfo]:
        """Return all files below a folder, hidden ones too; none if there is no folder."""

    @abstractmethod
    def entries(self, folder: str = "") -> list[str]:
        """Return the names of what lies directly in a folder, hidden ones too, sorted."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Rename a file or a folder; nothing of the new name exists."""

    @abstractmethod
    def link_or_copy(self, old: str, new: str) -> None:
        """Give a file, which is never changed, another name beside its own, or copy it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file aside, then rename it: readers see the old file or the new one, whole."""
        self.write_parts(name, (data,))

    def list(self, folder: str) -> list[str]:
        """Return the names of all files below a folder, sorted; none if there is no folder."""
        return sorted(file.name for file in self.infos(folder) if not _is_hidden(file.name))

    def replace(self, folder: str, files: Iterable[tuple[str, bytes]]) -> int:
        """Replace a folder by these files (name below it, bytes); return how many there are.

        They are written aside, so the folder is the old one or the new one, whole. What a run left
        that was killed meanwhile is deleted.
        """
        aside, old = f".{folder}{NEW}", f".{folder}{OLD}"
        self.delete(aside)
        count = 0
        for name, data in files:
            self.write(f"{aside}/{name}", data)
            count += 1
        self.delete(old)
        if self.exists(folder):
            self.rename(folder, old)
        if count:
            self.rename(aside, folder)
        self.delete(old)
        return count


class LocalFiles(Files):
    """Files below a mounted folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> str:  # noqa: D102
        return str(self._root / name)

    def exists(self, name: str) -> bool:  # noqa: D102
        return (self._root / name).exists()

    def read(self, name: str) -> bytes:  # noqa: D102
        return (self._root / name).read_bytes()

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:  # noqa: D102
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with aside.open("wb") as file:
            file.writelines(parts)
        aside.replace(path)

    def delete(self, name: str) -> None:  # noqa: D102
        path = self._root / name
        if path.is_dir() and not path.is_symlink():
            # Readers, and a run that is killed meanwhile, see the whole folder or none.
            aside = path.with_name(f".{path.name}{DELETED}")
            if aside.exists():
                shutil.rmtree(aside)
            shutil.rmtree(path.rename(aside))
        else:
            path.unlink(missing_ok=True)

    def infos(self, folder: str) -> list[FileInfo]:  # noqa: D102
        found = []
        # Links are followed: a model's folder may be one, to share it with another warehouse.
        for path, folders, files in os.walk(self._root / folder, followlinks=True):
            real = Path(path).resolve()
            above = {real, *real.parents}
            folders[:] = [name for name in folders if Path(path, name).resolve() not in above]
            for file in (Path(path, name) for name in files):
                with contextlib.suppress(FileNotFoundError):  # others may delete meanwhile
                    state = file.stat()
                    if stat.S_ISREG(state.st_mode):
                        name = file.relative_to(self._root).as_posix()
                        found.append(FileInfo(name, state.st_size, state.st_mtime))
        return found

    def entries(self, folder: str = "") -> list[str]:  # noqa: D102
        path = self._root / folder
        return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []

    def link_or_copy(self, old: str, new: str) -> None:  # noqa: D102
        source, target = self._root / old, self._root / new
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)

    def rename(self, old: str, new: str) -> None:  # noqa: D102
        (self._root / old).rename(self._root / new)


class HadoopFiles(Files):
    """Files in any file system that Spark can reach.

    check: is called before what readers see is changed; what it raises prevents that.
    """

    def __init__(
        self, spark: SparkSession, root: str, check: Callable[[], None] = lambda: None
    ) -> None:
        self._root = root
        self._check = check
        self._files = HadoopFileSystem(spark, root)

    def path(self, name: str) -> str:  # noqa: D102
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:  # noqa: D102
        return self._files.status(self.path(name)) is not None

    def read(self, name: str) -> bytes:  # noqa: D102
        return self._files.read(self.path(name))

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:  # noqa: D102
        whole = paths.scheme(self._root) in WHOLE
        folder, _, last = name.rpartition("/")
        aside = f"{folder}/.{last}.{os.getpid()}" if folder else f".{last}.{os.getpid()}"
        if not whole:
            self._files.write_parts(self.path(aside), parts)
        if not _is_hidden(name):
            self._check()
        if whole:
            self._files.write_parts(self.path(name), parts)
        else:
            self._files.rename_over(self.path(aside), self.path(name))

    def delete(self, name: str) -> None:  # noqa: D102
        self._check()
        self._files.delete(self.path(name))

    def infos(self, folder: str) -> list[FileInfo]:  # noqa: D102
        above = len(self._files.root) + 1
        try:
            return [
                FileInfo(status.path[above:], status.size_bytes, status.modified_at.timestamp())
                for status in self._files.walk(self.path(folder))
            ]
        except FileNotFoundError:
            return []

    def entries(self, folder: str = "") -> list[str]:  # noqa: D102
        try:
            children = self._files.children(self.path(folder))
        except FileNotFoundError:
            return []
        return sorted(status.path.rpartition("/")[2] for status in children)

    def link_or_copy(self, old: str, new: str) -> None:  # noqa: D102
        self._files.copy(self.path(old), self.path(new))

    def rename(self, old: str, new: str) -> None:  # noqa: D102
        self._check()
        self._files.rename(self.path(old), self.path(new))


def is_aside(name: str) -> bool:
    """Return whether the last part of a name is one under which `Files` sets something aside.

    >>> [is_aside(name) for name in ("report/.report.html.4711", ".images.new", ".lock", ".git")]
    [True, True, False, False]
    """
    return bool(ASIDE.fullmatch(name.rpartition("/")[2]))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
