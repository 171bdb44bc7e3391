"""Hadoop's file systems in Spark's JVM: hdfs, s3a, abfss, gs, and whatever else is set up there.

They use the credentials and the configuration that Spark has. Only the driver reaches them this
way: the Python processes of executors have no JVM to ask.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Numbers of the fields of Hadoop's FileStatusProto (FSProtos.proto), and of the type of a folder.
_TYPE, _PATH, _LENGTH, _MODIFIED, _FOLDER = 1, 2, 3, 7, 1
_BYTES = 2  # the kind of a field that holds bytes; kind 0 is a whole number
_NO_FILE = "java.io.FileNotFoundException"
_FORBIDDEN = "org.apache.hadoop.security.AccessControlException"


@dataclass(frozen=True)
class Status:
    """A file or a folder. path: with its file system, unescaped, as Spark writes it in a table."""

    path: str
    size_bytes: int
    modified_at: datetime
    is_folder: bool


class HadoopFileSystem:
    """The file system of a path or URI. OSError, of the usual kinds, says why something failed."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        jvm = spark._jvm
        assert jvm is not None
        self._jvm = jvm
        self._gateway: Any = spark.sparkContext._gateway
        self._conf = spark._jsparkSession.sessionState().newHadoopConf()
        try:
            path = jvm.org.apache.hadoop.fs.Path(root)
            self.system = path.getFileSystem(self._conf)
            self.root = str(self.system.makeQualified(path).toString()).rstrip("/")
        except Py4JJavaError as refused:
            raise _error(refused, root) from refused

    def path(self, path: str) -> Any:
        """Return Hadoop's object of a path."""
        made = self._jvm.org.apache.hadoop.fs.Path(path)
        # Of hdfs://host the path is empty; the folder is /.
        return made if made.isAbsolute() else self._jvm.org.apache.hadoop.fs.Path(f"{path}/")

    def status(self, path: str) -> Status | None:
        """Return what a path is; None if there is nothing."""
        try:
            (status,) = self._statuses(self.system.getFileStatus(self.path(path)))
        except Py4JJavaError as refused:
            error = _error(refused, path)
            if isinstance(error, FileNotFoundError):
                return None
            raise error from refused
        return status

    def children(self, folder: str) -> list[Status]:
        """Return what a folder holds; of a file, the file itself."""
        try:
            return self._statuses(self.system.listStatus(self.path(folder)))
        except Py4JJavaError as refused:
            raise _error(refused, folder) from refused

    def walk(self, root: str) -> Iterator[Status]:
        """Yield every file below a folder, in no particular order; a file is yielded itself.

        So is a folder below it that may not be listed.
        """
        pending: list[Status | None] = [None]
        while pending:
            folder = pending.pop()
            try:
                children = self.children(folder.path if folder else root)
            except PermissionError:
                if folder is None:
                    raise
                yield folder
                continue
            pending += [status for status in children if status.is_folder]
            yield from (status for status in children if not status.is_folder)

    def read(self, path: str, most: int | None = None) -> bytes:
        """Return a file's bytes; most: only so many of the first ones."""
        try:
            stream = self.system.open(self.path(path))
            try:
                return bytes(stream.readAllBytes() if most is None else stream.readNBytes(most))
            finally:
                stream.close()
        except Py4JJavaError as refused:
            raise _error(refused, path) from refused

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or write over it. Where this is not atomic, write aside and rename."""
        self.write_parts(path, (data,))

    def write_parts(self, path: str, parts: Iterable[bytes]) -> None:
        """Write a file as `write` does, of parts that are not in memory all at once."""
        try:
            stream = self.system.create(self.path(path), True)
        except Py4JJavaError as refused:
            raise _error(refused, path) from refused
        try:
            for part in parts:
                _append(stream, part, path)
        except BaseException:
            # Closing it would show what was written so far, where a file appears whole.
            with suppress(Py4JJavaError, PySparkException):  # HDFS does not know it
                stream.abort()
            raise
        try:
            stream.close()
        except Py4JJavaError as refused:
            raise _error(refused, path) from refused

    def rename_over(self, old: str, new: str) -> None:
        """Rename a file in one step, over another one if that exists."""
        rename = self._jvm.org.apache.hadoop.fs.Options.Rename
        options = self._gateway.new_array(rename, 1)
        options[0] = rename.OVERWRITE
        try:
            context = self._jvm.org.apache.hadoop.fs.FileContext.getFileContext(
                self.system.getUri(), self._conf
            )
            context.rename(self.path(old), self.path(new), options)
        except Py4JJavaError as refused:
            raise _error(refused, old) from refused

    def rename(self, old: str, new: str) -> None:
        """Rename a file or folder; there is nothing of the new name."""
        try:
            if not self.system.rename(self.path(old), self.path(new)):
                raise OSError(f"{old} cannot be renamed to {new}")
        except Py4JJavaError as refused:
            raise _error(refused, old) from refused

    def copy(self, old: str, new: str) -> None:
        """Copy a file within the file system; its bytes pass through the driver's JVM."""
        copy = self._jvm.org.apache.hadoop.fs.FileUtil.copy
        try:
            copy(self.system, self.path(old), self.system, self.path(new), False, True, self._conf)
        except Py4JJavaError as refused:
            raise _error(refused, old) from refused

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all in it, if it exists."""
        try:
            self.system.delete(self.path(path), True)
        except Py4JJavaError as refused:
            raise _error(refused, path) from refused

    def _statuses(self, statuses: Any) -> list[Status]:
        """Return Java's FileStatus, or an array of them.

        As bytes they come in one request to the JVM; to ask each for its path, size and time would
        take half a dozen requests a file.
        """
        raw = self._jvm.java.io.ByteArrayOutputStream()
        out = self._jvm.java.io.DataOutputStream(raw)
        declared = statuses.getClass()
        self._jvm.org.apache.hadoop.io.ObjectWritable.writeObject(
            out, statuses, declared, self._conf
        )
        return list(_parsed(io.BytesIO(raw.toByteArray()), is_array=bool(declared.isArray())))


def _parsed(data: BinaryIO, *, is_array: bool) -> Iterator[Status]:
    """Parse what ObjectWritable writes: class names, and each status as a protocol buffer."""
    count = 1
    if is_array:
        _skip_name(data)
        (count,) = struct.unpack(">i", data.read(4))
    for _ in range(count):
        _skip_name(data)  # the declared class and then the class of the status
        _skip_name(data)
        (size,) = struct.unpack(">i", data.read(4))
        values = _fields(data.read(size))
        yield Status(
            values[_PATH].decode(),
            values.get(_LENGTH, 0),
            _EPOCH + timedelta(milliseconds=values.get(_MODIFIED, 0)),
            values[_TYPE] == _FOLDER,
        )


def _skip_name(data: BinaryIO) -> None:
    (size,) = struct.unpack(">H", data.read(2))
    data.read(size)


def _fields(message: bytes) -> dict[int, Any]:
    """The fields of a protocol buffer by number: whole numbers, and bytes.

    See https://protobuf.dev/programming-guides/encoding; fixed-width fields do not occur here.
    """
    values: dict[int, Any] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == _BYTES:
            values[tag >> 3], at = message[at : at + value], at + value
        else:
            values[tag >> 3] = value
    return values


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _append(stream: Any, data: bytes, path: str) -> None:
    try:
        stream.write(bytearray(data))
    except Py4JJavaError as refused:
        raise _error(refused, path) from refused


def _error(refused: Exception, path: str) -> OSError:
    """The OSError that says what the JVM's exception says."""
    java = getattr(refused, "java_exception", None)
    if java is None:
        return OSError(f"{path}: {str(refused).splitlines()[0]}")
    name, text = java.getClass().getName(), (java.getMessage() or java.toString()).splitlines()[0]
    kind = {_NO_FILE: FileNotFoundError, _FORBIDDEN: PermissionError}.get(name, OSError)
    return kind(text)
