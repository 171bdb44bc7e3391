"""Where the compiled code of the loops is kept, and whether it may be used.

Numba keeps compiled code as pickles, and whoever writes one runs code in the process that loads it.
So a folder counts only if it is the user's and nobody else can write there. Each file begins with a
hash of its name and content: machine code that was damaged could end the process.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import pkgutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import llvmlite.binding
import numba
from numba.core import caching, codegen

FOLDER = "latent-dedup"
PRIVATE = 0o700
_HASH = 32  # bytes of a SHA-256
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class CheckedCache(caching.FunctionCache):  # type: ignore[misc]  # numba has no types
    """Numba's cache of one function; compiled code that cannot be loaded counts as missing."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super()._load_overload(sig, target_context)
        except Exception:  # whatever a stale or damaged file lets Numba raise
            return None


class _CheckedFiles(caching.IndexDataCacheFile):  # type: ignore[misc]
    """Numba's index and data files, with a hash before the content of each."""

    def _load_index(self) -> Any:
        try:
            version, stamp, overloads = pickle.loads(_unsealed(Path(self._index_path)))
        except (OSError, ValueError):
            return {}
        caching._cache_log("[cache] index loaded from %r", self._index_path)
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: Any) -> None:
        content = self._dump((self._version, self._source_stamp, overloads))
        self._save(Path(self._index_path), content)
        caching._cache_log("[cache] index saved to %r", self._index_path)

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)
        data = pickle.loads(_unsealed(Path(path)))
        caching._cache_log("[cache] data loaded from %r", path)
        return data

    def _save_data(self, name: str, data: Any) -> None:
        path = self._data_path(name)
        self._save(Path(path), self._dump(data))
        caching._cache_log("[cache] data saved to %r", path)

    def _save(self, path: Path, content: bytes) -> None:
        with self._open_for_write(str(path)) as file:
            file.write(_hash(path, content) + content)


def _hash(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\0" + content).digest()


def _unsealed(path: Path) -> bytes:
    """Return a file's content without its hash. Raises OSError if they do not fit."""
    state = path.lstat()
    if state.st_uid != os.geteuid() or not stat.S_ISREG(state.st_mode):
        raise OSError(f"{path} is somebody else's")
    data = path.read_bytes()
    content = data[_HASH:]
    if data[:_HASH] != _hash(path, content):
        raise OSError(f"{path} is damaged")
    return content


class SourceLocator:
    """Where Numba keeps compiled code: a folder named by a hash of the source and the processor.

    Numba's own choice goes by the path of the source file. Executors read this package from a zip
    whose name and path differ in each run, and machines with different processors may share a home
    directory.
    """

    def __init__(self, folder: Path, line: int) -> None:
        self._folder = folder
        self._line = line

    @classmethod
    def from_function(cls, function: Any, _file: str) -> Self | None:
        """Return the locator for a function, or None where no private folder can be written."""
        try:
            cache = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            package = function.__module__.rpartition(".")[0]
            folder = Path(cache).expanduser() / FOLDER / package_digest(package)
            locator = cls(folder, function.__code__.co_firstlineno)
            locator.ensure_cache_path()
        except (OSError, RuntimeError):  # RuntimeError: the home directory is unknown
            return None
        return locator

    def ensure_cache_path(self) -> None:
        """Make the folder. Raises OSError if it cannot be written to, or others can write there."""
        top = self._folder.parent
        top.parent.mkdir(parents=True, exist_ok=True)
        check_private(top.parent.resolve())
        for folder in (top, self._folder):
            folder.mkdir(mode=PRIVATE, exist_ok=True)
            state = folder.lstat()
            if state.st_uid != os.geteuid() or not stat.S_ISDIR(state.st_mode):
                raise PermissionError(f"{folder} is somebody else's")
            if state.st_mode & _OTHERS_WRITE:  # made by another version; each file is checked, too
                folder.chmod(PRIVATE)
        tempfile.TemporaryFile(dir=self._folder).close()

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what changes whenever the source changes: the name of the folder."""
        return self._folder.name

    def get_disambiguator(self) -> str:
        """Return what distinguishes functions of one name: the line of their definition."""
        return str(self._line)


def check_private(folder: Path, below: Path = Path("/")) -> None:
    """Raise PermissionError if others could put another folder in the place of one in `folder`.

    They can if they may write to it, or to a folder above it, unless they cannot reach it because a
    folder above it is the user's alone, or may not rename there what is not theirs (as in /tmp).
    Only folders from `below` on are looked at.
    """
    chain = [above for above in (*reversed(folder.parents), folder) if above.is_relative_to(below)]
    for above in chain:
        state = above.lstat()
        trusted = state.st_uid in (0, os.geteuid())
        if not trusted or (state.st_mode & _OTHERS_WRITE and not state.st_mode & stat.S_ISVTX):
            raise PermissionError(f"others can write to {above}")
        if state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IXGRP | stat.S_IXOTH):
            return  # nobody else comes further


@functools.cache
def package_digest(package: str = __name__.rpartition(".")[0]) -> str:
    """Return the sha256 of a package's modules, of this one's and of the processor, in hexadecimal.

    Packages inside it do not count: loops take nothing from them. `pkgutil` lists and reads the
    modules, in a folder or in a zip. Raises OSError where their source cannot be read.
    """
    digest = hashlib.sha256()
    for name in dict.fromkeys((__name__.rpartition(".")[0], package)):
        listed = pkgutil.iter_modules(sys.modules[name].__path__)
        modules = [f"{module.name}.py" for module in listed if not module.ispkg]
        for file in sorted(["__init__.py", *modules]):
            source = pkgutil.get_data(name, file)
            if source is None:
                raise OSError(f"the source of {name}, {file}, cannot be read")
            digest.update(f"{file} {len(source)} ".encode() + source)
    processor = f"{codegen.get_host_cpu_features()} {llvmlite.binding.get_host_cpu_name()}"
    digest.update(processor.encode())
    return digest.hexdigest()
