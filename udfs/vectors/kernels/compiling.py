"""How the loops of this package are compiled by Numba, and where the compiled code is kept.

Use `compiled` for a loop whose sums must keep their order, `summed` for one whose sums may be
reordered, `inlined` for a function that other loops call, and `emitted` for LLVM instructions.
Compiling takes some two seconds. The compiled code stays in the user's cache folder, or in
NUMBA_CACHE_DIR, for later processes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import pkgutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import llvmlite.binding
import numba
from numba.core import codegen
from numba.extending import intrinsic

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_ANY_ORDER = {"reassoc", "contract", "nsz"}  # sums in any order, multiplications fused or not


def compiled(kernel: Kernel) -> Kernel:
    """Compile a loop as it is written: sums keep their order, and nothing is fused."""
    return _cached(kernel, set())


def summed(kernel: Kernel) -> Kernel:
    """Compile a loop whose sums may run in any order, which their error bounds allow."""
    return _cached(kernel, _ANY_ORDER)


def inlined(kernel: Kernel) -> Kernel:
    """Compile a function that other loops call, with sums in any order and no cache of its own."""
    function: Kernel = numba.njit(**_options(_ANY_ORDER))(kernel)
    return function


def emitted(emit: Callable[..., Any]) -> Any:
    """Make a function that compiled loops can call out of LLVM instructions."""
    return intrinsic(emit)


def _cached(kernel: Kernel, freedom: set[str]) -> Kernel:
    before = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.SourceLocator"
    try:
        function = numba.njit(cache=True, **_options(freedom))(kernel)
    except RuntimeError:  # there is no folder that could be written to
        function = numba.njit(**_options(freedom))(kernel)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before

    @functools.wraps(kernel)
    def called(*arguments: Any) -> Any:
        nonlocal function
        try:
            return function(*arguments)
        except (OSError, EOFError, pickle.UnpicklingError):  # a truncated file, or a full disk
            function = numba.njit(**_options(freedom))(kernel)
            return function(*arguments)

    return cast(Kernel, called)


def _options(freedom: set[str]) -> dict[str, Any]:
    return {"nogil": True, "error_model": "numpy", "fastmath": freedom}


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
        """Return the locator for a function, or None where nothing can be written."""
        try:
            cache = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            package = function.__module__.rpartition(".")[0]
            folder = Path(cache).expanduser() / "latent-dedup" / package_digest(package)
            locator = cls(folder, function.__code__.co_firstlineno)
            locator.ensure_cache_path()
        except (OSError, RuntimeError):  # RuntimeError: the home directory is unknown
            return None
        return locator

    def ensure_cache_path(self) -> None:
        """Make the folder; raises OSError where it cannot be written to."""
        self._folder.mkdir(parents=True, exist_ok=True)
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
