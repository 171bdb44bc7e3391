"""The precision of pairs above T, from labels of pairs drawn in strata of similarity.

precision(T) = Σ_s N_s·p_s / Σ_s N_s over the strata above T: N_s pairs in stratum s, of which the
share p_s are copies; estimated by the weighted share of the stratum's labelled pairs that are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate of a share and the ends of its interval of CONFIDENCE, all in [0, 1]."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Stratum:
    """What the labels say of the pairs with low < Sim ≤ high."""

    low: float
    high: float
    population: float  # N: pairs of all classes
    pairs: int  # labelled
    effective: (
        float  # independent pairs with equal chances that tell as much; inf: all are labelled
    )
    share: float  # p of the labelled pairs; NaN where there is none

    @classmethod
    def labelled(
        cls, low: float, high: float, population: float, weight: Array, same: NDArray[np.bool_]
    ) -> Stratum:
        """From labelled pairs, (pairs,): how many pairs each stands for, and whether they are same.

        share = Σ w·y/Σ w, effective = (Σ w)²/Σ w²·(N − 1)/(N − n): Kish's sample size for unequal
        weights (Survey Sampling, 1965), and the correction for a finite population.
        """
        count, total = len(weight), float(weight.sum())
        if not count:
            return cls(low, high, population, 0, 0.0, math.nan)
        alike = total**2 / float(np.square(weight).sum())
        left = population - count
        effective = alike * (population - 1) / left if left > 0.5 else math.inf
        return cls(low, high, population, count, effective, float(weight[same].sum()) / total)


def wilson(share: float, effective: float) -> Interval:
    """Wilson's interval of a binomial share (J. Am. Stat. Assoc. 22, 1927).

    All p with (share − p)² ≤ z²·p(1 − p)/effective, z the quantile of CONFIDENCE: above 0 wide
    where the share is 0 or 1, and then one-sided. effective: > 0, a number of pairs, inf for
    certainty.
    """
    if math.isinf(effective):
        return Interval(share, share, share)
    z = float(ndtri((1 + CONFIDENCE) / 2))
    centre = share + z**2 / (2 * effective)
    half = z * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    scale = 1 + z**2 / effective
    # The ends at 0 and 1 are exact; rounding must not put the share outside.
    low, high = (centre - half) / scale, (centre + half) / scale
    return Interval(share, min(share, max(0.0, low)), max(share, min(1.0, high)))


def precision(strata: Sequence[Stratum]) -> Interval | None:
    """The share of copies among all pairs of the strata, with its interval.

    W_s = N_s/ΣN: share = ΣW_s·p_s, and with Wilson's ends l_s, u_s of each stratum
    low = share − √Σ(W_s(p_s − l_s))², high = share + √Σ(W_s(u_s − p_s))² (the method of variance
    estimates recovery: Zou, Huang & Zhang, Comput. Stat. Data Anal. 53, 2009): not of width zero
    where every label says the same.

    None where there is no pair, or a stratum that holds some has no label.
    """
    some = [stratum for stratum in strata if stratum.population > 0]
    if not some or not all(stratum.pairs for stratum in some):
        return None
    ends = [wilson(stratum.share, stratum.effective) for stratum in some]
    population = np.array([stratum.population for stratum in some])
    weight = population / population.sum()
    share, low, high = (
        np.array([getattr(end, name) for end in ends]) for name in ("share", "low", "high")
    )
    whole = float(weight @ share)
    below = float(np.linalg.norm(weight * (share - low)))
    above = float(np.linalg.norm(weight * (high - share)))
    return Interval(whole, max(0.0, whole - below), min(1.0, whole + above))


@dataclass(frozen=True)
class Pairs:
    """Pairs drawn in strata, labelled or not: (pairs,) each."""

    similarity: Array
    low: Array  # of the pair's stratum: low < similarity ≤ high
    high: Array
    population: Array  # of the stratum: pairs of all classes
    weight: Array  # pairs of all classes that this one stands for
    label: NDArray[np.int64]  # 1: same, 0: not, −1: not labelled

    def strata(self, cuts: Sequence[float] = ()) -> list[Stratum]:
        """The strata, rising, divided where a cut lies inside.

        A part holds Σ weight of its pairs, which estimates how many there are without bias; that
        this is an estimate is not in the intervals. A stratum of which no pair was drawn is empty.
        """
        found = []
        for low in np.unique(self.low):
            own = self.low == low
            high, population = float(self.high[own][0]), float(self.population[own][0])
            ends = [float(low), *sorted({cut for cut in cuts if low < cut < high}), high]
            for first, last in pairwise(ends):
                part = own & (self.similarity > first) & (self.similarity <= last)
                held = population if len(ends) == 2 else float(self.weight[part].sum())
                known = part & (self.label >= 0)
                same = self.label[known] == 1
                found.append(Stratum.labelled(first, last, held, self.weight[known], same))
        return found


@dataclass(frozen=True)
class Threshold:
    """What the labels say of a T: the precision above it, and what lies there of all copies."""

    threshold: float
    precision: Interval | None
    pairs: int  # labelled, above T
    found: float | None  # share of the copies of all strata together that lie above T


def curve(pairs: Pairs, thresholds: Iterable[float]) -> list[Threshold]:
    """Each T, and each stratum's lower edge as one, rising."""
    given = sorted({*(float(t) for t in thresholds), *pairs.low.tolist()})
    strata = pairs.strata(given)
    whole = _copies(strata)
    found = []
    for threshold in given:
        above = [stratum for stratum in strata if stratum.low >= threshold]
        copies = _copies(above)
        share = copies / whole if whole and copies is not None else None
        count = sum(stratum.pairs for stratum in above)
        found.append(Threshold(threshold, precision(above), count, share))
    return found


def _copies(strata: Sequence[Stratum]) -> float | None:
    """ΣN_s·p_s; None where a stratum that holds pairs has no label."""
    some = [stratum for stratum in strata if stratum.population > 0]
    if not all(stratum.pairs for stratum in some):
        return None
    return math.fsum(stratum.population * stratum.share for stratum in some)


def reaching(
    found: Sequence[Threshold], wanted: float, *, surely: bool = False
) -> Threshold | None:
    """The smallest T from which on the precision is as wanted; `surely`: its interval's lower end.

    found: of `curve`. From there on: at every higher T that labels tell of as well. None: at no T.
    """
    best = None
    for one in reversed(found):
        if one.precision is None:
            continue
        if (one.precision.low if surely else one.precision.share) < wanted:
            break
        best = one
    return best
