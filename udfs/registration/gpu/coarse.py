"""The coarse search of `udfs.registration.coarse` for many pairs at a time."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from udfs.registration import coarse
from udfs.registration.coarse import PADDED
from udfs.registration.gpu.pictures import PictureBatch, frame, sampled

_PAIRS = 1024  # at a time: 0.8 MB each


def starts(
    own: PictureBatch, own_rows: Tensor, other: PictureBatch, other_rows: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The best transforms of the grid for p pairs: correlations (p, count), transforms (…, 4).

    own_rows, other_rows: (p,), the pairs' pictures.
    """
    parts = [
        _starts(own, i, other, j, count)
        for i, j in zip(torch.split(own_rows, _PAIRS), torch.split(other_rows, _PAIRS), strict=True)
    ]
    values, transforms = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(transforms)


def _starts(
    own: PictureBatch, own_rows: Tensor, other: PictureBatch, other_rows: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    device = own_rows.device
    left, right, weights, angle, ratio, shrinking = _planes(device)
    roots = own.roots[own_rows]
    spectra = _own_spectra(own, own_rows)[:, left]
    spectra *= _other_spectra(other, other_rows, roots)[:, right]
    entries = torch.fft.irfft2(spectra, s=(PADDED, PADDED)).mul_(weights)
    values, places = entries.flatten(2).max(dim=2)
    values, best = values.topk(count, dim=1)
    place = places.gather(1, best)
    x, y = place % PADDED, place // PADDED
    x, y = (each - PADDED * (each > PADDED // 2) for each in (x, y))
    transforms = [
        ratio[best] * angle[best].cos(),
        -ratio[best] * angle[best].sin(),
        x * roots[:, None] / shrinking[best],
        y / roots[:, None] / shrinking[best],
    ]
    return values, torch.stack(transforms, dim=2)


@functools.cache
def _planes(device: torch.device) -> tuple[Tensor, ...]:
    """Of each plane: its pictures' spectra, its weights, and the parts of its transform."""
    whole = (torch.from_numpy(each).to(device) for each in (coarse.OWN, coarse.OTHER))
    real = (coarse.weights(), coarse.ANGLE, coarse.RATIO, coarse.OTHER_SHRINKING)
    return *whole, *(torch.from_numpy(each).to(torch.float32).to(device) for each in real)


def _own_spectra(own: PictureBatch, rows: Tensor) -> Tensor:
    """Conjugated spectra of the first pictures at all rotations and shrinkings: (p, 15, 40, 21)."""
    used, back = torch.unique(rows, return_inverse=True)
    root = own.roots[used]
    turns = []
    for degrees in coarse.ROTATIONS:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        straight, across = torch.full_like(root, cosine), torch.full_like(root, sine)
        turn = [straight, across / root**2, -across * root**2, straight]
        turns += [torch.stack(turn, dim=1) / shrinking for shrinking in coarse.SHRINKINGS]
    shown = torch.stack(turns, dim=1).view(len(root), -1, 2, 2)
    return _spectra(own.half[used], shown).conj_physical()[back]


def _other_spectra(other: PictureBatch, rows: Tensor, own_roots: Tensor) -> Tensor:
    """Spectra of the other pictures at all shrinkings, in the first ones' units: (p, 3, 40, 21)."""
    ratio = own_roots / other.roots[rows]
    # Row numbers of a batch are exact in float32.
    kinds = torch.stack([rows.to(ratio.dtype), ratio])
    kinds, back = torch.unique(kinds, dim=1, return_inverse=True)
    used, ratio = kinds[0].to(torch.int64), kinds[1]
    diagonals = torch.diag_embed(torch.stack([ratio, 1 / ratio], dim=1))
    shown = torch.stack([diagonals / shrinking for shrinking in coarse.SHRINKINGS], dim=1)
    return _spectra(other.half[used], shown)[back]


def _spectra(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Spectra of pictures (n, side, side) seen through matrices (n, m, 2, 2), 0 outside."""
    count, side = matrices.shape[1], pictures.shape[-1]
    places = matrices.reshape(-1, 2) @ frame(side, pictures.device)[:2]
    places = places.view(-1, count, 2, side, side)
    inside = places.abs().amax(dim=2) <= side / 2
    columns = places.transpose(1, 2).reshape(-1, 2, count * side, side)
    shown = sampled(pictures, columns).view(-1, count, side, side) * inside
    spectra: Tensor = torch.fft.rfft2(shown, s=(PADDED, PADDED))
    return spectra
