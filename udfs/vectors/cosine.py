"""The cosine of latents: exact where it is stored or decides, float32 products with a bound else.

Paper, "Косинусна схожість" and "Постановка задачі"; spec, section 3. A sum's value depends on the
order of its terms, and that on block sizes, threads and libraries. So the similarity is defined
by the correctly rounded dot product D, and whatever is computed faster comes with a bound on its
distance from that. Between the two there is no plain float64 step: D costs hardly more.
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
LARGEST_WIDTH = 2**20  # the bounds below keep their slack up to here
_PAIRS = 1024  # gathered at a time for their Sim: 8 MB at width 1024
_GATHERED = 2**26  # numbers gathered at a time on a device: 256 MB


def exact_dot(a: Matrix, b: Matrix) -> float:
    """D(a, b) = Σ a_i·b_i, correctly rounded, of two float32 vectors of shape (width,).

    The products have 48 bits and are exact in float64; `math.fsum` rounds their sum once.
    26 µs at width 1024; `similarities` has the same value in 0.4 µs.
    """
    return math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())


def exact_similarity(a: Matrix, b: Matrix) -> float:
    """Sim(a, b) = min(1, max(−1, D(a, b) / √(D(a, a)·D(b, b)))); NaN where a vector is zero.

    Vectors of shape (width,), float32. Nothing overflows or underflows: squares of float32
    numbers lie in 2^-298..2^256, products of two such sums still inside float64. Identical
    vectors have Sim 1, since √(D²) is D.
    """
    scale = math.sqrt(exact_dot(a, a) * exact_dot(b, b))
    return min(1.0, max(-1.0, exact_dot(a, b) / scale)) if scale > 0 else math.nan


def squared_norms(rows: Matrix, named_from: int = 0) -> Vector:
    """D(a, a) of all rows of a float32 matrix (n, width): (n,), exact as `exact_dot`, 0.4 µs each.

    Raises ValueError where a row holds NaN or infinity, with its number, counted from
    `named_from`.
    """
    rounded = loops.squares(rows)
    if not np.isfinite(rounded).all():
        row = int(np.flatnonzero(~np.isfinite(rounded))[0])
        raise ValueError(
            f"row {named_from + row} holds NaN or infinity; every number must be finite"
        )
    return _dots(rows, rows, rounded)


def similarities(a: Matrix, b: Matrix, a_squared: Vector, b_squared: Vector) -> Vector:
    """Sim of row i of `a` with row i of `b`, bitwise `exact_similarity`: (n, width) twice → (n,).

    `a_squared` and `b_squared` are the rows' `squared_norms`. About 0.4 µs a pair at width 1024.
    """
    scale = np.sqrt(a_squared * b_squared)
    quotient = np.full(len(a), np.nan)
    np.divide(_dots(a, b, scale), scale, out=quotient, where=scale > 0)
    np.clip(quotient, -1.0, 1.0, out=quotient)
    return quotient


def similarities_at(
    rows: Callable[[Indices], Matrix], squared: Vector, left: Indices, right: Indices
) -> Vector:
    """`similarities` of the rows at `left` (pairs,) with those at `right`: (pairs,).

    rows: gives the rows at some places, (places, width); a part of them at a time is in memory.
    """
    found = np.empty(len(left))
    for first in range(0, len(left), _PAIRS):
        a, b = left[first : first + _PAIRS], right[first : first + _PAIRS]
        found[first : first + _PAIRS] = similarities(rows(a), rows(b), squared[a], squared[b])
    return found


def unit_rows(rows: Matrix, squared: Vector) -> Matrix:
    """Rows scaled to length 1, (n, width) float32; `squared` are their norms, none of them zero.

    Divided in float64 and rounded once: each is within 2^-24 of the true unit vector.
    """
    return loops.scaled(rows, np.sqrt(squared))


def products(left: Matrix, right: Matrix, out: Matrix | None = None) -> Matrix:
    """Dot products of all rows of `left` (n, width) with all of `right` (m, width): (n, m) float32.

    For unit rows within `margin(width)` of the cosine. 2·n·m·width operations, half if both are
    one and the same array. Into `out` where it is given: fresh memory costs as much as a product
    of small width.
    """
    return np.matmul(left, right.T, out=out)


def margin(width: int) -> float:
    """How far an entry of `products` of `unit_rows` may lie from Sim: γ(width + 4).

    γ(k) = k·u/(1 − k·u), u = 2^-24. A float32 sum of `width` products errs by at most
    γ(width)·Σ|x_i·y_i| ≤ γ(width)·(1 + u)² in whatever order and with fused operations or
    not (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); rounding the two unit
    vectors adds 2u + u². That leaves 2u = 1.2e-7, more than float64 and subnormal numbers take.

    Raises ValueError beyond a width of 2^20.
    """
    if width > LARGEST_WIDTH:
        raise ValueError(f"vectors have {width} numbers; at most {LARGEST_WIDTH} are allowed")
    relative = (width + 4) * FLOAT32_ROUNDOFF
    return relative / (1.0 - relative)


def screen(threshold: float, width: int) -> tuple[np.float32, np.float32]:
    """(low, high): an entry of `products` above high has Sim > threshold, one up to low has not.

    T − margin rounded down and T + margin rounded up to float32. Both are infinite from T = 1
    on, since no Sim is above 1.
    """
    if threshold >= 1:
        return np.float32(np.inf), np.float32(np.inf)
    threshold = max(threshold, -2.0)  # below −1 all the same, and inside float32
    low, high = threshold - margin(width), threshold + margin(width)
    down, up = np.float32(low), np.float32(high)
    if float(down) > low:
        down = np.nextafter(down, np.float32(-np.inf))
    if float(up) < high:
        up = np.nextafter(up, np.float32(np.inf))
    return down, up


def _dots(a: Matrix, b: Matrix, scale: Vector) -> Vector:
    """D of row i of `a` with row i of `b`; `scale` is ‖a‖‖b‖ to within 1e-6 of itself."""
    result, proven = _proven_dots(a, b, scale)
    for i in np.flatnonzero(~proven).tolist():
        result[i] = exact_dot(a[i], b[i])
    return result


def _proven_dots(a: Matrix, b: Matrix, scale: Vector) -> tuple[Vector, NDArray[np.bool_]]:
    """Dot products of rows, and whether each is proven to be correctly rounded.

    Each product p is split against σ = 1.5·2^k, 2^k > 2‖a‖‖b‖, into high = (p + σ) − σ, a multiple
    of 2^(k-52), and low = p − high, at most 2^(k-53) (Rump, Ogita & Oishi, SIAM J. Sci. Comput.
    31, 2008). The high parts sum without error in any order: by Cauchy–Schwarz no partial sum
    needs more than 53 bits. The low parts' sum errs by at most width²·2^(k-106). The result is
    proven where twice that does not carry both sums together past the middle of two neighbours.
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
