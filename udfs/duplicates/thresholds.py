"""Thresholds that set themselves: by the share to be kept, by the rate of pairs (spec, section 7).

The paper leaves them as future work. `keep_share`: the T at which a greedy cover keeps a share of a
class. `pair_rate`: the T above which lies a share of a class's pairs, read off the spline model of
their angles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from udfs.density import histogram
from udfs.density.histogram import Histogram
from udfs.density.marginal import Marginal
from udfs.duplicates import greedy
from udfs.vectors import axes
from udfs.vectors.cosine import Matrix, screen, similarities_at, squared_norms, unit_rows
from udfs.vectors.screen import Screen

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

HALVINGS = 20
LEVELS = 3  # halvings that one pass decides: all 7 thresholds they may come to are tried at once
PAIRS = 2**24  # listed at most, 16 bytes each
SAMPLED = 2048  # images whose pairs tell a class's rate
EXPECTED = 10  # pairs above T; where fewer are expected, the pairs of all classes tell
HIGHEST = 0.9999  # T of a rate: above it lie but copies of a file


@dataclass
class Halving:
    """Halvings of [low, high] towards the lowest T found that keeps enough.

    If the middle keeps at least `need`, it is the new upper end, else the new lower end; T is the
    upper end in the end. What a T keeps does not rise with T in every case: this says which T.
    """

    low: float
    high: float
    need: int
    left: int = HALVINGS

    @classmethod
    def of(cls, share: float, images: int, low: float) -> Halving:
        """For ceil(share·images), the share taken as it is written; low: 0, or −1 whitened."""
        return cls(low, 1.0, math.ceil(Fraction(repr(float(share))) * images))

    def tried(self, levels: int = LEVELS) -> list[float]:
        """The thresholds that the next halvings may come to, rising; none when all are done."""
        parts = 2 ** min(levels, self.left)
        width = self.high - self.low
        return [self.low + width * part / parts for part in range(1, parts)]

    def narrow(self, kept: Sequence[int]) -> None:
        """Halve on, given what each threshold of `tried` keeps."""
        found = dict(zip(self.tried(int(math.log2(len(kept) + 1))), kept, strict=True))
        while len(found) and self.left:
            middle = self.low + (self.high - self.low) / 2
            if middle not in found:
                return
            if found[middle] >= self.need:
                self.high = middle
            else:
                self.low = middle
            self.left -= 1


def keep_share(
    rows: Matrix, share: float, *, low: float = 0.0, standing: int = 0, block: int = 1024
) -> float:
    """The T of `Halving` for the greedy cover of a class: [low, 1] halved 20 times.

    rows: (n, width) float32, in order. standing: so many of the first stay whatever they resemble.

    A pass over the rows decides three halvings. Then the pairs above the lower end are listed,
    once, and decide the others; where they are too many, another pass comes first. Raises as
    `greedy.covers`. Memory: the rows twice, 20 bytes a pair listed.
    """
    search = Halving.of(share, len(rows), low)
    pairs: _Pairs | None = None
    while search.left:
        if pairs is None:
            search.narrow(kept_counts(rows, search.tried(), standing=standing, block=block))
            pairs = _Pairs.listed(rows, search.low, search.high, standing, block)
        else:
            search.narrow([pairs.kept(threshold) for threshold in search.tried(1)])
            pairs = pairs.above(search.low)
    return search.high


def kept_counts(
    rows: Matrix, thresholds: Sequence[float], *, standing: int = 0, block: int = 1024
) -> list[int]:
    """How many of the rows stay at each threshold, those that stand among them."""
    covers = greedy.covers(rows[:standing], rows[standing:], thresholds, block=block)
    return [standing + int(np.count_nonzero(cover.kept)) for cover in covers]


@dataclass(frozen=True)
class _Pairs:
    """Pairs that may lie above some T of an interval, sorted by the later image.

    value: the product of their unit vectors, +inf where Sim lies above the whole interval.
    """

    rows: Matrix
    squared: Array
    later: Indices
    earlier: Indices
    value: NDArray[np.float32]

    @classmethod
    def listed(
        cls, rows: Matrix, low: float, high: float, standing: int, block: int
    ) -> _Pairs | None:
        """All with Sim above `low` and the later one behind those that stand.

        None where there are more than PAIRS.
        """
        squared = squared_norms(rows)
        names = np.flatnonzero(squared > 0)
        trial = axes.sample(names)
        finder = Screen.fitted(unit_rows(rows[trial], squared[trial]), [low, high])
        least = screen(low, rows.shape[1])[0]
        parts = [names[first : first + block] for first in range(0, len(names), block)]
        sides = [finder.sides(rows[part], squared[part]) for part in parts]
        none = np.empty(0, np.int64)
        found = [(none, none, np.empty(0, np.float32))]
        total = 0
        for b, right in enumerate(sides):
            for a, left in enumerate(sides[: b + 1]):
                earlier, later, value = finder.candidates(left, right)
                i, j = parts[a][earlier], parts[b][later]
                some = np.flatnonzero((value > least) & (i < j) & (j >= standing))
                found.append((j[some], i[some], value[some]))
                total += len(some)
                if total > PAIRS:
                    return None
        later, earlier, value = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(later, kind="stable")
        return cls(rows, squared, later[order], earlier[order], value[order])

    def above(self, low: float) -> _Pairs:
        """Those that may lie above some T from `low` on."""
        some = self.value > screen(low, self.rows.shape[1])[0]
        parts = (self.later[some], self.earlier[some], self.value[some])
        return _Pairs(self.rows, self.squared, *parts)

    def kept(self, threshold: float) -> int:
        """How many of the rows stay at a threshold of the interval."""
        low, high = screen(threshold, self.rows.shape[1])
        above = self.value > high
        unsure = np.flatnonzero((self.value > low) & ~above)
        similarity = similarities_at(
            self.rows.__getitem__, self.squared, self.later[unsure], self.earlier[unsure]
        )
        above[unsure] = similarity > threshold
        later, earlier = self.later[above], self.earlier[above]
        images, starts = np.unique(later, return_index=True)
        kept = np.ones(len(self.rows), np.bool_)
        for image, neighbours in zip(images.tolist(), np.split(earlier, starts)[1:], strict=True):
            kept[image] = not kept[neighbours].any()
        return int(np.count_nonzero(kept))


@dataclass(frozen=True)
class Angles:
    """Moments of angles between images, for the step of their histogram; merged in any order."""

    count: int
    mean: float
    squares: float  # Σ (θ − mean)²
    lowest: float
    highest: float

    @classmethod
    def of(cls, angles: Array) -> Angles:
        """Of one class's angles, (pairs,)."""
        if not len(angles):
            return cls(0, 0.0, 0.0, math.inf, -math.inf)
        mean = float(angles.mean())
        squares = float(np.square(angles - mean).sum())
        return cls(len(angles), mean, squares, float(angles.min()), float(angles.max()))

    @classmethod
    def merged(cls, parts: Iterable[Angles]) -> Angles:
        """Of all classes together; to the last bit in a fixed order (Chan et al. 1983)."""
        whole = cls.of(np.empty(0))
        for part in parts:
            count = whole.count + part.count
            if not part.count:
                continue
            shift = part.mean - whole.mean
            whole = cls(
                count,
                whole.mean + shift * part.count / count,
                whole.squares + part.squares + shift**2 * whole.count * part.count / count,
                min(whole.lowest, part.lowest),
                max(whole.highest, part.highest),
            )
        return whole

    @property
    def step(self) -> float:
        """Scott's, in radians."""
        sigma = math.sqrt(self.squares / self.count)
        return histogram.step("scott", self.count, sigma, self.highest - self.lowest)

    def tells(self, rate: float) -> bool:
        """Whether so many pairs tell where a share `rate` of them lies."""
        return rate * self.count >= EXPECTED


def angles(rows: Matrix) -> Array:
    """θ = arccos(Sim) in [0, π] of all pairs of rows that have a direction: (pairs,) float64.

    rows: (n, width) float32. By one float64 product on one thread: the same for the same rows.
    """
    squared = squared_norms(rows)
    some = squared > 0
    units = rows[some] / np.sqrt(squared[some])[:, None]
    with threadpool_limits(1, user_api="blas"):
        cosine = units @ units.T
    return np.arccos(np.clip(cosine[np.triu_indices(len(units), 1)], -1.0, 1.0))


def counted(values: Array, step: float) -> Histogram:
    """The histogram of one or more angles."""
    cells, counts = np.unique(histogram.cell(values, step), return_counts=True)
    return histogram.from_cells(cells, counts, step)


def pair_rate(cells: Histogram, rate: float) -> float:
    """T = min(cos θ, 0.9999), θ the smallest with F(θ) − F(−θ) ≥ rate.

    cells: of angles. F: the cdf of their spline model, which reaches below 0 and is folded there.
    rate: in (0, 1).
    """
    model = Marginal(cells)
    low, high = 0.0, min(math.pi, max(map(abs, model.support)))
    while (middle := (low + high) / 2) not in (low, high):
        if float(model.cdf(middle) - model.cdf(-middle)) >= rate:
            high = middle
        else:
            low = middle
    return min(math.cos(high), HIGHEST)
