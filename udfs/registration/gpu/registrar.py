"""Registers pairs on a torch device; `udfs.registration.Registrar` calls it where one is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from udfs.autoencoder.device import repeatable_float32
from udfs.registration.alignment import Alignments
from udfs.registration.gpu import coarse
from udfs.registration.gpu.evidence import Evidence, judge
from udfs.registration.gpu.pictures import PictureBatch
from udfs.registration.gpu.refinement import Refined, matrices, refine
from udfs.registration.limits import FLAT, HOPELESS, LARGEST_ROTATION, LARGEST_SCALE, STARTS
from udfs.registration.pictures import ORIENTATIONS, Greys, turned

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_PAIRS = 4096  # at a time: 3 GB of the device's memory by reckoning


class DeviceRegistrar:
    """Registers pairs of a set of pictures on a device, many at a time.

    The outcome of a pair depends on its two pictures and their aspects alone, but for rounding.
    """

    def __init__(
        self,
        grey: Greys,
        aspects: NDArray[np.float64],
        *,
        orientations: int,
        device: str,
        batch: int = _PAIRS,
    ) -> None:
        """Registrar of pictures that `udfs.registration.Registrar` has checked.

        device: as torch spells it; "cpu" is the processor, by torch. batch: pairs that are
        registered at a time. Raises ValueError where torch does not know the device.
        """
        self._grey = grey
        self._aspects = aspects
        self._orientations = orientations
        try:
            self._device = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device {device}: {error}") from error
        self._batch_size = batch

    def align(self, images: Indices, others: Indices, least: Floats) -> Alignments:
        """Register pairs: the first picture's frame onto the other's, (m,) and (m,) indices.

        least: (m,), the smallest overlap at half size with which a pair is not given up.
        """
        found = Alignments.empty(len(images))
        order = np.lexsort((others, images))  # so that few pictures belong to the pairs of a batch
        with torch.inference_mode(), repeatable_float32():
            for first in range(0, len(order), self._batch_size):
                pairs = order[first : first + self._batch_size]
                self._align_batch(images[pairs], others[pairs], least[pairs], pairs, found)
        return found

    def _align_batch(
        self,
        images: Indices,
        others: Indices,
        least: Floats,
        pairs: Indices,
        found: Alignments,
    ) -> None:
        """Register some pairs, and enter what was found at their places in `found`."""
        batch = self._batch(images, others, least, pairs)
        if not len(batch.pairs):
            return
        templates, rows, orientations, starts = self._searched(batch)
        refined = refine(templates, rows, batch.references, batch.other_rows, starts, batch.least)
        found.orientation[batch.pairs] = orientations.cpu().numpy()
        _enter(templates, rows, batch, refined, found)

    def _batch(self, images: Indices, others: Indices, least: Floats, pairs: Indices) -> _Batch:
        """The pictures of some pairs, without the pairs that have nothing to register."""
        own, own_rows = np.unique(images, return_inverse=True)
        other, other_rows = np.unique(others, return_inverse=True)
        templates = self._prepared(own, np.zeros_like(own))
        references = self._prepared(other, np.zeros_like(other))
        flat, other_flat = (
            (each.textured() < FLAT).cpu().numpy() for each in (templates, references)
        )
        kept = ~(flat[own_rows] | other_flat[other_rows])
        i, j = (torch.from_numpy(each[kept]).to(self._device) for each in (own_rows, other_rows))
        bounds = torch.from_numpy(least[kept].astype(np.float32)).to(self._device)
        return _Batch(pairs[kept], own, templates, i, references, j, bounds)

    def _searched(self, batch: _Batch) -> tuple[PictureBatch, Tensor, Tensor, Tensor]:
        """The best orientation of each pair's first picture by the coarse search.

        Returns the pictures in these orientations, the pairs' rows among them, their orientations
        and the transforms to start from.
        """
        references, other_rows = batch.references, batch.other_rows
        values, starts = coarse.starts(
            batch.templates, batch.own_rows, references, other_rows, STARTS
        )
        best = torch.zeros_like(batch.own_rows)
        if self._orientations == 1:
            return batch.templates, batch.own_rows, best, starts
        values = values[:, 0]
        for orientation in range(1, self._orientations):
            templates = self._prepared(batch.own, np.full_like(batch.own, orientation))
            value, transforms = coarse.starts(
                templates, batch.own_rows, references, other_rows, STARTS
            )
            better = value[:, 0] > values
            values = torch.where(better, value[:, 0], values)
            best = torch.where(better, orientation, best)
            starts = torch.where(better[:, None, None], transforms, starts)
        kinds, rows = torch.unique(batch.own_rows * ORIENTATIONS + best, return_inverse=True)
        chosen = kinds.cpu().numpy()
        templates = self._prepared(batch.own[chosen // ORIENTATIONS], chosen % ORIENTATIONS)
        return templates, rows, best, starts

    def _prepared(self, images: Indices, orientations: Indices) -> PictureBatch:
        """Pictures in given orientations, prepared on the device."""
        grey = self._grey[images]
        for orientation in np.unique(orientations[orientations > 0]).tolist():
            those = orientations == orientation
            grey[those] = turned(grey[those], orientation)
        aspects = self._aspects[images]
        aspects = np.where(orientations % 2 == 0, aspects, 1 / aspects)
        roots = np.sqrt(aspects).astype(np.float32)
        return PictureBatch.of(torch.from_numpy(grey).to(self._device), roots)


@dataclass(frozen=True)
class _Batch:
    """Pairs that are registered at a time, and their pictures.

    pairs: (p,), their places in the result. own: (n,), the first pictures' indices; own_rows: (p,)
    into `own` and `templates`. other_rows: (p,) into `references`. least: (p,), the overlap at
    half size below which a pair is given up.
    """

    pairs: Indices
    own: Indices
    templates: PictureBatch
    own_rows: Tensor
    references: PictureBatch
    other_rows: Tensor
    least: Tensor


def _enter(
    templates: PictureBatch, rows: Tensor, batch: _Batch, refined: Refined, found: Alignments
) -> None:
    """Judge what was refined, and enter the best transforms with their scores and evidence."""
    a, b = refined.transforms[:, 0], refined.transforms[:, 1]
    scale, rotation = torch.hypot(a, b), torch.rad2deg(torch.atan2(b, a))
    within = (scale >= 1 / LARGEST_SCALE) & (scale <= LARGEST_SCALE)
    within &= rotation.abs() <= LARGEST_ROTATION
    scores = refined.correlations.clamp(min=0)
    refused = refined.complete & ~within
    scores = torch.where(refused, scores.clamp(max=HOPELESS), scores)
    scores = torch.where(refined.given_up, torch.nan, scores)
    found.flat[batch.pairs] = False
    found.registration[batch.pairs] = scores.cpu().numpy()
    found.overlap_half[batch.pairs] = refined.overlaps.cpu().numpy()
    accepted = (refined.complete & within).nonzero()[:, 0]
    i, j = rows[accepted], batch.other_rows[accepted]
    shown = matrices(refined.transforms[accepted], templates.roots[i], batch.references.roots[j])
    evidence = judge(templates, i, batch.references, j, shown)
    pairs = batch.pairs[accepted.cpu().numpy()]
    _enter_evidence(evidence, scale[accepted], pairs, found)
    entries = (found.scale, scale[accepted]), (found.rotation, rotation[accepted])
    for array, values in (
        *entries,
        (found.shift_x, shown[:, 0, 2]),
        (found.shift_y, shown[:, 1, 2]),
    ):
        array[pairs] = values.cpu().numpy()


def _enter_evidence(evidence: Evidence, scale: Tensor, pairs: Indices, found: Alignments) -> None:
    flat = evidence.textured < FLAT
    found.flat[pairs] = flat.cpu().numpy()
    values = (
        (found.registration, torch.where(flat, torch.nan, evidence.registration)),
        (found.agreement, evidence.agreement),
        (found.blocks, evidence.blocks),
        (found.overlap, evidence.overlap),
        (found.overlap_other, (evidence.overlap * scale**2).clamp(max=1)),
    )
    for array, entries in values:
        array[pairs] = entries.cpu().numpy()
