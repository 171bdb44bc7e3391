"""How an image is laid over the one that stays, and how well both fit: the proof of a removal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from udfs.report import overlay

DIGITS = 4  # of shares and of the matrix: a tenth of a pixel of a picture of 2,000
COARSE = 2  # digits of degrees and pixels


@dataclass(frozen=True)
class Evidence:
    """The registration of an image with the one that stays, in the columns of `selection`.

    Only the agreement may be NaN: of an overlap without structure in two directions.
    """

    registration: float
    agreement: float
    overlap: float
    scale: float
    rotation: float
    shift_x: float
    shift_y: float
    shift_x_source: float
    shift_y_source: float
    orientation: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Evidence | None:
        """Return the evidence of a row of `selection` or `alignments`; None if it has none.

        A pair of flat pictures has none: there was nothing to register.
        """
        if row["registration"] is None or not math.isfinite(row["registration"]):
            return None
        return cls(**{name: row[name] for name in COLUMNS})

    def shown(self) -> list[float | None]:
        """Return the numbers that the page shows, rounded; None for an agreement that is NaN."""
        agreement = self.agreement if math.isfinite(self.agreement) else None
        coarse = (self.rotation, self.shift_x_source, self.shift_y_source)
        return [
            round(self.registration, DIGITS),
            None if agreement is None else round(agreement, DIGITS),
            round(self.overlap, DIGITS),
            round(self.scale, DIGITS),
            *(round(number, COARSE) for number in coarse),
            self.orientation,
        ]

    def matrix(self, aspect: float, other_aspect: float) -> list[float]:
        """Return the matrix from the image's frame to the other's, row by row, rounded."""
        shift = self.shift_x, self.shift_y
        aspects = {"aspect": aspect, "other_aspect": other_aspect}
        placed = overlay.placement(self.scale, self.rotation, shift, self.orientation, **aspects)
        return [round(number, DIGITS) for number in placed.ravel().tolist()]


COLUMNS = tuple(column.name for column in fields(Evidence))
