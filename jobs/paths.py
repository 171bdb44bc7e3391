"""Tells which paths and URIs are on a mounted file system, and converts between both.

A path may hold any character, so it is not parsed as a URI (urlsplit would cut it at # and ?).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

# hdfs://host/x, and hdfs:/x of the cluster's own HDFS. A single letter is no file system.
URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def scheme(root: str) -> str:
    """Return the file system's name, which stands before `:/`; `file` for a path."""
    match = URI.match(root)
    return match[1].lower() if match else "file"


def is_mounted(root: str) -> bool:
    """Return whether the path is one of a mounted file system."""
    return scheme(root) == "file"


def mounted(path: str) -> Path:
    """Return a path, or a URI such as file:/a%20b or file:///a%20b, as a path."""
    if not path.startswith("file:"):
        return Path(path)
    unescaped = os.fsdecode(unquote_to_bytes(path.removeprefix("file:")))
    return Path("/" + unescaped.lstrip("/"))


def absolute(root: str) -> str:
    """Return the root as it is written in tables: an absolute path, or a URI without a last /."""
    if is_mounted(root):
        return str(mounted(root).resolve())
    return root if root.endswith(":///") else root.rstrip("/")


def for_spark(path: str) -> str:
    """Return a path as Spark is to be given it.

    Without `file:` Spark takes a path for one of the cluster's default file system, which often is
    HDFS. Hadoop does not unescape a path, so that it stays as it is.
    """
    return f"file:{mounted(path).absolute()}" if is_mounted(path) else path


def folder(root: str) -> str:
    """Return the root; if it is a single file, the folder that holds it."""
    path = absolute(root)
    return str(Path(path).parent) if is_mounted(root) and Path(path).is_file() else path
