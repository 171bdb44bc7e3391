"""The sections [estimate] and [calibrate]: what removal did, and how precise it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from jobs.settings.validators import Number, Section, Seed, Text, Whole, between, one_of
from udfs.density import histogram

NO_LABELS = (
    "calibrate.labels is missing: a CSV of labelled pairs as the report saves it, with the columns "
    "pair_id and same (1 or 0)"
)


def check_step(value: Any) -> str | int:
    """Allow the name of a rule for the width of a histogram's cells, or a number of cells."""
    cells = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) and value in histogram.RULES:
        return value
    if cells and 1 <= value <= histogram.MOST_CELLS:
        return int(value)
    rules, most = ", ".join(histogram.RULES), histogram.MOST_CELLS
    raise ValueError(f"must be {rules} or a number of cells, a whole one up to {most}")


@dataclass(frozen=True)
class Estimate(Section):
    """The density model, and the measures of what removal did."""

    basis: Annotated[Text, one_of("before")] = "before"
    step: Annotated[str | int, BeforeValidator(check_step)] = "scott"
    components: Annotated[Whole, between(1, 64)] = 3
    control: Annotated[Whole, between(0, 100_000)] = 100
    seed: Seed = 0


@dataclass(frozen=True)
class Calibrate(Section):
    """Pairs that people label, and the precision that follows from their labels."""

    pairs: Annotated[Whole, between(1, 1000)] = 200
    seed: Seed = 0
    labels: Text = ""
    precision: Annotated[Number, between(0.5, 1)] = 0.99
