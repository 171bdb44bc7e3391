"""The numbered files of a lease, below `<warehouse>/.lease/`, in a file system of Hadoop.

`LeaseFiles` is what `lease.Lease` needs of a file system, `HadoopLeaseFiles` has it from the file
systems of Spark's JVM, with the credentials that these have.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql import SparkSession

from jobs import paths
from jobs.errors import JobError

FOLDER = ".lease"
CLOCK = ".now-"  # what the names of files begin with that are written to tell the time
# Hadoop's option of createFile, and the name by which a file system says that it has it: the file
# appears when it is closed, and only if there is none then. S3A sends `If-None-Match: *`.
CONDITIONAL = "fs.option.create.conditional.overwrite"
# File systems whose `create` without overwriting is atomic, though they do not know that option.
ATOMIC = ("hdfs", "abfs", "abfss", "gs")
ATTEMPTS = 3  # to create a file


@dataclass(frozen=True)
class LeaseFile:
    """What a file holds, and when it was written by the clock of the file system, in seconds.

    data is empty while the file is being written.
    """

    data: bytes
    modified: float


class LeaseFiles(Protocol):
    """Small files with numbers for names. All methods but `path` raise JobError if refused."""

    def path(self, number: int) -> str:
        """Return where a file lies, for messages."""

    def numbers(self) -> list[int]:
        """Return the numbers of all files, in no order."""

    def create(self, number: int, data: bytes) -> bool:
        """Write a file that does not exist; of several writers one gets True. data is unique."""

    def rewrite(self, number: int, data: bytes) -> None:
        """Replace a file, or write it if there is none."""

    def read(self, number: int) -> LeaseFile | None:
        """Return a file; None if there is none."""

    def now(self) -> float:
        """Return the time by the file system's clock, as `LeaseFile.modified` tells it."""

    def delete(self, number: int) -> None:
        """Delete a file, if it exists."""


class HadoopLeaseFiles:
    """The files in any file system of Hadoop that can create a file atomically."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._spark = spark
        self._root = root
        self._known: Any = None  # the file system

    def path(self, number: int) -> str:  # noqa: D102
        return f"{self._root}/{FOLDER}/{number:08}"

    def numbers(self) -> list[int]:  # noqa: D102
        with self._explained("listed"):
            system, folder = self._system, self._hadoop_path(f"{self._root}/{FOLDER}")
            try:
                names = [status.getPath().getName() for status in system.listStatus(folder)]
            except Py4JJavaError as refused:
                if _is(refused, "FileNotFoundException"):
                    return []
                raise
        return [int(name) for name in names if name.isdecimal()]

    def create(self, number: int, data: bytes) -> bool:
        """Write a file that does not exist, and return whether this call did.

        A file system's client may repeat a request whose answer was lost, and is then told that the
        file exists, which is its own. So the file is read before the answer is no. S3 may refuse
        both of two requests at a time, and wants them to be repeated.
        """
        with self._explained("written"):
            for attempt in range(ATTEMPTS):
                try:
                    self._create(self.path(number), data)
                except Py4JJavaError as refused:
                    existing = self.read(number)
                    if existing is None and attempt < ATTEMPTS - 1:
                        continue
                    if existing is not None and existing.data == data:
                        return True
                    # HDFS shows a file before it is filled: an empty one may be that of a rival.
                    if existing is not None and (existing.data or _is_conflict(refused)):
                        return False
                    raise
                return True
        raise AssertionError  # the last attempt returns or raises

    def rewrite(self, number: int, data: bytes) -> None:  # noqa: D102
        with self._explained("written"):
            stream = self._system.create(self._hadoop_path(self.path(number)), True)
            _fill(stream, data)

    def read(self, number: int) -> LeaseFile | None:  # noqa: D102
        with self._explained("read"):
            path = self._hadoop_path(self.path(number))
            try:
                status = self._system.getFileStatus(path)
            except Py4JJavaError as refused:
                if _is(refused, "FileNotFoundException"):
                    return None
                raise
            modified = status.getModificationTime() / 1000
            return LeaseFile(self._content(path) if status.getLen() else b"", modified)

    def now(self) -> float:
        """Return the time by the file system's clock: that of a file which is written for it.

        The file is created twice, and the second time must be refused. Some servers that speak S3
        ignore `If-None-Match`, and then two runs would both believe that they hold the lease.
        """
        name = f"{self._root}/{FOLDER}/{CLOCK}{secrets.token_hex(8)}"
        with self._explained("written"):
            path = self._hadoop_path(name)
            self._create(name, b"1")
            try:
                twice = self._created_again(name)
                modified = float(self._system.getFileStatus(path).getModificationTime()) / 1000
            finally:
                self._system.delete(path, False)
        if twice:
            raise JobError(
                f"{self._root} cannot be locked: its server replaced a file that was to be written "
                "only if there was none (it ignores If-None-Match), so two runs could write at "
                "once; use one that has conditional writes, or a folder that all machines mount"
            )
        return modified

    def delete(self, number: int) -> None:  # noqa: D102
        with self._explained("deleted"):
            self._system.delete(self._hadoop_path(self.path(number)), False)

    @property
    def _system(self) -> Any:
        if self._known is None:
            conf = self._spark._jsparkSession.sessionState().newHadoopConf()
            self._known = self._hadoop_path(self._root).getFileSystem(conf)
        return self._known

    def _hadoop_path(self, name: str) -> Any:
        jvm = self._spark._jvm
        assert jvm is not None
        return jvm.org.apache.hadoop.fs.Path(name)

    def _create(self, name: str, data: bytes) -> None:
        """Create a file if there is none. Raises JobError if this cannot be done atomically."""
        path, system = self._hadoop_path(name), self._system
        scheme = paths.scheme(self._root)
        if system.hasPathCapability(path, CONDITIONAL):
            stream = system.createFile(path).recursive().must(CONDITIONAL, True).build()
        elif scheme in ATOMIC:
            stream = system.create(path, False)
        elif scheme == "s3a":
            raise JobError(
                f"{self._root} cannot be locked, since this s3a:// has no conditional writes: set "
                "spark.hadoop.fs.s3a.create.conditional.enabled=true, with hadoop-aws 3.5.0 "
                "or newer"
            )
        else:
            raise JobError(
                f"{self._root} cannot be locked: whether {scheme}:// creates a file only if there "
                "is none is not known, so two runs could write at once; use hdfs, s3a, abfss or "
                "gs, or a folder that all machines mount"
            )
        _fill(stream, data)

    def _created_again(self, name: str) -> bool:
        try:
            self._create(name, b"2")
        except Py4JJavaError:
            return False
        return True

    def _content(self, path: Any) -> bytes:
        """Return a file's bytes; none if it is just being replaced, which takes it away."""
        try:
            stream = self._system.open(path)
            try:
                return bytes(stream.readAllBytes())
            finally:
                stream.close()
        except Py4JJavaError:
            return b""

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Raise an error of the file system, or of a JVM that is gone, as JobError."""
        try:
            yield
        except (Py4JError, OSError) as refused:
            text = refused.java_exception if isinstance(refused, Py4JJavaError) else refused
            line = (str(text).splitlines() or [""])[0]
            raise JobError(f"{self._root}/{FOLDER} cannot be {done}: {line}") from refused


def _fill(stream: Any, data: bytes) -> None:
    try:
        stream.write(bytearray(data))
    finally:
        stream.close()


def _is(error: Py4JJavaError, name: str) -> bool:
    """Return whether an error of the JVM is of a class of this name."""
    return str(error.java_exception.getClass().getSimpleName()) == name


def _is_conflict(error: Py4JJavaError) -> bool:
    """Return whether the file is there, or is being written. HDFS says the latter in a text."""
    text = str(error.java_exception)
    return any(
        name in text for name in ("FileAlreadyExistsException", "AlreadyBeingCreatedException")
    )
