"""Files that a setting names, such as weights or a CSV of labels, wherever they lie.

A path that is not mounted is read by Spark: every function raises NeedsSpark where it does not run.
"""

from __future__ import annotations

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from jobs.paths import is_mounted, mounted
from jobs.warehouse.hadoop import HadoopFileSystem
from jobs.warehouse.no_spark import NeedsSpark


def read(path: str, most: int | None = None) -> bytes:
    """Return a file's bytes; of a file that is not mounted, by the Spark session that runs.

    most: only so many of the first ones. Raises OSError if it cannot be read.
    """
    if not is_mounted(path):
        return _remote(path).read(path, most)
    with mounted(path).open("rb") as file:
        return file.read() if most is None else file.read(most)


def is_folder(path: str) -> bool:
    """Return whether there is a folder of this path."""
    if is_mounted(path):
        return mounted(path).is_dir()
    status = _remote(path).status(path)
    return status is not None and status.is_folder


def identity(path: str) -> str:
    """Return path, size and time, which differ when the file was changed; without it, the path."""
    if is_mounted(path):
        if not path or not mounted(path).exists():
            return path
        status = mounted(path).stat()
        return f"{path}|{status.st_size}|{status.st_mtime_ns}"
    remote = _remote(path).status(path)
    return f"{path}|{remote.size_bytes}|{remote.modified_at}" if remote else path


def _remote(path: str) -> HadoopFileSystem:
    try:
        session = SparkSession.active()  # of another thread, if this one has none
    except PySparkRuntimeError:
        raise NeedsSpark(path) from None
    return HadoopFileSystem(session, path)
