"""Intervals by bootstrap over photographs: these are what was drawn, not the tiles of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DRAWS = 2000  # of the bootstrap


def bootstrap(values: Array, seed: int | Sequence[int] = 0) -> Array:
    """Means of the columns of values (n, k) over photographs drawn with replacement: (2000, k)."""
    n = len(values)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS)
    return np.asarray(weights @ values / n, np.float64)


def interval(values: Array) -> tuple[float, float]:
    """95 % of the means of values (n,)."""
    return middle(bootstrap(values[:, None])[:, 0])


def macro(values: Array, labels: NDArray[np.int64], draw: int = 0) -> Array:
    """Means over classes, of photographs and seeds drawn with replacement: (2000,).

    values: (seeds, photographs); labels: (photographs,), their classes. Photographs are drawn
    within their class, so that no class is ever without one, and are the same for all seeds and for
    equal `draw`: of two arms' values the difference is drawn in pairs.
    """
    means = [bootstrap(values[:, labels == one].T, (draw, one)) for one in np.unique(labels)]
    seeds = len(values)
    # Seeds are drawn as well: two trainings of one arm differ by more than test photographs tell.
    generator = np.random.default_rng((draw, seeds, len(means)))
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    return np.asarray((np.mean(means, axis=0) * weights).sum(axis=1) / seeds, np.float64)


def middle(draws: Array) -> tuple[float, float]:
    """Between which 95 % of the draws lie."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
