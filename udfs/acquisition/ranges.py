"""Which values of a picture of more than 8 bits become black and white.

An 8-bit picture has the levels 0…255. The samples of a deeper one may be 12 bits of 16, heights in
metres or Hounsfield units, so the range of values that is shown must be known. A range belongs to
the pictures of one class that have samples of one kind (`samples.Samples.kind`): it is fitted to a
sample of them by `fitted`, and then stays. docs/method.md, "From a file to a latent".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

AUTO, FULL, PERCENTILE = "auto", "full", "percentile"  # rules; the last with ":low,high"
QUANTILES = 257  # of a file's values, the least and the greatest among them
MOST_VALUES = 2**20  # of a file that its quantiles are taken of, evenly spaced
# A type is plainly too wide where less than a quarter of it is used; the levels left would be 64.
NARROW = 4
DISTINCT = 8  # values beside an isolated one, for it to count as no data: fewer are a drawing
_FLOATS = ((0.0, 1.0), (0.0, 255.0))  # what programs save in floating point

Range = tuple[float, float]


class Spread(NamedTuple):
    """The values of one file or more, without NaN, infinity and what stands for no data.

    edges: the least value, the least but one, the greatest but one and the greatest; of different
    values. quantiles: QUANTILES of them for each file, in rising order.
    """

    edges: tuple[float, ...]
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Depth:
    """How pictures of more than 8 bits, or of more than 4 bands, are shown.

    rule: "auto", "full", "percentile:2,98", or a range for all. fixed: the ranges by kind that were
    fitted before; where one is missing, it is fitted to the file alone. bands: which bands, from 1,
    become red, green and blue, or grey; none: the first three, or the first.
    """

    rule: str | Range = FULL
    fixed: Mapping[str, Range] = field(default_factory=dict)
    bands: tuple[int, ...] = ()

    def range_of(self, kind: str) -> Range | None:
        """Return the range of a kind of samples; None if it must be fitted to the file."""
        if not isinstance(self.rule, str):
            return self.rule
        return full(kind) if self.rule == FULL else self.fixed.get(kind)


def kind_of(dtype: np.dtype[np.generic], bits: int, bands: int) -> str:
    """Return the kind of samples: their type, the bits that tags state if fewer, and the bands.

    >>> kind_of(np.dtype("uint16"), 12, 3)
    'uint16/12x3'
    """
    stated = f"/{bits}" if 0 < bits < 8 * dtype.itemsize else ""
    return f"{dtype.name}{stated}" + (f"x{bands}" if bands > 1 else "")


def full(kind: str) -> Range:
    """Return the range of a type: 0…1 of floating point, else all that its bits hold."""
    dtype, bits = _type_of(kind)
    if dtype.kind == "f":
        return _FLOATS[0]
    if bits:
        return (0.0, 2.0**bits - 1)
    return _limits(dtype)


def spread(parts: Iterable[NDArray[np.generic]], count: int) -> Spread | None:
    """Return how the values of a file spread; None if there are none.

    Args:
        parts: the values, of any shapes, NaN among them.
        count: how many there are at most, so that evenly spaced ones can be kept.

    """
    step = -(-count // MOST_VALUES) | 1  # odd: rows of a picture have an even width as a rule
    edges: list[tuple[float, ...]] = []
    kept: list[NDArray[np.float64]] = []
    for part in parts:
        values = part.reshape(-1)
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            edges.append(_edges(values))
            kept.append(values[::step].astype(np.float64))
    if not edges:
        return None
    ends = _of_all(edges)
    shares = np.linspace(0, 1, QUANTILES)
    quantiles = np.quantile(np.concatenate(kept), shares, method="inverted_cdf")
    quantiles[0], quantiles[-1] = ends[0], ends[-1]
    return Spread(ends, tuple(quantiles.tolist()))


def _edges(values: NDArray[np.generic]) -> tuple[float, ...]:
    """Return `Spread.edges` of values."""
    low, high = values.min(), values.max()
    inner = values[(values > low) & (values < high)]
    second, last_but_one = (inner.min(), inner.max()) if inner.size else (high, low)
    return tuple(map(float, (low, second, last_but_one, high)))


def _of_all(edges: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Return `Spread.edges` of the values that several edges are of."""
    ends = np.unique([edge for each in edges for edge in each]).tolist()
    return (ends[0], ends[min(1, len(ends) - 1)], ends[max(-2, -len(ends))], ends[-1])


def pooled(spreads: list[Spread]) -> Spread:
    """Return how the values of several files spread, each with the same weight, in any order."""
    quantiles = np.sort([value for each in spreads for value in each.quantiles])
    return Spread(_of_all(each.edges for each in spreads), tuple(quantiles.tolist()))


def fitted(kind: str, values: Spread | None, rule: str) -> Range:
    """Return the range for values of a kind, by a rule.

    "percentile:a,b" takes these percentiles. "auto" takes the bits that the tags state, if all
    values have no more; else the least power of two that holds them, or 0…1 or 0…255 of floating
    point, if they use a quarter of it or more; else the values' own range. A least or greatest
    value that lies further off than all others span stands for no data (-9999, a hot pixel) and is
    left out.
    """
    if values is None or rule == FULL:
        return full(kind)
    if rule.startswith(PERCENTILE):
        low, high = np.percentile(values.quantiles, percentiles(rule))
        return (float(low), float(high)) if low < high else full(kind)
    low, high = _without_isolated(values)
    bits = _type_of(kind)[1]
    if bits and low >= 0 and high < 2**bits:
        return full(kind)
    frame = _frame(kind, low, high)
    if frame is not None and (high - low) * NARROW >= frame[1] - frame[0]:
        return frame
    return (low, high) if low < high else frame or full(kind)


def percentiles(rule: str) -> Range:
    """Return the two percentiles of a rule such as "percentile:2,98"; raise ValueError."""
    name, _, numbers = rule.partition(":")
    low, high = (float(number) for number in numbers.split(","))
    if name != PERCENTILE or not 0 <= low < high <= 100:
        raise ValueError(rule)
    return low, high


def levels(values: NDArray[np.generic], shown: Range) -> NDArray[np.uint8]:
    """Return values as levels 0…255: round((v - low)·255/(high - low)), clipped; NaN becomes 0."""
    low, high = shown
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    np.nan_to_num(scaled, copy=False, posinf=255, neginf=0)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _without_isolated(values: Spread) -> Range:
    low, second, last_but_one, high = values.edges
    span = last_but_one - second
    inner = np.unique(values.quantiles)
    if np.count_nonzero((inner >= second) & (inner <= last_but_one)) < DISTINCT:
        return low, high
    return (
        second if second - low > span else low,
        last_but_one if high - last_but_one > span else high,
    )


def _frame(kind: str, low: float, high: float) -> Range | None:
    """Return the usual range that holds the values; None if there is none."""
    dtype, _ = _type_of(kind)
    if dtype.kind == "f":
        return next((each for each in _FLOATS if each[0] <= low and high <= each[1]), None)
    if low < 0:
        return _limits(dtype)
    return (0.0, 2.0 ** max(1, int(high).bit_length()) - 1)


def _limits(dtype: np.dtype[Any]) -> Range:
    limits = np.iinfo(dtype)
    return (float(limits.min), float(limits.max))


def _type_of(kind: str) -> tuple[np.dtype[np.generic], int]:
    name, _, bits = kind.partition("x")[0].partition("/")
    return np.dtype(name), int(bits or 0)
