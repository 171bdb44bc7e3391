"""The null distribution of the effect of removal: what removing as many images at random does.

Use `null_distribution` and `band` to judge a change of kurtosis or entropy (docs/method.md, "What
removal did"; beyond the paper). Having fewer images changes both by itself, so the removal of
duplicates did something only where its outcome lies outside the band of random removals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.density import histogram
from udfs.density.histogram import Histogram
from udfs.density.marginal import Marginal

Array = NDArray[np.float64]
BAND = (0.025, 0.975)  # quantiles of the draws: an effect beyond is not due to fewer images
BYTES = 32  # of a sha256
MOST_CLASSES = 2000  # of more the slopes of all pairs, for each draw, would take too long


@dataclass(frozen=True)
class NullDistribution:
    """What is left of a class after random removals: arrays (draws, sizes, components).

    kurtosis: the population excess kurtosis; NaN for fewer than 4 images and if all are equal.
    entropy: of the spline model, in nats. scale_free: entropy − ln of the model's deviation.
    """

    kurtosis: Array
    entropy: Array
    scale_free: Array


def removal_order(ids: Sequence[bytes], seed: int, draw: int) -> NDArray[np.int64]:
    """Return the order in which a draw removes images: their indices (n,).

    Images are ordered by sha256("<seed>|<draw>|<image_id>"), so a draw does not depend on the order
    of the ids, which are given in UTF-8.
    """
    start = hashlib.sha256(f"{seed}|{draw}|".encode())
    # One buffer: as objects the digests of a class of millions would take three times the memory.
    digests = bytearray(BYTES * len(ids))
    for place, name in enumerate(ids):
        digest = start.copy()
        digest.update(name)
        digests[BYTES * place : BYTES * (place + 1)] = digest.digest()
    words = np.frombuffer(digests, ">u8").reshape(-1, 4)
    # Sorting by the first word takes a twentieth of the time; digests hardly ever share it.
    leading = words[:, 0].astype(np.uint64)
    order = np.argsort(leading)
    leading = leading[order]
    if (leading[1:] == leading[:-1]).any():
        order = np.lexsort(words.astype(np.uint64).T[::-1])
    return order


def null_distribution(
    ids: Sequence[str],
    values: Array,
    steps: Sequence[float],
    removed: Sequence[int],
    draws: int,
    seed: int,
) -> NullDistribution:
    """Draw random removals of a class and measure what is left.

    Args:
        ids: of the n images.
        values: (n, components), their projections, centred.
        steps: the width of a histogram's cell, for each component.
        removed: the numbers of images to remove, each below n.
        draws: the number of random removals of each size.
        seed: of the draws.

    """
    shape = (draws, len(removed), values.shape[1])
    result = NullDistribution(*(np.full(shape, np.nan) for _ in range(3)))
    cells = [histogram.cell(values[:, k], step) for k, step in enumerate(steps)]
    names = [name.encode() for name in ids]
    for draw in range(draws):
        order = removal_order(names, seed, draw)
        result.kurtosis[draw] = _kurtosis_of_rest(values[order], removed)
        for k, step in enumerate(steps):
            for size, count in enumerate(removed):
                model = Marginal(_counted(cells[k][order[count:]], step))
                entropy = model.entropy()
                result.entropy[draw, size, k] = entropy
                result.scale_free[draw, size, k] = entropy - 0.5 * np.log(model.variance)
    return result


def band(values: Array) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of draws (draws,).

    Both are NaN if there is no draw, or if a draw is NaN.
    """
    if not len(values) or np.isnan(values).any():
        return np.nan, np.nan
    low, high = np.quantile(values, BAND)
    return float(low), float(high)


def slope_band(before: Array, after: Array) -> tuple[float, float]:
    """Return the band of the Theil–Sen slope under random removal.

    Args:
        before: (classes,), the kurtosis before removal.
        after: (draws, classes), the kurtosis after each draw.

    Returns:
        The 2.5 and 97.5 % quantiles of the slopes; NaN if a kurtosis is NaN, if there is no draw,
        and for more than 2,000 classes.

    """
    from scipy.stats import theilslopes  # half a second to import

    if len(before) > MOST_CLASSES or not len(after) or np.isnan(after).any():
        return np.nan, np.nan
    slopes = [theilslopes(row, before).slope for row in after]
    return band(np.array(slopes))


def _kurtosis_of_rest(values: Array, removed: Sequence[int]) -> Array:
    """Return the excess kurtosis of rows[r:] for each r in `removed`: (n, k) → (sizes, k).

    All sizes are computed in one pass from the sums of powers of the last rows. The rows must be
    centred, else digits are lost. One power is held at a time.
    """
    size = np.abs(values).max(axis=0)
    scaled = values / np.where(size > 0, size, 1.0)
    squares = scaled * scaled  # NumPy's powers take three times as long as products
    left = len(values) - np.asarray(removed)

    def moment(power: Array) -> Array:
        sums = np.cumsum(power[::-1], axis=0)[::-1]  # over the rows from each one on
        return np.asarray(sums[np.asarray(removed)] / left[:, None])

    m1, m2 = moment(scaled), moment(squares)
    m3, m4 = moment(squares * scaled), moment(squares * squares)
    second = m2 - m1**2
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    with np.errstate(divide="ignore", invalid="ignore"):
        kurtosis = np.where(second > 1e-12 * m2, fourth / second**2 - 3, np.nan)
    kurtosis[left < 4] = np.nan
    return np.asarray(kurtosis)


def _counted(cells: NDArray[np.int64], step: float) -> Histogram:
    first = int(cells.min())
    return Histogram(first * step, step, np.bincount(cells - first))
