"""What executors do to find thresholds: shares kept, pairs counted, angles pooled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.duplicates import groups as image_groups
from jobs.settings.duplicates import RAW, WHITENED
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.density import histogram
from udfs.duplicates import thresholds
from udfs.duplicates.thresholds import AngleMoments

LOWEST = {RAW: 0.0, WHITENED: -1.0}  # where the halvings of a space begin

FOUND = arrow_frames.struct("group string, found array<double>")
KEPT = arrow_frames.struct("group string, kept array<bigint>")
ANGLES = arrow_frames.struct(
    "group string, count bigint, moments array<double>, found array<double>"
)
CELLS = arrow_frames.struct("group string, cells array<bigint>, counts array<bigint>")


@dataclass(frozen=True)
class Sharing:
    """The shares to be kept of every group."""

    shares: Sequence[float]
    block: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by group and order, to rows of FOUND."""
        for group, latents, references in _groups(batches):
            low = LOWEST[image_groups.space_of(group)]
            found = [
                thresholds.keep_share(
                    latents, share, low=low, references=references, block=self.block
                )
                for share in self.shares
            ]
            yield arrow.record_batch({"group": [group], "found": [found]}, schema)


@dataclass(frozen=True)
class Counting:
    """Thresholds to be tried on every group."""

    thresholds: Sequence[float]
    block: int

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by group and order, to rows of KEPT."""
        for group, latents, references in _groups(batches):
            kept = thresholds.kept_counts(
                latents, self.thresholds, references=references, block=self.block
            )
            yield arrow.record_batch({"group": [group], "kept": [kept]}, schema)


def _groups(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[tuple[str, np.ndarray[tuple[int, int], np.dtype[np.float32]], int]]:
    for group, rows in arrow.groups(batches, "group"):
        latents = np.ascontiguousarray(arrow.matrix(rows.column("latent")))
        yield group, latents, int(np.count_nonzero(rows.column("standing").to_numpy()))


@dataclass(frozen=True)
class Rating:
    """The rates of pairs that thresholds are looked for."""

    rates: Sequence[float]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by group and id, to rows of ANGLES: NaN where the group has too few."""
        for group, latents, _ in _groups(batches):
            values = thresholds.pair_angles(latents)
            moments = AngleMoments.of(values)
            found = [np.nan] * len(self.rates)
            if any(moments.is_sufficient(rate) for rate in self.rates):
                cells = thresholds.angle_histogram(values, moments.step)
                found = [
                    thresholds.pair_rate(cells, rate) if moments.is_sufficient(rate) else np.nan
                    for rate in self.rates
                ]
            numbers = [moments.mean, moments.squares, moments.lowest, moments.highest]
            columns = {"group": [group], "count": [moments.count], "moments": [numbers]}
            yield arrow.record_batch(columns | {"found": [found]}, schema)


@dataclass(frozen=True)
class Pooling:
    """The step that all groups' angles of a space are counted with."""

    steps: Mapping[str, float]

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Latents, sorted by group and id, to rows of CELLS."""
        for group, latents, _ in _groups(batches):
            values = thresholds.pair_angles(latents)
            if len(values):
                cells = histogram.cell(values, self.steps[image_groups.space_of(group)])
                places, counts = np.unique(cells, return_counts=True)
                columns = {"group": [group], "cells": [places], "counts": [counts]}
                yield arrow.record_batch(columns, schema)
