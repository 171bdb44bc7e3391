"""How the loops of this package are compiled by Numba, and where the compiled code is kept.

Use `compiled` for a loop whose sums must keep their order, `summed` for one whose sums may be
reordered, `inlined` for a function that other loops call, and `emitted` for LLVM instructions.
Compiling takes some two seconds. The compiled code stays in the user's cache folder, or in
NUMBA_CACHE_DIR, for later processes (`cache`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic

from udfs.vectors.kernels.cache import CheckedCache, SourceLocator

if numba.config.DISABLE_JIT:
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, and the loops that compare images are instructions for the "
        "compiler, which plain Python cannot run: unset it"
    )

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
    function = numba.njit(**_options(freedom))(kernel)
    before = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{SourceLocator.__module__}.SourceLocator"
    try:
        function._cache = CheckedCache(kernel)
    except RuntimeError:  # there is no folder that may be used
        pass
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before

    @functools.wraps(kernel)
    def called(*arguments: Any) -> Any:
        nonlocal function
        try:
            return function(*arguments)
        except OSError:  # a full disk
            function = numba.njit(**_options(freedom))(kernel)
            return function(*arguments)

    return cast(Kernel, called)


def _options(freedom: set[str]) -> dict[str, Any]:
    return {"nogil": True, "error_model": "numpy", "fastmath": freedom}
