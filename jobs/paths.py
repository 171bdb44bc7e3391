"""Tells which paths and URIs are on a mounted file system, and converts between both.

A path may hold any character, so it is not parsed as a URI (urlsplit would cut it at # and ?).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

# hdfs://host/x, and hdfs:/x of the cluster's own HDFS. A single letter is no file system.
URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
LONGEST = 100  # characters of a safe name; file systems take at most 255 bytes


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


def safe_name(text: str) -> str:
    """Turn any text into the name of a file or folder; different texts have different names.

    Letters of any script stay, most other characters become %XX. A long name is cut and ends with
    a ~ and the text's hash. No name begins with a dot.

    >>> safe_name("a/b"), safe_name(".x"), safe_name("été 1")
    ('a%2Fb', '%2Ex', 'été 1')
    """
    name = re.sub(r"[^\w .()+,=-]|^\.", lambda match: _escaped(match[0]), text)
    if len(name) <= LONGEST and len(name.encode()) <= 2 * LONGEST:
        return name
    return f"{name[: LONGEST // 2]}~{hashed(text)}"


def hashed(text: str) -> str:
    """Return 16 hexadecimal digits of a text's SHA-256, which tell names apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())
