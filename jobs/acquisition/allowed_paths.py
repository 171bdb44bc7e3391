"""Which files the column of paths of a table may name: those below the table's own folder.

A table comes from elsewhere, and a path in it would otherwise send executors, with their rights and
credentials, to any file and any host. `ingest.allow_paths` names further folders.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence

from jobs.paths import is_mounted, mounted, scheme

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?(/.*)", re.S)
REASON = (
    "outside",
    "the path leads out of the table's folder, and is not looked at: if it is right, name its "
    "folder in ingest.allow_paths",
)


def is_allowed(path: str, roots: Sequence[str]) -> bool:
    """Return whether a path or URI lies below one of the roots.

    Links of a mounted file system are followed first, since a table's folder may bring links along.
    Other file systems are not asked; there a URI without a host is of the root's.
    """
    if is_mounted(path):
        try:
            real = os.path.realpath(mounted(path))
        except (OSError, ValueError):
            return False
        tops = (os.path.realpath(mounted(root)) for root in roots if is_mounted(root))
        return any(real == top or real.startswith(top.rstrip("/") + "/") for top in tops)
    return any(_is_below(path, root) for root in roots if not is_mounted(root))


def _is_below(path: str, root: str) -> bool:
    inner, outer = _URI.fullmatch(path), _URI.fullmatch(root.rstrip("/") + "/")
    if inner is None or outer is None or scheme(path) != scheme(root):
        return False
    if inner[1] not in (None, "//", outer[1]):
        return False
    file, top = (posixpath.normpath("/" + part.lstrip("/")) for part in (inner[2], outer[2]))
    return file.startswith(top.rstrip("/") + "/")
