"""What stages take: the rates of a dry run, each with the measurement that it comes from.

Seconds are those of a run on two shared cores, as README.md shows it: a stage's fixed part and its
part for each image are the line through `make demo` (5,153 images) and the UC Merced run (102,545).
A warehouse that has run a stage knows better: `Rates.measured` scales that stage to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CORES = 2  # of the machine that the seconds were measured on
START = 15.2  # seconds of Spark's start and stop (docs/results.md, "What it costs")


@dataclass(frozen=True)
class Rate:
    """Seconds on two cores: `fixed`, and a part for each image and each pair that is compared."""

    fixed: float
    image: float = 0.0
    pair: float = 0.0

    def seconds(self, images: float, pairs: float, cores: int) -> float:
        """On so many cores; the fixed part is the driver's and gains nothing from more."""
        return self.fixed + (self.image * images + self.pair * pairs) * CORES / cores


# 5.48 s for 1.25e9 pairs of 50,000 images on two threads (docs/results.md, "Finding pairs")
PAIR = 5.48 / 1.25e9
SECONDS = {
    "ingest": Rate(17.47, 0.1417e-3),
    "train": Rate(5.0, 1 / 458),  # an image of an epoch, of reconstruction alone; see below
    "encode": Rate(10.35, 0.3008e-3),
    "project": Rate(9.07, 0.0442e-3),
    "whiten": Rate(4.42, 0.1119e-3),
    "prune": Rate(6.11, 0.0370e-3, PAIR),
    "publish": Rate(2.15, 0.0092e-3),
    "estimate": Rate(5.54, 0.0883e-3),
    "report": Rate(7.45, 0.0493e-3),
    "similarities": Rate(5.56, 0.0277e-3),
    # Those that are asked for read the latents, or the projections, once.
    "modes": Rate(8.0, 0.106e-3),
    "leaks": Rate(8.0, 0.167e-3, PAIR),
    "conflicts": Rate(8.0, 0.167e-3, PAIR),
    "anomalies": Rate(6.0, 0.106e-3),
    "generate": Rate(8.0, 0.106e-3),
}
# Times as long as reconstruction alone, in bfloat16 (benchmarks/encoders.py time; 1.4 in float32):
# 380,000 images took 966.6 s.
RECOGNISING = 1.16
OTHERS = Rate(8.0, 0.167e-3)

# Bytes an image (docs/results.md, "What it costs").
BYTES = {
    "images": 3655.7,
    "latents": 1554.6,
    "vectors": 949.4,
    "projections": 31.8,
    "selection": 7.6 / 3,  # a row: an image at one of three rules
    "axes": 6.4,
    "curated": 2.7,
    "density": 0.3,
    "effect": 0.2,
}


@dataclass(frozen=True)
class Rates:
    """The rates above, and what this warehouse has measured beside them.

    factors: of a stage, what it took here over what its rate says. bytes_here: of a table.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    bytes_here: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, stage: str, images: float, pairs: float, cores: int) -> float:
        """What a stage will take."""
        rate = SECONDS.get(stage, OTHERS)
        return rate.seconds(images, pairs, cores) * self.factors.get(stage, 1.0)

    def bytes(self, table: str) -> float:
        """What an image takes in a table."""
        return self.bytes_here.get(table, BYTES.get(table, 0.0))
