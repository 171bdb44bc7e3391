"""Thresholds that are computed for a group: from the share to keep, or from the rate of pairs.

Use `keep_share` for the T at which a greedy cover keeps a share of a group, and `pair_rate` for the
T above which lies a share of a group's pairs, read off the spline model of their angles. Section
"Thresholds that set themselves" of docs/method.md defines both; to the paper they are future work.
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
from udfs.duplicates.greedy import covers
from udfs.vectors.axes import fitting_sample
from udfs.vectors.cosine import (
    Indices,
    Matrix,
    Vector,
    decision_bounds,
    similarities_at,
    squared_norms,
    unit_rows,
)
from udfs.vectors.screen import Screen

HALVINGS = 20
LEVELS = 3  # halvings that one pass decides: it tries all 7 thresholds that they may reach
MOST_PAIRS = 2**24  # pairs that are listed at most, 16 bytes each
SAMPLED = 2048  # images of a group whose pairs determine its rate
EXPECTED = 10  # pairs above T that a group must expect to have a T of its own
HIGHEST = 0.9999  # highest T of a rate: only copies of a file have a higher Sim


@dataclass
class BisectionSearch:
    """Halvings of [low, high] towards the lowest T that keeps enough images.

    If the middle keeps at least `needed` images, it becomes the upper end, else the lower end. T is
    the upper end after the last halving. A higher T does not always keep more images, so the
    halvings are part of the definition of T. left: how many halvings are still to be done.
    """

    low: float
    high: float
    needed: int
    left: int = HALVINGS

    @classmethod
    def of(cls, share: float, images: int, low: float) -> BisectionSearch:
        """A search in [low, 1] for a T that keeps ⌈share·images⌉ images.

        The share is taken as it is written: 0.1 of 30 is 3, although 0.1 * 30 is more as a float.
        low: 0, or −1 for whitened vectors.
        """
        return cls(low, 1.0, math.ceil(Fraction(repr(float(share))) * images))

    def next_thresholds(self, levels: int = LEVELS) -> list[float]:
        """The thresholds that the next `levels` halvings may try, rising; none after the last."""
        parts = 2 ** min(levels, self.left)
        width = self.high - self.low
        return [self.low + width * part / parts for part in range(1, parts)]

    def narrow(self, kept: Sequence[int]) -> None:
        """Do the next halvings, given how many images each of `next_thresholds` keeps."""
        levels = int(math.log2(len(kept) + 1))
        kept_at = dict(zip(self.next_thresholds(levels), kept, strict=True))
        while len(kept_at) and self.left:
            middle = self.low + (self.high - self.low) / 2
            if middle not in kept_at:
                return
            if kept_at[middle] >= self.needed:
                self.high = middle
            else:
                self.low = middle
            self.left -= 1


def keep_share(
    rows: Matrix, share: float, *, low: float = 0.0, references: int = 0, block: int = 1024
) -> float:
    """The T at which a greedy cover keeps a share of a group: (n, width) → T in [low, 1].

    T is what `BisectionSearch` defines, with 20 halvings of [low, 1].

    Args:
        rows: float32, in the order in which the cover decides them.
        share: the share of the rows to keep, in (0, 1].
        low: the lowest T: 0, or −1 for whitened vectors.
        references: how many of the first rows are reference images, which are always kept.
        block: rows that are compared with as many others at a time.

    A pass over the rows decides three halvings. Then the pairs above the lower end are listed once,
    and decide the other halvings; where they are too many, another pass comes first. Raises
    TypeError and ValueError as `greedy.covers` does. Memory: the rows twice, and 20 bytes for each
    pair that is listed.

    >>> rows = np.array([[1, 0], [4, 3], [0, 1]], np.float32)
    >>> round(keep_share(rows, 1.0), 5)
    0.8
    """
    search = BisectionSearch.of(share, len(rows), low)
    pairs: _Pairs | None = None
    while search.left:
        if pairs is None:
            tried = search.next_thresholds()
            search.narrow(kept_counts(rows, tried, references=references, block=block))
            pairs = _Pairs.listed(rows, search.low, search.high, references, block)
        else:
            search.narrow([pairs.kept(threshold) for threshold in search.next_thresholds(1)])
            pairs = pairs.above(search.low)
    return search.high


def kept_counts(
    rows: Matrix, thresholds: Sequence[float], *, references: int = 0, block: int = 1024
) -> list[int]:
    """How many rows a greedy cover keeps at each threshold: (n, width) → a count per threshold.

    The first `references` rows are reference images; they are counted as well.
    """
    decided = covers(rows[:references], rows[references:], thresholds, block=block)
    return [references + int(np.count_nonzero(cover.kept)) for cover in decided]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows that may lie above some T of an interval, in the order of the later row.

    later, earlier: (pairs,), the rows' indices. value: (pairs,), the product of their unit vectors,
    +inf where Sim lies above the whole interval.
    """

    rows: Matrix
    squared: Vector
    later: Indices
    earlier: Indices
    value: NDArray[np.float32]

    @classmethod
    def listed(
        cls, rows: Matrix, low: float, high: float, references: int, block: int
    ) -> _Pairs | None:
        """All pairs with Sim > low whose later row is no reference; None for over MOST_PAIRS."""
        squared = squared_norms(rows)
        directed = np.flatnonzero(squared > 0)
        trial = fitting_sample(directed)
        screen = Screen.fitted(unit_rows(rows[trial], squared[trial]), [low, high])
        least = decision_bounds(low, rows.shape[1])[0]
        parts = [directed[first : first + block] for first in range(0, len(directed), block)]
        prepared = [screen.prepare(rows[part], squared[part]) for part in parts]
        no_index = np.empty(0, np.int64)
        listed = [(no_index, no_index, np.empty(0, np.float32))]
        total = 0
        for b, right in enumerate(prepared):
            for a, left in enumerate(prepared[: b + 1]):
                earlier, later, value = screen.candidates(left, right)
                i, j = parts[a][earlier], parts[b][later]
                above = np.flatnonzero((value > least) & (i < j) & (j >= references))
                listed.append((j[above], i[above], value[above]))
                total += len(above)
                if total > MOST_PAIRS:
                    return None
        later, earlier, value = (np.concatenate(part) for part in zip(*listed, strict=True))
        order = np.argsort(later, kind="stable")
        return cls(rows, squared, later[order], earlier[order], value[order])

    def above(self, low: float) -> _Pairs:
        """Those pairs that may lie above some T ≥ low."""
        above = self.value > decision_bounds(low, self.rows.shape[1])[0]
        parts = (self.later[above], self.earlier[above], self.value[above])
        return _Pairs(self.rows, self.squared, *parts)

    def kept(self, threshold: float) -> int:
        """How many rows a greedy cover keeps at a threshold of the interval."""
        low, high = decision_bounds(threshold, self.rows.shape[1])
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
class AngleMoments:
    """Count, mean, spread and range of angles, which set the step of their histogram."""

    count: int
    mean: float
    squares: float  # Σ (θ − mean)²
    lowest: float
    highest: float

    @classmethod
    def of(cls, angles: Vector) -> AngleMoments:
        """The moments of one group's angles: (pairs,) radians."""
        if not len(angles):
            return cls(0, 0.0, 0.0, math.inf, -math.inf)
        mean = float(angles.mean())
        squares = float(np.square(angles - mean).sum())
        return cls(len(angles), mean, squares, float(angles.min()), float(angles.max()))

    @classmethod
    def merged(cls, parts: Iterable[AngleMoments]) -> AngleMoments:
        """The moments of all groups together (Chan, Golub & LeVeque 1983).

        The last bits depend on the order of the parts.
        """
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
        """The histogram's step by Scott's rule, in radians."""
        sigma = math.sqrt(self.squares / self.count)
        return histogram.step("scott", self.count, sigma, self.highest - self.lowest)

    def is_sufficient(self, rate: float) -> bool:
        """Whether the pairs are enough for a T of this rate: rate·count ≥ EXPECTED."""
        return rate * self.count >= EXPECTED


def pair_angles(rows: Matrix) -> Vector:
    """θ = arccos(Sim) in [0, π] of all pairs of rows that are not zero: (n, width) → (pairs,).

    The rows are float32. One float64 product on one thread computes the cosines, so equal rows have
    equal angles to the last bit.
    """
    squared = squared_norms(rows)
    directed = squared > 0
    units = rows[directed] / np.sqrt(squared[directed])[:, None]
    with threadpool_limits(1, user_api="blas"):
        cosine = units @ units.T
    return np.arccos(np.clip(cosine[np.triu_indices(len(units), 1)], -1.0, 1.0))


def angle_histogram(angles: Vector, step: float) -> Histogram:
    """The histogram, with cells of `step`, of one or more angles."""
    cells, counts = np.unique(histogram.cell(angles, step), return_counts=True)
    return histogram.from_cells(cells, counts, step)


def pair_rate(cells: Histogram, rate: float) -> float:
    """T = min(cos θ, HIGHEST), where θ is the smallest angle with F(θ) − F(−θ) ≥ rate.

    F is the cdf of the spline model of the angles' histogram. The model reaches below 0, where it
    is folded back. rate: in (0, 1).
    """
    model = Marginal(cells)
    low, high = 0.0, min(math.pi, max(map(abs, model.support)))
    while (middle := (low + high) / 2) not in (low, high):
        if float(model.cdf(middle) - model.cdf(-middle)) >= rate:
            high = middle
        else:
            low = middle
    return min(math.cos(high), HIGHEST)
