"""Compiled loops over pairs of rows, for what no library does in one pass (Numba, LLVM).

Each releases the interpreter's lock while it runs. Compiling takes some two seconds; what was
compiled stays in the user's cache, or in NUMBA_CACHE_DIR, for the processes after this one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import codegen
from numba.extending import intrinsic
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Places = NDArray[np.signedinteger[Any]]
Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]
Vector = NDArray[np.float64]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

ROWS, LANES, VECTORS = 6, 16, 4  # of a block of sums: 24 of 32 registers of 16 sums each
COLUMNS = LANES * VECTORS  # of a block; their flags are one word
_ALWAYS, _NEVER = 2**30, -(2**30)  # beyond every sum of products of bytes and words
_ANY_ORDER = {"reassoc", "contract", "nsz"}  # sums in any order, fused or not


def _compiled(kernel: Kernel) -> Kernel:
    """Compiled as it stands: no sum is put in another order, nothing fused."""
    return _made(kernel, set())


def _summed(kernel: Kernel) -> Kernel:
    """Compiled with sums in any order, as the bounds on them allow."""
    return _made(kernel, _ANY_ORDER)


def _made(kernel: Kernel, freedom: set[str]) -> Kernel:
    before = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.ByContent"
    try:
        made = numba.njit(cache=True, **_options(freedom))(kernel)
    except RuntimeError:  # there is no folder that could be written to
        made = numba.njit(**_options(freedom))(kernel)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before

    @functools.wraps(kernel)
    def called(*arguments: Any) -> Any:
        nonlocal made
        try:
            return made(*arguments)
        except (OSError, EOFError, pickle.UnpicklingError):  # a cut file, or a full disk
            made = numba.njit(**_options(freedom))(kernel)
            return made(*arguments)

    return cast(Kernel, called)


def _inlined(kernel: Kernel) -> Kernel:
    """As `_summed`, of what other kernels call."""
    made: Kernel = numba.njit(**_options(_ANY_ORDER))(kernel)
    return made


def _options(freedom: set[str]) -> dict[str, Any]:
    return {"nogil": True, "error_model": "numpy", "fastmath": freedom}


class ByContent:
    """Where Numba keeps what it compiled of this module: by its source and the processor.

    Executors have it in a zip, whose name and place are others in each run; machines of unlike
    kinds may share a home.
    """

    def __init__(self, folder: Path, line: int) -> None:
        self._folder = folder
        self._line = line

    @classmethod
    def from_function(cls, function: Any, _file: str) -> Self | None:
        """The place for a function; None where nothing can be written."""
        try:
            cache = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            folder = Path(cache).expanduser() / "latent-dedup" / _digest()
            found = cls(folder, function.__code__.co_firstlineno)
            found.ensure_cache_path()
        except (OSError, RuntimeError):  # RuntimeError: nobody's home is known
            return None
        return found

    def ensure_cache_path(self) -> None:
        """Make the folder; raises OSError where it cannot be written to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self._folder).close()

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Tells one source from another."""
        return _digest()

    def get_disambiguator(self) -> str:
        """Tells one function of a name from another."""
        return str(self._line)


@functools.cache
def _digest() -> str:
    """Of this module's source, in a file or in a zip, and of what it is compiled for."""
    data = pkgutil.get_data(__name__.rpartition(".")[0], Path(__file__).name)
    if data is None:
        raise OSError("the source of this module cannot be read")
    here = f"{codegen.get_host_cpu_features()} {llvmlite.binding.get_host_cpu_name()}"
    return hashlib.sha256(data + here.encode()).hexdigest()


def _emitted(emit: Callable[..., Any]) -> Any:
    """What a compiled loop calls, made of LLVM's instructions."""
    return intrinsic(emit)


@functools.cache
def has_byte_products() -> bool:
    """Whether this processor has the instructions that `passing` is made of (AVX-512 VNNI).

    False as well where Numba is told what to compile for: NUMBA_CPU_NAME, NUMBA_CPU_FEATURES.
    """
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES is not None:
        return False
    here = codegen.get_host_cpu_features().split(",")
    return all(f"+{feature}" in here for feature in ("avx512f", "avx512bw", "avx512vnni"))


def passing(
    left: Codes, right: Codes, words: int, least: int, loose: tuple[Flags, Flags]
) -> tuple[Places, Places]:
    """Pairs whose product of whole numbers is above a bound: rows and columns, rising, (pairs,).

    left: (n, steps) int32, right: (m, steps): the last `words` of the steps hold two whole numbers
    of 16 bits, signed, the ones before four of 8 bits: of `left` 128 more than they are, unsigned.
    loose: (n,) and (m,), rows that pass with all others. Products are exact; they must stay within
    ±2^29. 0.7 ns a pair at 30 steps: nothing but flags is written, a bit a pair.

    Needs `has_byte_products`.
    """
    left, right = _plain(left, np.int32), _plain(right, np.int32)
    flags = np.empty((max(ROWS, len(left)), -(-len(right) // COLUMNS)), np.uint64)
    if len(left) < ROWS:
        more = np.zeros((ROWS - len(left), left.shape[1]), np.int32)
        left = np.concatenate([left, more])
    _flag(left, right, words, least, loose[1], flags)
    flags = flags[: len(loose[0])]
    if loose[0].any():
        flags[loose[0]] = _every(len(right))
    found: tuple[Places, Places] = _places(flags)
    return found


def above(product: Matrix, low: np.float32) -> tuple[Places, Places]:
    """Entries of a matrix (n, m) float32 that are above a bound: rows and columns, rising."""
    product = _plain(product)
    flags = np.empty((len(product), -(-product.shape[1] // COLUMNS)), np.uint64)
    _flag_above(product, np.float32(low), flags)
    found: tuple[Places, Places] = _places(flags)
    return found


def products_at(left: Matrix, right: Matrix, rows: Places, columns: Places) -> Matrix:
    """Entries of `cosine.products` by their rows and columns: (entries,) float32.

    left: (n, width), right: (m, width). Within `cosine.margin(width)` like them. No row is copied.
    """
    found = np.empty(len(rows), np.float32)
    places = _plain(rows, np.int32), _plain(columns, np.int32)
    _dots(_plain(left), _plain(right), *places, found)
    return found


def products_above(
    left: Matrix, right: Matrix, rows: Places, columns: Places, low: np.float32
) -> tuple[Places, Places, Matrix]:
    """Those entries of `products_at` that are above a bound: rows, columns and values."""
    some = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    values = np.empty(len(rows), np.float32)
    places = _plain(rows, np.int32), _plain(columns, np.int32)
    count = _dots_above(_plain(left), _plain(right), *places, np.float32(low), *some, values)
    return some[0][:count], some[1][:count], values[:count]


def scaled(rows: Matrix, lengths: Vector) -> Matrix:
    """Rows (n, width) divided by their lengths (n,), in float64 and rounded once: (n, width)."""
    found = np.empty(rows.shape, np.float32)
    _divide(_plain(rows), lengths, found)
    return found


def squares(rows: Matrix) -> Vector:
    """Sums of squares of rows (n, width) in float64, rounded: (n,)."""
    found = np.empty(len(rows))
    _square(_plain(rows), found)
    return found


def split_sums(a: Matrix, b: Matrix, sigma: Vector) -> tuple[Vector, Vector]:
    """Sums of the high and of the low parts of products of rows (n, width): (n,) each.

    A product p is split into (p + σ) − σ and what is left of it, each row by its own σ (n,).
    0.3 µs a row at width 1024.
    """
    high, low = np.empty(len(a)), np.empty(len(a))
    _split(_plain(a), _plain(b), sigma, high, low)
    return high, low


def _plain(array: NDArray[Any], kind: type[Any] = np.float32) -> NDArray[Any]:
    """Of one kind and layout: what is compiled for another cannot be mistaken for it."""
    return np.ascontiguousarray(array, kind)


def _every(columns: int) -> NDArray[np.uint64]:
    """Flags of so many columns, all of them set."""
    words = np.full(-(-columns // COLUMNS), 2**64 - 1, np.uint64)
    if columns % COLUMNS:
        words[-1] = 2 ** (columns % COLUMNS) - 1
    return words


@_inlined
def _dot(left: Matrix, right: Matrix, i: int, j: int) -> np.float32:
    total = np.float32(0)
    for a in range(left.shape[1]):
        total += left[i, a] * right[j, a]
    return total


@_summed
def _dots(left: Matrix, right: Matrix, rows: Places, columns: Places, found: Matrix) -> None:
    for k in range(len(rows)):
        found[k] = _dot(left, right, rows[k], columns[k])


@_summed
def _dots_above(
    left: Matrix,
    right: Matrix,
    rows: Places,
    columns: Places,
    low: np.float32,
    some_rows: Places,
    some_columns: Places,
    values: Matrix,
) -> int:
    count = 0
    for k in range(len(rows)):
        value = _dot(left, right, rows[k], columns[k])
        if value > low:
            some_rows[count], some_columns[count], values[count] = rows[k], columns[k], value
            count += 1
    return count


@_summed
def _square(rows: Matrix, found: Vector) -> None:
    for i in range(len(rows)):
        total = 0.0
        for a in range(rows.shape[1]):
            total += np.float64(rows[i, a]) * np.float64(rows[i, a])
        found[i] = total


@_inlined
def _sum(numbers: Vector) -> float:
    total = 0.0
    for a in range(len(numbers)):
        total += numbers[a]
    return total


@_compiled
def _split(a: Matrix, b: Matrix, sigma: Vector, high: Vector, low: Vector) -> None:
    upper, lower = np.empty(a.shape[1]), np.empty(a.shape[1])
    for i in range(len(a)):
        for k in range(a.shape[1]):
            product = np.float64(a[i, k]) * np.float64(b[i, k])
            upper[k] = (product + sigma[i]) - sigma[i]
            lower[k] = product - upper[k]
        high[i], low[i] = _sum(upper), _sum(lower)


@_compiled
def _divide(rows: Matrix, lengths: Vector, found: Matrix) -> None:
    for i in range(len(rows)):
        for a in range(rows.shape[1]):
            found[i, a] = np.float32(np.float64(rows[i, a]) / lengths[i])


@_emitted
def _block(
    _: Any, left: Any, right: Any, start: Any, flags: Any, stride: Any, steps: Any, words: Any
) -> Any:
    """Flags of ROWS rows with COLUMNS columns: whether start + the product is above 0.

    left: address of the first row's codes. right: of the columns' codes, a step of all after the
    other. start: of COLUMNS numbers. flags: of the first row's word, which the others follow every
    `stride` bytes. Numba compiles no sums of products of bytes to the instruction that does
    64 of them at once, so it is named here, with the sums in registers.
    """
    signature = types.void(*[types.intp] * 7)
    sums = ir.VectorType(ir.IntType(32), LANES)
    long = ir.IntType(64)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        left, right, start, flags, stride, steps, words = arguments

        def number(value: int) -> Any:
            return ir.Constant(long, value)

        def load(address: Any, kind: Any) -> Any:
            return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)

        def plus(address: Any, times: Any, size: int) -> Any:
            return builder.add(address, builder.mul(times, number(size)))

        def everywhere(code: Any) -> Any:
            lone = builder.insert_element(ir.Constant(sums, ir.Undefined), code, number(0))
            return builder.shuffle_vector(
                lone, ir.Constant(sums, ir.Undefined), ir.Constant(sums, [0] * LANES)
            )

        def summed(instruction: str, first: Any, last: Any, before: list[Any]) -> list[Any]:
            """The sums after the steps from `first` to `last`."""
            kind = ir.FunctionType(sums, [sums] * 3)
            multiply = builder.module.declare_intrinsic(f"llvm.x86.avx512.{instruction}", (), kind)
            entry = builder.block
            check, loop, done = (builder.append_basic_block(name) for name in ("to", "at", "of"))
            builder.branch(check)
            builder.position_at_end(check)
            step = builder.phi(long)
            step.add_incoming(first, entry)
            totals = [builder.phi(sums) for _ in before]
            for total, initial in zip(totals, before, strict=True):
                total.add_incoming(initial, entry)
            builder.cbranch(builder.icmp_signed("<", step, last), loop, done)
            builder.position_at_end(loop)
            place = plus(right, step, 4 * COLUMNS)
            columns = [load(plus(place, number(v), 4 * LANES), sums) for v in range(VECTORS)]
            after = []
            for row in range(ROWS):
                # A row's codes are as many as the steps.
                address = plus(plus(left, builder.add(steps, words), 4 * row), step, 4)
                code = everywhere(load(address, ir.IntType(32)))
                for v, column in enumerate(columns):
                    total = totals[row * VECTORS + v]
                    after.append(builder.call(multiply, [total, code, column]))
            for total, value in zip(totals, after, strict=True):
                total.add_incoming(value, loop)
            step.add_incoming(builder.add(step, number(1)), loop)
            builder.branch(check)
            builder.position_at_end(done)
            return totals

        initial = [load(plus(start, number(v), 4 * LANES), sums) for v in range(VECTORS)]
        totals = summed("vpdpbusd.512", number(0), steps, initial * ROWS)
        totals = summed("vpdpwssd.512", steps, builder.add(steps, words), totals)
        for row in range(ROWS):
            word = number(0)
            for v in range(VECTORS):
                above = builder.icmp_signed(
                    ">", totals[row * VECTORS + v], ir.Constant(sums, [0] * LANES)
                )
                bits = builder.zext(builder.bitcast(above, ir.IntType(LANES)), long)
                word = builder.or_(word, builder.shl(bits, number(LANES * v)))
            place = plus(flags, stride, row)
            builder.store(word, builder.inttoptr(place, long.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature, generate


@_emitted
def _above(_: Any, address: Any, low: Any) -> Any:
    """Flags of COLUMNS numbers: whether each is above a bound."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, low = arguments
        kind = ir.VectorType(ir.FloatType(), COLUMNS)
        nothing = ir.Constant(kind, ir.Undefined)
        numbers = builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)
        lone = builder.insert_element(nothing, low, ir.Constant(ir.IntType(64), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)
        bounds = builder.shuffle_vector(lone, nothing, places)
        above = builder.fcmp_ordered(">", numbers, bounds)
        return builder.bitcast(above, ir.IntType(64))

    return types.uint64(types.intp, types.float32), generate


@_emitted
def _trailing_zeros(_: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@_emitted
def _ones(_: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@_compiled
def _flag(
    left: Codes, right: Codes, words: int, least: int, loose: Flags, flags: NDArray[np.uint64]
) -> None:
    """Set flags (n, words of COLUMNS) of the pairs that pass; n is at least ROWS."""
    n, m, every = len(left), len(right), left.shape[1]
    steps = every - words
    turned = np.zeros((every, COLUMNS), np.int32)
    start = np.empty(COLUMNS, np.int32)
    at_left, at_turned = np.intp(left.ctypes.data), np.intp(turned.ctypes.data)
    at_start, at_flags = np.intp(start.ctypes.data), np.intp(flags.ctypes.data)
    as_bytes = turned.view(np.int8).reshape(every, COLUMNS, 4)
    for word in range(flags.shape[1]):
        first = word * COLUMNS
        count = min(COLUMNS, m - first)
        turned[:, count:] = 0
        for column in range(count):
            for step in range(every):
                turned[step, column] = right[first + column, step]
        start[:] = 0
        for step in range(steps):
            for column in range(COLUMNS):
                for k in range(4):
                    start[column] -= 128 * np.int32(as_bytes[step, column, k])
        for column in range(COLUMNS):
            if column >= count:
                start[column] = _NEVER
            elif loose[first + column]:
                start[column] += _ALWAYS
            else:
                start[column] -= least
        for block in range((n + ROWS - 1) // ROWS):
            row = min(block * ROWS, n - ROWS)  # the last rows once more, where they do not fit
            _block(
                at_left + row * 4 * every,
                at_turned,
                at_start,
                at_flags + 8 * (row * flags.shape[1] + word),
                8 * flags.shape[1],
                steps,
                words,
            )


@_compiled
def _flag_above(product: Matrix, low: np.float32, flags: NDArray[np.uint64]) -> None:
    n, m = product.shape
    address = np.intp(product.ctypes.data)
    for row in range(n):
        for word in range(m // COLUMNS):
            flags[row, word] = _above(address + 4 * (row * m + word * COLUMNS), low)
        if m % COLUMNS:
            last = np.uint64(0)
            for column in range(m - m % COLUMNS, m):
                if product[row, column] > low:
                    last |= np.uint64(1) << np.uint64(column % COLUMNS)
            flags[row, -1] = last


@_compiled
def _places(flags: NDArray[np.uint64]) -> tuple[Places, Places]:
    """Rows and columns of the flags that are set."""
    total = np.int64(0)
    for row in range(flags.shape[0]):
        for word in range(flags.shape[1]):
            total += np.int64(_ones(flags[row, word]))
    rows, columns = np.empty(total, np.int32), np.empty(total, np.int32)
    at = 0
    for row in range(flags.shape[0]):
        for word in range(flags.shape[1]):
            left = flags[row, word]
            while left:
                rows[at] = row
                columns[at] = COLUMNS * word + np.int64(_trailing_zeros(left))
                at += 1
                left &= left - np.uint64(1)
    return rows, columns
