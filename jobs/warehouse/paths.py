"""Tells which paths and URIs are on a mounted file system, and converts between both.

A path may hold any character, so it is not parsed as a URI (urlsplit would cut it at # and ?).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote


def scheme(root: str) -> str:
    """Return what comes before `://`; `file` for a path."""
    before, separator, _ = root.partition("://")
    return before if separator and "/" not in before else "file"


def is_mounted(root: str) -> bool:
    """Return whether the path is one of a mounted file system."""
    return scheme(root) == "file"


def mounted(path: str) -> Path:
    """Return a path, or a URI such as file:/a%20b or file:///a%20b, as a path."""
    if not path.startswith("file:"):
        return Path(path)
    return Path("/" + unquote(path.removeprefix("file:")).lstrip("/"))


def absolute(root: str) -> str:
    """Return the root as it is written in tables: an absolute path, or a URI without a last /."""
    return str(mounted(root).resolve()) if is_mounted(root) else root.rstrip("/")


def folder(root: str) -> str:
    """Return the root; if it is a single file, the folder that holds it."""
    path = absolute(root)
    return str(Path(path).parent) if is_mounted(root) and Path(path).is_file() else path
