"""The line through the classes' kurtosis before and after removal (paper, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MINIMUM_IMAGES = 20  # a class with fewer before or after is left out
MINIMUM_CLASSES = 3


@dataclass(frozen=True)
class Line:
    """y = slope·x + intercept, and the 95 % interval of the slope."""

    slope: float
    intercept: float
    slope_low: float
    slope_high: float
    classes: int


def line(before: Sequence[float], after: Sequence[float]) -> Line | None:
    """Theil and Sen's line: the median of the pairwise slopes; intercept median(y) − a·median(x).

    before, after: one number a class. None below 3 classes, or where all of `before` are equal.
    """
    from scipy.stats import theilslopes  # half a second to import

    if len(before) != len(after):
        raise ValueError(f"before and after: {len(before)} and {len(after)} classes, must be equal")
    if len(before) < MINIMUM_CLASSES or len(set(before)) < 2:
        return None
    found = theilslopes(after, before, 0.95, method="separate")
    return Line(
        slope=float(found.slope),
        intercept=float(found.intercept),
        slope_low=float(found.low_slope),
        slope_high=float(found.high_slope),
        classes=len(before),
    )
