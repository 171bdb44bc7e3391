"""Tasks on the executors that compute thresholds: from shares to keep and from rates of pairs.

Each class has a method `rows` for `arrow_frames.mapped`, which goes through whole groups. Their
mathematics lies in udfs/duplicates/thresholds.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.duplicates.groups import space_of
from jobs.settings.duplicates import GRADIENTS, RAW, WHITENED
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.density import histogram
from udfs.duplicates import thresholds
from udfs.duplicates.thresholds import AngleMoments
from udfs.vectors.cosine import Matrix

LOWEST = {RAW: 0.0, WHITENED: -1.0, GRADIENTS: -1.0}  # the lower end of the bisection in each space

SHARE_THRESHOLDS = arrow_frames.struct("group string, thresholds array<double>")
KEPT_COUNTS = arrow_frames.struct("group string, kept array<bigint>")
RATE_THRESHOLDS = arrow_frames.struct(
    "group string, count bigint, moments array<double>, thresholds array<double>"
)
ANGLE_CELLS = arrow_frames.struct("group string, cells array<bigint>, counts array<bigint>")


@dataclass(frozen=True)
class KeepShares:
    """The threshold of every group at which it keeps each share; block: as in `prune.block`."""

    shares: Sequence[float]
    block: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates, sorted by group and order, to rows of SHARE_THRESHOLDS."""
        for group, latents, references in _groups(batches):
            low = LOWEST[space_of(group)]
            values = [
                thresholds.keep_share(
                    latents, share, low=low, references=references, block=self.block
                )
                for share in self.shares
            ]
            yield arrow.record_batch({"group": [group], "thresholds": [values]}, schema)


@dataclass(frozen=True)
class KeptCounts:
    """How many images of every group each threshold keeps; block: as in `prune.block`."""

    thresholds: Sequence[float]
    block: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates, sorted by group and order, to rows of KEPT_COUNTS."""
        for group, latents, references in _groups(batches):
            kept = thresholds.kept_counts(
                latents, self.thresholds, references=references, block=self.block
            )
            yield arrow.record_batch({"group": [group], "kept": [kept]}, schema)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, Matrix, int]]:
    """Each group with its latents, and how many of the first of them are references."""
    for group, rows in arrow.groups(batches, "group"):
        latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        yield group, latents, int(np.count_nonzero(rows.column("reference_mask").to_numpy()))


@dataclass(frozen=True)
class PairRates:
    """The threshold of every group above which each rate of its pairs lies."""

    rates: Sequence[float]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates, sorted by group and id, to rows of RATE_THRESHOLDS.

        A threshold is NaN where the group has too few pairs for the rate. moments: mean, sum of
        squares, lowest and highest angle.
        """
        for group, latents, _ in _groups(batches):
            angles = thresholds.pair_angles(latents)
            moments = AngleMoments.of(angles)
            values = [np.nan] * len(self.rates)
            if any(moments.is_sufficient(rate) for rate in self.rates):
                cells = thresholds.angle_histogram(angles, moments.step)
                values = [
                    thresholds.pair_rate(cells, rate) if moments.is_sufficient(rate) else np.nan
                    for rate in self.rates
                ]
            numbers = [moments.mean, moments.squares, moments.lowest, moments.highest]
            columns = {"group": [group], "count": [moments.count], "moments": [numbers]}
            yield arrow.record_batch(columns | {"thresholds": [values]}, schema)


@dataclass(frozen=True)
class AngleCells:
    """The histogram of every group's angles; steps: of the cells, in radians, for each space."""

    steps: Mapping[str, float]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Candidates, sorted by group and id, to rows of ANGLE_CELLS; none without pairs."""
        for group, latents, _ in _groups(batches):
            angles = thresholds.pair_angles(latents)
            if len(angles):
                every = histogram.cell(angles, self.steps[space_of(group)])
                cells, counts = np.unique(every, return_counts=True)
                columns = {"group": [group], "cells": [cells], "counts": [counts]}
                yield arrow.record_batch(columns, schema)
