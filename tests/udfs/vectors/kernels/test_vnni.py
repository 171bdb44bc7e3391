from __future__ import annotations

import itertools
import platform
from pathlib import Path

import numba
import numpy as np
import pytest

from tests.support.vectors import decoded
from udfs.vectors.byte_bound import Codes
from udfs.vectors.kernels import vnni


def coded(random: np.random.Generator, count: int, steps: int, words: int) -> tuple[Codes, Codes]:
    """The same whole numbers as left and as right factors: extreme ones, and any."""
    narrow = random.choice([-127, 127, 1], (count, 4 * (steps - words))).astype(np.int8)
    wide = random.choice([-4000, 4000, 3], (count, 2 * words)).astype(np.int16)
    right = np.concatenate([narrow.view(np.int32), wide.view(np.int32)], axis=1)
    left = np.concatenate([(narrow ^ np.int8(-128)).view(np.int32), wide.view(np.int32)], axis=1)
    return left, right


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads a list of Linux on x86")
def test_a_processor_is_known_by_its_flags() -> None:
    """A processor that was not recognised would skip the tests of its instructions as well."""
    list_of_linux = Path("/proc/cpuinfo")
    if not list_of_linux.exists() or numba.config.CPU_NAME or numba.config.CPU_FEATURES is not None:
        pytest.skip("Linux lists no flags, or Numba is told what to compile for")
    flags = set(list_of_linux.read_text().partition("\nflags")[2].partition("\n")[0].split())
    assert vnni.has_byte_products() == (flags >= {"avx512f", "avx512bw", "avx512_vnni"})


def test_what_passes_is_what_whole_numbers_say() -> None:
    if not vnni.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    random = np.random.default_rng(0)
    for n, m in itertools.product((0, 1, 2, 5, 6, 7, 13, 64), (0, 1, 15, 63, 64, 65, 130)):
        for steps, words in ((1, 1), (2, 1), (3, 3), (9, 2), (33, 4)):
            left, right = coded(random, n, steps, words)[0], coded(random, m, steps, words)[1]
            product = decoded(left, right, words)
            unbounded = random.random(n) < 0.1, random.random(m) < 0.1
            for least in (int(np.median(product)) if product.size else 0, 10**8, -(10**8)):
                row, column = vnni.pairs_above(left, right, words, least, unbounded)
                expected = np.nonzero((product > least) | unbounded[0][:, None] | unbounded[1])
                assert np.array_equal(row, expected[0])
                assert np.array_equal(column, expected[1])


def test_what_is_loose_or_not_there_has_no_bound_of_its_own() -> None:
    """All bytes as large as they can be, and columns that fill no word."""
    if not vnni.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    zero, large = (np.full((n, 17_000), code, np.int32) for n, code in ((6, -(2**31)), (65, 0)))
    zero.view(np.uint8)[:] = 128
    large.view(np.int8)[:] = 127
    zero[:, -1], large[:, -1] = 0, 0
    never, always = (np.full(65, unbounded) for unbounded in (False, True))
    none = np.zeros(6, np.bool_)
    assert vnni.pairs_above(zero, large, 1, 0, (none, never))[0].size == 0
    assert vnni.pairs_above(zero, large, 1, 0, (none, always))[0].size == 6 * 65


def test_a_processor_without_the_instructions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vnni, "has_byte_products", lambda: False)
    code, none = np.zeros((1, 1), np.int32), np.zeros(1, np.bool_)
    with pytest.raises(RuntimeError, match="no products of bytes"):
        vnni.pairs_above(code, code, 0, 0, (none, none))
