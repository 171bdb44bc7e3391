"""Products of whole numbers compared with a bound, by the instructions AVX-512 VNNI.

`pairs_above` is the fast first bound of `udfs.vectors.screen`; `udfs.vectors.byte_bound` prepares
its arguments. Call it only where `has_byte_products` says that the processor has the instructions.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import codegen
from numpy.typing import NDArray

from udfs.vectors.kernels.compiling import compiled, emitted
from udfs.vectors.kernels.loops import IndexArray, contiguous, flagged_entries

Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]

# A block of sums fills 24 of the processor's 32 registers, of 16 sums each.
ROWS, LANES, VECTORS = 6, 16, 4
COLUMNS = LANES * VECTORS  # as many as a word has flags
_ALWAYS, _NEVER = 2**30, -(2**30)  # beyond every sum of products of bytes and of 16-bit numbers


@functools.cache
def has_byte_products() -> bool:
    """Whether this processor has the instructions that `pairs_above` consists of.

    False as well where NUMBA_CPU_NAME or NUMBA_CPU_FEATURES tell Numba what to compile for.
    """
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES is not None:
        return False
    features = codegen.get_host_cpu_features().split(",")
    return all(f"+{name}" in features for name in ("avx512f", "avx512bw", "avx512vnni"))


def pairs_above(
    left: Codes, right: Codes, word_steps: int, bound: int, unbounded: tuple[Flags, Flags]
) -> tuple[IndexArray, IndexArray]:
    """Pairs whose product of whole numbers is above a bound: (n, steps), (m, steps) → (pairs,) × 2.

    Args:
        left: (n, steps) int32. Each of the last `word_steps` steps holds two signed numbers of 16
            bits. Each step before them holds four bytes, unsigned, each 128 more than the number
            that it stands for.
        right: (m, steps) int32, the same with signed bytes, which are the numbers themselves.
        word_steps: how many steps hold numbers of 16 bits.
        bound: what a product must exceed.
        unbounded: (n,) and (m,), the rows whose pairs are returned whatever their product is.

    Returns:
        Rows and columns, in rising order. Products are exact; they must stay within ±2^29.

    Raises RuntimeError where `has_byte_products` is false: LLVM would end the process. Cost: 0.7 ns
    a pair at 30 steps, since one bit a pair is written.
    """
    if not has_byte_products():
        raise RuntimeError("this processor has no products of bytes (AVX-512 VNNI)")
    left, right = contiguous(left, np.int32), contiguous(right, np.int32)
    flags = np.empty((max(ROWS, len(left)), -(-len(right) // COLUMNS)), np.uint64)
    if len(left) < ROWS:
        padding = np.zeros((ROWS - len(left), left.shape[1]), np.int32)
        left = np.concatenate([left, padding])
    _flag(left, right, word_steps, bound, unbounded[1], flags)
    flags = flags[: len(unbounded[0])]
    if unbounded[0].any():
        flags[unbounded[0]] = _all_set(len(right))
    return flagged_entries(flags)


def _all_set(columns: int) -> NDArray[np.uint64]:
    """A row of flags of so many columns, all of them set."""
    words = np.full(-(-columns // COLUMNS), 2**64 - 1, np.uint64)
    if columns % COLUMNS:
        words[-1] = 2 ** (columns % COLUMNS) - 1
    return words


@emitted
def _block(
    _: Any, left: Any, right: Any, start: Any, flags: Any, stride: Any, steps: Any, word_steps: Any
) -> Any:
    """Flags of ROWS rows with COLUMNS columns: whether start + the product is above 0.

    left: address of the first row's codes. right: address of the columns' codes, ordered by step
    and then by column. start: address of COLUMNS numbers. flags: address of the first row's word;
    the other rows' words follow every `stride` bytes. Numba compiles no sum of products of bytes to
    the instruction that computes 64 of them at once, so it is named here, with sums in registers.
    """
    signature = types.void(*[types.intp] * 7)
    sums = ir.VectorType(ir.IntType(32), LANES)
    long = ir.IntType(64)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        left, right, start, flags, stride, steps, word_steps = arguments

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
            address = plus(right, step, 4 * COLUMNS)
            columns = [load(plus(address, number(v), 4 * LANES), sums) for v in range(VECTORS)]
            after = []
            for row in range(ROWS):
                # A row has as many codes as there are steps.
                address = plus(plus(left, builder.add(steps, word_steps), 4 * row), step, 4)
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
        totals = summed("vpdpwssd.512", steps, builder.add(steps, word_steps), totals)
        for row in range(ROWS):
            word = number(0)
            for v in range(VECTORS):
                above = builder.icmp_signed(
                    ">", totals[row * VECTORS + v], ir.Constant(sums, [0] * LANES)
                )
                bits = builder.zext(builder.bitcast(above, ir.IntType(LANES)), long)
                word = builder.or_(word, builder.shl(bits, number(LANES * v)))
            address = plus(flags, stride, row)
            builder.store(word, builder.inttoptr(address, long.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature, generate


@compiled
def _flag(
    left: Codes,
    right: Codes,
    word_steps: int,
    bound: int,
    unbounded: Flags,
    flags: NDArray[np.uint64],
) -> None:
    """Set the flags (n, words of COLUMNS) of the pairs above the bound; n is at least ROWS."""
    n, m, all_steps = len(left), len(right), left.shape[1]
    steps = all_steps - word_steps
    transposed = np.zeros((all_steps, COLUMNS), np.int32)
    start = np.empty(COLUMNS, np.int32)
    left_address, right_address = np.intp(left.ctypes.data), np.intp(transposed.ctypes.data)
    start_address, flags_address = np.intp(start.ctypes.data), np.intp(flags.ctypes.data)
    as_bytes = transposed.view(np.int8).reshape(all_steps, COLUMNS, 4)
    for word in range(flags.shape[1]):
        first = word * COLUMNS
        count = min(COLUMNS, m - first)
        transposed[:, count:] = 0
        for column in range(count):
            for step in range(all_steps):
                transposed[step, column] = right[first + column, step]
        start[:] = 0
        for step in range(steps):
            for column in range(COLUMNS):
                for k in range(4):
                    start[column] -= 128 * np.int32(as_bytes[step, column, k])
        for column in range(COLUMNS):
            if column >= count:
                start[column] = _NEVER
            elif unbounded[first + column]:
                start[column] += _ALWAYS
            else:
                start[column] -= bound
        for block in range((n + ROWS - 1) // ROWS):
            row = min(block * ROWS, n - ROWS)  # an incomplete last block overlaps the one before
            _block(
                left_address + row * 4 * all_steps,
                right_address,
                start_address,
                flags_address + 8 * (row * flags.shape[1] + word),
                8 * flags.shape[1],
                steps,
                word_steps,
            )
