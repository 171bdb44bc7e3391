"""The cosine similarity of vectors: exact, or as a float32 product with a bound on its error.

Use `similarities` or `similarities_at` where a similarity is stored or decides, and `products` of
`unit_rows` with `decision_bounds` to decide most pairs sooner. `exact_similarity` defines both.

Paper, "Косинусна схожість" and "Постановка задачі"; docs/method.md, "Which images stay". The value
of a floating-point sum depends on the order of its terms, which depends on block sizes, threads and
libraries. So the similarity is defined by the correctly rounded dot product D, and whatever is
computed faster comes with a bound on its distance from that. There is no plain float64 step between
the two, since D costs hardly more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from udfs.vectors.kernels import loops

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]
Indices = NDArray[np.int64]

FLOAT32_ROUNDOFF = 2.0**-24
LARGEST_WIDTH = 2**20  # up to here the bounds below have slack for terms that they leave out
PAIRS_AT_ONCE = 1024  # pairs whose vectors are gathered at a time: 8 MB at width 1024


def exact_dot(a: Matrix, b: Matrix) -> float:
    """D(a, b) = Σ a_i·b_i, correctly rounded: (width,), (width,) → float.

    Products of two float32 numbers have 48 bits and are exact in float64; `math.fsum` rounds their
    sum once. Cost: 26 µs at width 1024; `similarities` computes the same value in 0.4 µs.
    """
    return math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())


def exact_similarity(a: Matrix, b: Matrix) -> float:
    """Sim(a, b) = min(1, max(−1, D(a, b) / √(D(a, a)·D(b, b)))): (width,), (width,) → float.

    The vectors are float32; the result is NaN where one is zero. Nothing overflows or underflows:
    squares of float32 numbers lie in 2^-298..2^256, and products of two sums of them still lie
    inside float64. Identical vectors have Sim 1, since √(D²) is D.

    >>> exact_similarity(np.array([3, 4], np.float32), np.array([4, 3], np.float32))
    0.96
    """
    scale = math.sqrt(exact_dot(a, a) * exact_dot(b, b))
    return min(1.0, max(-1.0, exact_dot(a, b) / scale)) if scale > 0 else math.nan


def squared_norms(rows: Matrix, named_from: int = 0) -> Vector:
    """D(a, a) of all rows of a float32 matrix, as `exact_dot` has it: (n, width) → (n,).

    Raises ValueError where a row holds NaN or infinity; the message counts rows from `named_from`.
    Cost: 0.4 µs a row.
    """
    rounded = loops.squares(rows)
    if not np.isfinite(rounded).all():
        row = int(np.flatnonzero(~np.isfinite(rounded))[0])
        raise ValueError(
            f"row {named_from + row} holds NaN or infinity; every number must be finite"
        )
    return _dots(rows, rows, rounded)


def similarities(a: Matrix, b: Matrix, a_squared: Vector, b_squared: Vector) -> Vector:
    """Sim of row i of `a` with row i of `b`, for all i: (n, width) × 2, (n,) × 2 → (n,).

    The values equal `exact_similarity` to the last bit. `a_squared` and `b_squared` are the rows'
    `squared_norms`. Cost: about 0.4 µs a pair at width 1024.
    """
    scale = np.sqrt(a_squared * b_squared)
    quotient = np.full(len(a), np.nan)
    np.divide(_dots(a, b, scale), scale, out=quotient, where=scale > 0)
    np.clip(quotient, -1.0, 1.0, out=quotient)
    return quotient


def similarities_at(
    rows: Callable[[Indices], Matrix], squared: Vector, left: Indices, right: Indices
) -> Vector:
    """Sim of the rows at the indices `left` with the rows at `right`: (pairs,) × 2 → (pairs,).

    rows: returns the rows at some indices, (k,) → (k, width). It is asked for PAIRS_AT_ONCE rows at
    a time, so that few are in memory. squared: the `squared_norms` of all rows.
    """
    result = np.empty(len(left))
    for first in range(0, len(left), PAIRS_AT_ONCE):
        part = slice(first, first + PAIRS_AT_ONCE)
        a, b = left[part], right[part]
        result[part] = similarities(rows(a), rows(b), squared[a], squared[b])
    return result


def unit_rows(rows: Matrix, squared: Vector) -> Matrix:
    """Rows scaled to length 1: (n, width), (n,) → (n, width) float32.

    `squared` are their `squared_norms`, none of them zero. The division is in float64 and rounded
    once, so each row is within 2^-24 of the true unit vector.
    """
    return loops.scaled(rows, np.sqrt(squared))


def products(left: Matrix, right: Matrix, out: Matrix | None = None) -> Matrix:
    """Dot products of all rows of `left` with all rows of `right`: (n, w), (m, w) → (n, m) float32.

    For unit rows they are within `margin(w)` of Sim. The result is written to `out` where it is
    given, since new memory costs as much as a product of small width. Cost: 2·n·m·w operations, or
    half of that where `left` and `right` are the same array.
    """
    return np.matmul(left, right.T, out=out)


def margin(width: int) -> float:
    """How far an entry of `products` of `unit_rows` may lie from Sim: γ(width + 4).

    γ(k) = k·u/(1 − k·u) with u = 2^-24. A float32 sum of `width` products errs by at most
    γ(width)·Σ|x_i·y_i| ≤ γ(width)·(1 + u)² in any order and with fused operations or
    without (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); rounding the two unit
    vectors adds 2u + u². That leaves 2u = 1.2e-7, which is more than the errors of the float64
    operations and of subnormal numbers.

    Raises ValueError where the width is above 2^20.
    """
    if width > LARGEST_WIDTH:
        raise ValueError(f"vectors have {width} numbers; at most {LARGEST_WIDTH} are allowed")
    relative = (width + 4) * FLOAT32_ROUNDOFF
    return relative / (1.0 - relative)


def decision_bounds(threshold: float, width: int) -> tuple[np.float32, np.float32]:
    """(low, high): an entry of `products` > high proves Sim > T, an entry ≤ low proves Sim ≤ T.

    low = T − margin(width), rounded down to float32, and high = T + margin(width), rounded up. Both
    are infinite for T ≥ 1, since no Sim is above 1.
    """
    if threshold >= 1:
        return np.float32(np.inf), np.float32(np.inf)
    threshold = max(threshold, -2.0)  # every T below −1 means the same, and −2 lies in float32
    low, high = threshold - margin(width), threshold + margin(width)
    down, up = np.float32(low), np.float32(high)
    if float(down) > low:
        down = np.nextafter(down, np.float32(-np.inf))
    if float(up) < high:
        up = np.nextafter(up, np.float32(np.inf))
    return down, up


def _dots(a: Matrix, b: Matrix, scale: Vector) -> Vector:
    """D of row i of `a` with row i of `b`; `scale` is ‖a‖‖b‖ with a relative error below 1e-6."""
    result, proven = _proven_dots(a, b, scale)
    for i in np.flatnonzero(~proven).tolist():
        result[i] = exact_dot(a[i], b[i])
    return result


def _proven_dots(a: Matrix, b: Matrix, scale: Vector) -> tuple[Vector, NDArray[np.bool_]]:
    """Dot products of rows, and whether each is proven to be correctly rounded.

    Each product p is split with σ = 1.5·2^k, 2^k > 2‖a‖‖b‖, into high = (p + σ) − σ, a multiple of
    2^(k-52), and low = p − high, at most 2^(k-53) (Rump, Ogita & Oishi, SIAM J. Sci. Comput.
    31, 2008). The high parts sum without error in any order: by Cauchy–Schwarz no partial sum
    needs more than 53 bits. The low parts' sum errs by at most width²·2^(k-106). The result is
    proven where twice that error cannot carry the sum of both past the middle between two
    neighbouring float64 numbers.
    """
    exponent = np.frexp(scale)[1] + 2
    first, second = loops.split_sums(a, b, np.ldexp(1.5, exponent))
    total = first + second  # Knuth's two-sum: total + rest is first + second without error
    shift = total - first
    rest = (first - (total - shift)) + (second - shift)
    size = np.abs(total)
    half_gap = (size - np.nextafter(size, 0.0)) / 2
    error = np.ldexp(float(a.shape[1]) ** 2, exponent - 105)
    return total, (np.abs(rest) + error < half_gap) | (scale == 0)
