"""Listing and reading the files of a folder, wherever it lies.

A mounted file system is walked by `os.scandir`; other places (s3://, gs://, hdfs://) go through
pyarrow's file systems. Spark's own binaryFile silently skips names that begin with `_` or `.`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote


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
