"""The sections [modes], [anomalies] and [generate]: how the density of each class is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from jobs.settings.validators import (
    Number,
    Section,
    Seed,
    Switch,
    Texts,
    Whole,
    between,
    distinct,
)


@dataclass(frozen=True)
class Modes(Section):
    """Which classes count as heterogeneous."""

    draws: Annotated[Whole, between(0, 1_000_000)] = 0
    level: Annotated[Number, between(1e-4, 0.5)] = 0.05
    seed: Seed = 0


@dataclass(frozen=True)
class Anomalies(Section):
    """Which images lie where their class is least dense, and whether they are published."""

    quantile: Annotated[Number, between(0, 0.5)] = 0.0
    remove: Switch = False


@dataclass(frozen=True)
class Generate(Section):
    """New images of each class, drawn from its density."""

    count: Annotated[Whole, between(0, 1000)] = 0
    labels: Annotated[Texts, AfterValidator(distinct("a class"))] = ()
    components: Annotated[Whole, between(0, 64)] = 0
    seed: Seed = 0
