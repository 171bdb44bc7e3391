"""Writes an archive of Python with the jobs' packages, for `spark-submit --archives`.

A virtual environment cannot be moved: it points to the Python that made it. This archive has the
interpreter and its standard library too, so it needs no Python on the machines, but the same
system (Linux, the architecture, a C library as new as here). Its `bin/python` finds where it lies.
"""

from __future__ import annotations

import io
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

REAL = "bin/python-binary"
STARTER = f"""\
#!/bin/sh
root=$(cd "$(dirname "$0")/.." && pwd)
export LD_LIBRARY_PATH="$root/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
export PYTHONHOME="$root" PYTHONNOUSERSITE=1
exec "$root/{REAL}" "$@"
"""
# Not every system's Python looks for packages beside its standard library.
SITE = "import site, sys\nsite.addsitedir(sys.prefix + '/{packages}')\n"
UNNEEDED = ("__pycache__", "site-packages", "dist-packages", "test", "idlelib", "ensurepip")
JARS = "pyspark/jars/"  # the cluster's own Spark has them, 400 MB


def write_archive(target: Path, distributions: Mapping[str, metadata.Distribution]) -> None:
    """Write a .tar.gz with the interpreter, its standard library and these packages."""
    library = Path(sysconfig.get_path("stdlib"))
    name = f"lib/{library.name}"
    packages = f"{name}/site-packages"
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        _add_text(archive, "bin/python", STARTER, 0o755)
        _add_file(archive, Path(sys.executable).resolve(), REAL)
        shared = Path(
            sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY") or ""
        )
        for path in shared.parent.glob("libpython3*.so*"):
            _add_file(archive, path.resolve(), f"lib/{path.name}")
        for path in _standard_library(library):
            _add_file(archive, path, f"{name}/{path.relative_to(library)}")
        _add_text(archive, f"{name}/sitecustomize.py", SITE.format(packages=packages), 0o644)
        for distribution in distributions.values():
            for inside, path in _files(distribution):
                _add_file(archive, path, f"{packages}/{inside}")


def _standard_library(library: Path) -> Iterator[Path]:
    for path in sorted(library.rglob("*")):
        inside = path.relative_to(library)
        if (
            path.is_file()
            and not set(UNNEEDED) & set(inside.parts)
            and inside.stem != "sitecustomize"
        ):
            yield path


def _files(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Yield a package's installed files; its scripts lie elsewhere and are left out."""
    for file in distribution.files or ():
        inside = file.as_posix()
        path = Path(str(distribution.locate_file(file)))
        left_out = inside.startswith(("..", "/", JARS)) or "__pycache__" in file.parts
        if not left_out and path.is_file():
            yield inside, path


def _add_file(archive: tarfile.TarFile, path: Path, name: str) -> None:
    archive.add(path, name, recursive=False, filter=_without_owner)


def _add_text(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever packed it is no user of the cluster."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
