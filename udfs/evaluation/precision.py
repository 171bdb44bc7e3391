"""The precision of pairs above a threshold T, estimated from labels of pairs drawn in strata.

precision(T) = Σ_s N_s·p_s / Σ_s N_s over the strata above T, where N_s is the number of pairs in
stratum s and p_s the share of them that are copies. p_s is estimated by the weighted share of the
labelled pairs that are copies. Use `curve` on pairs that `udfs.evaluation.strata` had drawn
(docs/method.md, "How alike a class is").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy  # it loads its parts when they are used
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95  # of all intervals here


@dataclass(frozen=True)
class Interval:
    """An estimated share and the ends of its 95 % interval: low ≤ share ≤ high, all in [0, 1]."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Stratum:
    """The pairs with low < Sim ≤ high, and what their labels say."""

    low: float
    high: float
    population: float  # N, the pairs of all classes
    pairs: int  # labelled pairs
    effective: float  # equally weighted labels that tell as much; inf if all pairs are labelled
    share: float  # p, the estimated share of copies; NaN without a label

    @classmethod
    def labelled(
        cls, low: float, high: float, population: float, weight: Array, same: NDArray[np.bool_]
    ) -> Stratum:
        """Return the stratum of labelled pairs with weights w (pairs,) and labels y (pairs,).

        The share is Σ w·y/Σ w. The effective number of labels is (Σ w)²/Σ w²·(N − 1)/(N − n):
        Kish's sample size for unequal weights (Survey Sampling, 1965), and the correction for a
        finite population.
        """
        count, total = len(weight), float(weight.sum())
        if not count:
            return cls(low, high, population, 0, 0.0, math.nan)
        equal = total**2 / float(np.square(weight).sum())
        left = population - count
        effective = equal * (population - 1) / left if left > 0.5 else math.inf
        return cls(low, high, population, count, effective, float(weight[same].sum()) / total)


def wilson(share: float, effective: float) -> Interval:
    """Return Wilson's interval of a binomial share (J. Am. Stat. Assoc. 22, 1927).

    It holds all p with (share − p)² ≤ z²·p(1 − p)/effective, where z is the normal quantile of the
    confidence. If the share is 0 or 1, the interval is one-sided and wider than 0.

    Args:
        share: in [0, 1].
        effective: the number of labels, above 0; inf if the share is certain.

    """
    if math.isinf(effective):
        return Interval(share, share, share)
    z = float(scipy.special.ndtri((1 + CONFIDENCE) / 2))
    centre = share + z**2 / (2 * effective)
    half = z * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    scale = 1 + z**2 / effective
    # The ends at 0 and 1 are exact; rounding must not put the share outside.
    low, high = (centre - half) / scale, (centre + half) / scale
    return Interval(share, min(share, max(0.0, low)), max(share, min(1.0, high)))


def precision(strata: Sequence[Stratum]) -> Interval | None:
    """Return the share of copies among all pairs of the strata, with its 95 % interval.

    With W_s = N_s/ΣN, the share is ΣW_s·p_s, and with Wilson's ends l_s, u_s of each stratum
    low = share − √Σ(W_s(p_s − l_s))², high = share + √Σ(W_s(u_s − p_s))² (the method of variance
    estimates recovery: Zou, Huang & Zhang, Comput. Stat. Data Anal. 53, 2009). The interval is
    wider than 0 even if every label says the same.

    Returns:
        None if there is no pair, or if a stratum that holds pairs has no label.

    >>> y = np.array([True] * 9 + [False])
    >>> lower = Stratum.labelled(0.90, 0.95, 300, np.full(10, 30.0), y)  # 9 of 10 labels say copy
    >>> upper = Stratum.labelled(0.95, 1.00, 100, np.full(10, 10.0), y | True)
    >>> estimate = precision([lower, upper])
    >>> round(estimate.share, 3), round(estimate.low, 3), round(estimate.high, 3)
    (0.925, 0.692, 0.986)

    """
    filled = [stratum for stratum in strata if stratum.population > 0]
    if not filled or not all(stratum.pairs for stratum in filled):
        return None
    ends = [wilson(stratum.share, stratum.effective) for stratum in filled]
    population = np.array([stratum.population for stratum in filled])
    weight = population / population.sum()
    share, low, high = (
        np.array([getattr(end, name) for end in ends]) for name in ("share", "low", "high")
    )
    total = float(weight @ share)
    below = float(np.linalg.norm(weight * (share - low)))
    above = float(np.linalg.norm(weight * (high - share)))
    return Interval(total, max(0.0, total - below), min(1.0, total + above))


@dataclass(frozen=True)
class Pairs:
    """Pairs drawn in strata, labelled or not: arrays (pairs,)."""

    similarity: Array
    low: Array  # lower edge of the pair's stratum: low < similarity ≤ high
    high: Array  # upper edge of the pair's stratum
    population: Array  # pairs of all classes in the pair's stratum
    weight: Array  # pairs of all classes that this pair represents
    label: NDArray[np.int64]  # 1: the same, 0: not the same, −1: not labelled

    def strata(self, cuts: Sequence[float] = ()) -> list[Stratum]:
        """Return the strata, rising, divided at every cut that lies inside one.

        The population of a part is the Σ weight of its pairs, an estimate without bias; intervals
        do not account for it. Strata of which no pair was drawn are left out.
        """
        strata = []
        for low in np.unique(self.low):
            inside = self.low == low
            high, population = float(self.high[inside][0]), float(self.population[inside][0])
            ends = [float(low), *sorted({cut for cut in cuts if low < cut < high}), high]
            for first, last in pairwise(ends):
                part = inside & (self.similarity > first) & (self.similarity <= last)
                pairs = population if len(ends) == 2 else float(self.weight[part].sum())
                labelled = part & (self.label >= 0)
                same = self.label[labelled] == 1
                strata.append(Stratum.labelled(first, last, pairs, self.weight[labelled], same))
        return strata


@dataclass(frozen=True)
class Threshold:
    """A threshold T, the precision of the pairs above it, and the share of all copies above it."""

    threshold: float
    precision: Interval | None  # None if a stratum above T has no label
    pairs: int  # labelled pairs above T
    recall: float | None  # share of the copies of all strata that lie above T


def curve(pairs: Pairs, thresholds: Iterable[float]) -> list[Threshold]:
    """Return the estimates at each T and at each stratum's lower edge, rising."""
    cuts = sorted({*(float(t) for t in thresholds), *pairs.low.tolist()})
    strata = pairs.strata(cuts)
    total = _copies(strata)
    estimates = []
    for threshold in cuts:
        above = [stratum for stratum in strata if stratum.low >= threshold]
        copies = _copies(above)
        recall = copies / total if total and copies is not None else None
        count = sum(stratum.pairs for stratum in above)
        estimates.append(Threshold(threshold, precision(above), count, recall))
    return estimates


@dataclass(frozen=True)
class Part:
    """The precision of some of the pairs, and the share of all copies that is among them."""

    precision: Interval | None  # None if a stratum that holds such pairs has no label
    pairs: int  # labelled pairs among them
    recall: float | None  # share of the copies of all strata; None if a stratum has no label


def of_part(pairs: Pairs, inside: NDArray[np.bool_]) -> Part:
    """Return the estimates for the pairs that are `inside`, (pairs,).

    How many pairs of a stratum are inside is estimated without bias, by the Σ weight of the drawn
    ones; the interval does not account for it.
    """
    populations = {low: float(pairs.weight[inside & (pairs.low == low)].sum()) for low in pairs.low}
    chosen = Pairs(
        pairs.similarity[inside],
        pairs.low[inside],
        pairs.high[inside],
        np.array([populations[low] for low in pairs.low[inside]]),
        pairs.weight[inside],
        pairs.label[inside],
    )
    strata = chosen.strata()
    total, copies = _copies(pairs.strata()), _copies(strata)
    recall = copies / total if total and copies is not None else None
    return Part(precision(strata), sum(stratum.pairs for stratum in strata), recall)


def _copies(strata: Sequence[Stratum]) -> float | None:
    """Return ΣN_s·p_s, or None if a stratum that holds pairs has no label."""
    filled = [stratum for stratum in strata if stratum.population > 0]
    if not all(stratum.pairs for stratum in filled):
        return None
    return math.fsum(stratum.population * stratum.share for stratum in filled)


def reaching(
    estimates: Sequence[Threshold], target: float, *, surely: bool = False
) -> Threshold | None:
    """Return the smallest T from which on the precision is at least the target.

    Args:
        estimates: of `curve`, rising. Thresholds without a precision are passed over.
        target: a precision in [0, 1]. It must be reached at every higher T as well.
        surely: whether the lower end of the interval must reach the target, not the estimate.

    Returns:
        None if no T reaches it.

    """
    best = None
    for estimate in reversed(estimates):
        if estimate.precision is None:
            continue
        if (estimate.precision.low if surely else estimate.precision.share) < target:
            break
        best = estimate
    return best
