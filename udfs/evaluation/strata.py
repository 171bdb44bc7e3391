"""Pairs drawn in strata of similarity, so that a few labels tell the precision at every T.

Stratum s holds the same-class pairs with edges[s] < Sim ≤ edges[s+1]. Of each about as many are
drawn: at a low T most pairs are no copies, and a sample of all of them would hold few that are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

REACH = 4  # strata begin where 1 − Sim is so many times that of the lowest T
RATIO = 2  # of 1 − Sim at the ends of a stratum, at most (the highest ends at 1)
_DIGITS = 6  # after the point, of edges that are no T


def edges(thresholds: Iterable[float]) -> list[float]:
    """Rising edges of strata; none where no T lies in [−1, 1).

    Every T is an edge. d = 1 − Sim runs from REACH·max d(T), at most 2, where nobody would speak of
    copies, down to min d(T)/REACH; between neighbours that differ by more than RATIO others are
    put in at equal ratios. The last stratum ends at 1.
    """
    given = sorted({float(t) for t in thresholds if -1 <= t < 1})
    if not given:
        return []
    lowest = max(-1.0, round(1 - REACH * (1 - given[0]), _DIGITS))
    highest = round(1 - (1 - given[-1]) / REACH, _DIGITS)
    knots = sorted({lowest, *given, highest})
    found = set(knots) | {1.0}
    for low, high in pairwise(knots):
        if high < 1:
            found |= set(_between(low, high))
    return sorted(found)


def _between(low: float, high: float) -> list[float]:
    """Edges inside (low, high) that divide the ratio of 1 − Sim into equal parts."""
    ratio = (1 - low) / (1 - high)
    parts = math.ceil(round(math.log(ratio, RATIO), _DIGITS))
    inside = (1 - (1 - low) / ratio ** (part / parts) for part in range(1, parts))
    return [edge for edge in (round(value, _DIGITS) for value in inside) if low < edge < high]


def allocated(available: Sequence[int], total: int) -> list[int]:
    """How many of `total` pairs each stratum gives, as nearly equal as it has them.

    What a stratum lacks the others give; min(total, Σ available) in all.
    """
    taken = [0] * len(available)
    left = total
    for place, (count, stratum) in enumerate(sorted((n, s) for s, n in enumerate(available))):
        taken[stratum] = min(count, left // (len(available) - place))
        left -= taken[stratum]
    return taken


@dataclass(frozen=True)
class Draw:
    """Of each class: how many pairs of a stratum are drawn, and how many each stands for."""

    pairs: list[int]
    weight: list[float]


def draw(pairs: Sequence[int], scale: Sequence[Fraction], number: int, start: Fraction) -> Draw:
    """How many of each class's pairs are drawn so that a pair's chance is in proportion to scale.

    pairs: K_c of each class in the stratum, known by a sample of the class's images. scale: w_c ≥ 1
    of the class's pairs each of these stands for. number: n ≤ ΣK_c to be drawn. start: u, uniform
    in [0, 1).

    Let N = Σ w_c·K_c and C_c = n/N·Σ_{b≤c} w_b·K_b. Class c gives ⌈C_c − u⌉ − ⌈C_{c−1} − u⌉ pairs
    (systematic sampling of random start: Madow, Ann. Math. Stat. 20, 1949), n in all and
    n·w_c·K_c/N in expectation. These are drawn of the K_c with equal chances, so a pair's chance is
    n·w_c/N and its weight N/n, whatever its class. Where n·w_c > N all of a class's pairs are drawn
    first, with the weight w_c, and the others share what is left. So Σ weight = N, and
    E Σ weight·y = Σ w_c Σ y for any y.

    Rational throughout: no rounding decides. Raises ValueError where n > ΣK_c.
    """
    if number > sum(pairs):
        raise ValueError(f"{number} pairs cannot be drawn of {sum(pairs)}")
    whole = _certain(pairs, scale, number)
    left = number - sum(pairs[c] for c in whole)
    rest = [0 if c in whole else scale[c] * pairs[c] for c in range(len(pairs))]
    population = Fraction(sum(rest))
    taken, ends, before = [], Fraction(0), 0
    for c, share in enumerate(rest):
        ends += left * share / population if population else 0
        upto = math.ceil(ends - start)
        taken.append(pairs[c] if c in whole else upto - before)
        before = upto
    each = float(population / left) if left else 0.0
    return Draw(taken, [float(scale[c]) if c in whole else each for c in range(len(pairs))])


def _certain(pairs: Sequence[int], scale: Sequence[Fraction], number: int) -> set[int]:
    """The classes whose pairs would be drawn with a chance above 1."""
    whole: set[int] = set()
    while True:
        rest = [c for c in range(len(pairs)) if c not in whole and pairs[c]]
        left = number - sum(pairs[c] for c in whole)
        population = sum((scale[c] * pairs[c] for c in rest), Fraction(0))
        above = {c for c in rest if left * scale[c] > population}
        if not above:
            return whole
        whole |= above


def scale(images: int, sampled: int) -> Fraction:
    """How many pairs of a class's images one of those sampled stands for: n(n−1)/(m(m−1))."""
    return Fraction(images * (images - 1), max(1, sampled * (sampled - 1)))
