"""The regression line through the classes' kurtosis before and after removal (paper, table 3).

Use `line` on one number of each class before (x) and after removal (y). A slope below 1 means that
removal made the classes' distributions less heavy-tailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MINIMUM_IMAGES = 20  # classes with fewer images before or after removal are left out by callers
MINIMUM_CLASSES = 3  # fewer points give no line


@dataclass(frozen=True)
class Line:
    """The line y = slope·x + intercept through `classes` points, and the slope's 95 % interval."""

    slope: float
    intercept: float
    slope_low: float
    slope_high: float
    classes: int


def line(before: Sequence[float], after: Sequence[float]) -> Line | None:
    """Return the Theil–Sen line: (classes,), (classes,) → line.

    The slope a is the median of the slopes of all pairs of points (Sen, J. Am. Stat. Assoc. 63,
    1968); the intercept is median(y) − a·median(x).

    Args:
        before: one number of each class, x.
        after: the same number after removal, y.

    Returns:
        None for fewer than 3 classes, or if all numbers before are equal.

    Raises:
        ValueError: the lengths differ.

    >>> fit = line([0.0, 1.0, 2.0], [0.0, 1.0, 3.0])  # the pairs' slopes are 1, 2 and 1.5
    >>> fit.slope, fit.intercept
    (1.5, -0.5)

    """
    from scipy.stats import theilslopes  # takes half a second

    if len(before) != len(after):
        raise ValueError(f"before and after: {len(before)} and {len(after)} classes, must be equal")
    if len(before) < MINIMUM_CLASSES or len(set(before)) < 2:
        return None
    fit = theilslopes(after, before, 0.95, method="separate")
    return Line(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        slope_low=float(fit.low_slope),
        slope_high=float(fit.high_slope),
        classes=len(before),
    )
