"""What removing as many images at random does: the control of every effect (spec, section 6).

The paper has none. Fewer images alone change kurtosis and entropy; what removal of duplicates did
is what lies outside of what random removals of the same size do.
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
BAND = (0.025, 0.975)  # of the draws: what lies outside is not due to having fewer images
MOST_CLASSES = 2000  # the pairwise slopes of more take too long, a hundred times


@dataclass(frozen=True)
class Drawn:
    """Of every draw, number removed and component: (draws, sizes, components) each.

    kurtosis: population excess kurtosis of what is left, NaN below 4 images and where all are
    equal. entropy, scale_free: of the spline model, in nats.
    """

    kurtosis: Array
    entropy: Array
    scale_free: Array


def removal_order(ids: Sequence[bytes], seed: int, draw: int) -> NDArray[np.int64]:
    """Indices of images by sha256("<seed>|<draw>|<image_id>"): the order a draw removes them in.

    ids: in UTF-8.
    """
    start = hashlib.sha256(f"{seed}|{draw}|".encode())
    digests = []
    for name in ids:
        digest = start.copy()
        digest.update(name)
        digests.append(digest.digest())
    words = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 4).astype(np.uint64)
    # One word alone takes a twentieth of the time, and two digests hardly ever share their first.
    order = np.argsort(words[:, 0])
    leading = words[order, 0]
    if (leading[1:] == leading[:-1]).any():
        order = np.lexsort(words.T[::-1])
    return order


def drawn(
    ids: Sequence[str],
    values: Array,
    steps: Sequence[float],
    removed: Sequence[int],
    draws: int,
    seed: int,
) -> Drawn:
    """Random removals of one class.

    ids: (n,). values: (n, components), the projections. steps: of each component's histogram.
    removed: how many images go, each fewer than n.
    """
    shape = (draws, len(removed), values.shape[1])
    found = Drawn(*(np.full(shape, np.nan) for _ in range(3)))
    cells = [histogram.cell(values[:, k], step) for k, step in enumerate(steps)]
    names = [name.encode() for name in ids]
    for draw in range(draws):
        order = removal_order(names, seed, draw)
        found.kurtosis[draw] = _kurtosis_of_rest(values[order], removed)
        for k, step in enumerate(steps):
            for size, count in enumerate(removed):
                model = Marginal(_counted(cells[k][order[count:]], step))
                entropy = model.entropy()
                found.entropy[draw, size, k] = entropy
                found.scale_free[draw, size, k] = entropy - 0.5 * np.log(model.variance)
    return found


def band(values: Array) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of draws, (draws,); NaN where a draw has no value."""
    if not len(values) or np.isnan(values).any():
        return np.nan, np.nan
    low, high = np.quantile(values, BAND)
    return float(low), float(high)


def slope_band(before: Array, after: Array) -> tuple[float, float]:
    """The band of the Theil-Sen slope under random removal.

    before: (classes,). after: (draws, classes), the kurtosis of each draw. NaN where a draw has no
    slope, and above 2000 classes.
    """
    from scipy.stats import theilslopes  # half a second to import

    if len(before) > MOST_CLASSES or not len(after) or np.isnan(after).any():
        return np.nan, np.nan
    slopes = [theilslopes(row, before).slope for row in after]
    return band(np.array(slopes))


def _kurtosis_of_rest(values: Array, removed: Sequence[int]) -> Array:
    """Of rows (n, k) in the order they go: (sizes, k), once so many are gone.

    From sums of powers over what is left, all sizes in one pass; the projections are centred.
    """
    size = np.abs(values).max(axis=0)
    scaled = values / np.where(size > 0, size, 1.0)
    squares = scaled * scaled  # products: numpy's powers take three times as long
    powers = np.stack([scaled, squares, squares * scaled, squares * squares])
    sums = np.cumsum(powers[:, ::-1], axis=1)[:, ::-1]  # of all rows from each on
    left = len(values) - np.asarray(removed)
    one, two, three, four = sums[:, np.asarray(removed)] / left[:, None]
    second = two - one**2
    fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(second > 1e-12 * two, fourth / second**2 - 3, np.nan)
    found[left < 4] = np.nan
    return np.asarray(found)


def _counted(cells: NDArray[np.int64], step: float) -> Histogram:
    first = int(cells.min())
    return Histogram(first * step, step, np.bincount(cells - first))
