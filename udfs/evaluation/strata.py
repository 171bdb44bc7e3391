"""How many pairs of each class are drawn in strata of similarity, to be labelled by people.

Use it to estimate the precision at every threshold T from a few labels (docs/method.md, "How alike
a class is"). Stratum s holds the pairs of one class with edges[s] < Sim ≤ edges[s+1]. All strata
give about equally many pairs: near a low T most pairs are no copies, so a plain sample would hold
few that are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

REACH = 4  # the strata begin where 1 − Sim is this multiple of that of the lowest T
RATIO = 2  # the largest ratio of 1 − Sim at the ends of a stratum, but for the last one
UNPROVED = (0.2, 0.1)  # how far below the proof the edges of unproved pairs lie
PROVED = (0.2, 0.5, 0.8)  # which shares of the way from the proof to 1 are edges
_DIGITS = 6  # decimals of edges that are not thresholds


def edges(thresholds: Iterable[float]) -> list[float]:
    """Return the rising edges of the strata; none if no T lies in [−1, 1).

    Every T is an edge. The distance d = 1 − Sim runs from REACH·max d(T), at most 2, where nobody
    would speak of copies, down to min d(T)/REACH. Between neighbours whose distances differ by more
    than the factor RATIO, further edges divide the ratio evenly. The last stratum ends at 1.
    """
    levels = sorted({float(t) for t in thresholds if -1 <= t < 1})
    if not levels:
        return []
    lowest = max(-1.0, round(1 - REACH * (1 - levels[0]), _DIGITS))
    highest = round(1 - (1 - levels[-1]) / REACH, _DIGITS)
    knots = sorted({lowest, *levels, highest})
    result = set(knots) | {1.0}
    for low, high in pairwise(knots):
        if high < 1:
            result |= set(_between(low, high))
    return sorted(result)


def registration_edges(proof: float) -> list[float]:
    """Return the rising edges of the strata of registration R; the last is 1.

    The proof V is an edge. Two strata below it hold pairs that no rule removes, so that their
    labels tell what is missed. Above it the strata become narrower.

    >>> registration_edges(0.5)
    [0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0]

    """
    below = [proof - part for part in UNPROVED]
    above = [proof + share * (1 - proof) for share in PROVED]
    return sorted({round(edge, _DIGITS) for edge in (*below, proof, *above, 1.0)})


def _between(low: float, high: float) -> list[float]:
    """Return edges inside (low, high) that divide the ratio of 1 − Sim into equal parts."""
    ratio = (1 - low) / (1 - high)
    parts = math.ceil(round(math.log(ratio, RATIO), _DIGITS))
    inside = (1 - (1 - low) / ratio ** (part / parts) for part in range(1, parts))
    return [edge for edge in (round(value, _DIGITS) for value in inside) if low < edge < high]


def allocated(available: Sequence[int], total: int) -> list[int]:
    """Return how many of `total` pairs each stratum gives: as equal numbers as possible.

    What a stratum lacks the others give. The numbers sum to min(total, Σ available).
    """
    taken = [0] * len(available)
    left = total
    for rank, (count, stratum) in enumerate(sorted((n, s) for s, n in enumerate(available))):
        taken[stratum] = min(count, left // (len(available) - rank))
        left -= taken[stratum]
    return taken


@dataclass(frozen=True)
class Draw:
    """For each class: how many pairs of a stratum are drawn, and how many pairs each represents."""

    pairs: list[int]
    weight: list[float]


def draw(pairs: Sequence[int], scale: Sequence[Fraction], number: int, start: Fraction) -> Draw:
    """Return how many pairs of each class to draw so that a pair's chance is proportional to scale.

    Let N = Σ w_c·K_c and C_c = n/N·Σ_{b≤c} w_b·K_b. Class c gives ⌈C_c − u⌉ − ⌈C_{c−1} − u⌉ pairs
    (systematic sampling with a random start: Madow, Ann. Math. Stat. 20, 1949), which are n in all
    and n·w_c·K_c/N in expectation. They are drawn from the K_c with equal chances, so a pair is
    drawn with the chance n·w_c/N and has the weight N/n, whatever its class. If n·w_c > N, all
    pairs of the class are drawn, with the weight w_c, and the other classes share the rest. So
    Σ weight = N, and E Σ weight·y = Σ w_c Σ y for any y. All numbers are rational, so no rounding
    decides.

    Args:
        pairs: K_c, the pairs of each class in the stratum among the sampled images.
        scale: w_c ≥ 1, how many pairs of the whole class each of these represents.
        number: n ≤ ΣK_c, the pairs to draw.
        start: u, uniform in [0, 1).

    Raises:
        ValueError: n > ΣK_c.

    """
    if number > sum(pairs):
        raise ValueError(f"{number} pairs cannot be drawn of {sum(pairs)}")
    certain = _certain(pairs, scale, number)
    left = number - sum(pairs[c] for c in certain)
    rest = [0 if c in certain else scale[c] * pairs[c] for c in range(len(pairs))]
    population = Fraction(sum(rest))
    taken, ends, before = [], Fraction(0), 0
    for c, share in enumerate(rest):
        ends += left * share / population if population else 0
        upto = math.ceil(ends - start)
        taken.append(pairs[c] if c in certain else upto - before)
        before = upto
    each = float(population / left) if left else 0.0
    return Draw(taken, [float(scale[c]) if c in certain else each for c in range(len(pairs))])


def _certain(pairs: Sequence[int], scale: Sequence[Fraction], number: int) -> set[int]:
    """Return the classes whose pairs would be drawn with a chance above 1."""
    certain: set[int] = set()
    while True:
        rest = [c for c in range(len(pairs)) if c not in certain and pairs[c]]
        left = number - sum(pairs[c] for c in certain)
        population = sum((scale[c] * pairs[c] for c in rest), Fraction(0))
        above = {c for c in rest if left * scale[c] > population}
        if not above:
            return certain
        certain |= above


def scale(images: int, sampled: int) -> Fraction:
    """Return how many pairs of a class one sampled pair represents: n(n − 1)/(m(m − 1)).

    images: n, of the class; sampled: m, of which all pairs are known.
    """
    return Fraction(images * (images - 1), max(1, sampled * (sampled - 1)))
