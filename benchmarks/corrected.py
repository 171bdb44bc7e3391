"""A spline density whose means over cells agree with the histogram to a higher order.

It stands beside `udfs.density.marginal.Marginal` for comparison alone: its density may be negative,
so no job uses it (see docs/method.md, "The spline density").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from udfs.density.bspline import Spline
from udfs.density.histogram import Cells
from udfs.density.marginal import Marginal


class Corrected(Spline):
    """The spline of c_i = p_i − δ²p_i/6: its means over cells agree with p to O(h⁴).

    Its coefficients may be negative, and so may its density: the paper's model (`Marginal`) leaves
    the correction out. Offered are value, density, gradient, cdf and moments; the variance is the
    grouped one − h²/12, Sheppard's correction. `coefficients` reach one cell further at each side.
    """

    WIDENING = -1 / 12
    FLATTENING = -83 / 120  # −1/40 of B, −2/3 of δ − δ²/6

    @property
    def first(self) -> int:
        """The number i of the first coefficient's cell: one before the histogram's."""
        return self.histogram.first - 1

    @property
    def _numerators(self) -> Cells:
        counts = np.pad(self.histogram.counts, 2)
        return np.asarray(8 * counts[1:-1] - counts[:-2] - counts[2:], np.int64)

    @property
    def _denominator(self) -> int:
        return 6 * self.histogram.n

    if not TYPE_CHECKING:  # mypy sees no such attributes

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_") or not hasattr(Marginal, name):
                raise AttributeError(f"Corrected has no {name!r}")
            raise AttributeError(
                f"Corrected has no {name!r}: its density may be negative, its cdf falls there and "
                "its logarithm does not exist; take Marginal, the model without the correction"
            )
