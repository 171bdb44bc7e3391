"""The scores of transforms, and their evidence: `udfs.registration.kernels.judge` for many pairs.

`udfs.registration.alignment.Alignments` defines what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from udfs.registration.gpu.pictures import PictureBatch, frame, normalised, sampled, structure
from udfs.registration.limits import UNPROVED
from udfs.registration.limits import LEAST_AGREEMENT, LEAST_COMMON, SHIFTS
from udfs.registration.pictures import BROAD, FLOOR, NARROW, NEAR, SIDE

_PAIRS = 1024  # at a time: 0.5 MB each
_BLOCK = 8  # pixels of a block's side
_BLOCKS = SIDE // _BLOCK
_EDGE = 2  # pixels around those whose derivatives are compared


@dataclass(frozen=True)
class Evidence:
    """Of k pairs, each (k,): as in `Alignments`, and the share of the overlap with contrast."""

    registration: Tensor
    agreement: Tensor
    blocks: Tensor
    overlap: Tensor
    textured: Tensor


def judge(
    own: PictureBatch, own_rows: Tensor, other: PictureBatch, other_rows: Tensor, shown: Tensor
) -> Evidence:
    """The scores of the matrices (k, 2, 3) of k pairs; own_rows, other_rows: their pictures."""
    columns = own_rows.new_zeros(5, len(own_rows), dtype=torch.float32)
    for part in torch.split(torch.arange(len(own_rows), device=own_rows.device), _PAIRS):
        columns[:, part] = _judged(own, own_rows[part], other, other_rows[part], shown[part])
    return Evidence(*columns.unbind())


def _judged(
    own: PictureBatch, own_rows: Tensor, other: PictureBatch, other_rows: Tensor, shown: Tensor
) -> Tensor:
    warped, inside = _laid_over(other.grey[other_rows], shown)
    normal, contrast = normalised(warped, NEAR)
    registration = _correlation(own.fine[own_rows], normal, inside)
    limit = float(FLOOR * FLOOR)
    textured = inside & (own.contrast[own_rows] > limit) & (contrast > limit)
    count = inside.sum(dim=(1, 2))
    in_blocks = textured.view(len(shown), *(_BLOCKS, _BLOCK) * 2).sum(dim=(2, 4))
    blocks = (2 * in_blocks >= _BLOCK**2).sum(dim=(1, 2))
    agreement = torch.zeros_like(registration)
    strong = (registration >= UNPROVED).nonzero()[:, 0]
    used, rows = torch.unique(own_rows[strong], return_inverse=True)
    own_structure = structure(own.fine[used], NARROW, BROAD)[rows]
    other_structure = structure(normal[strong], NARROW, BROAD)
    agreement[strong] = _agreement(own_structure, other_structure, inside[strong])
    share = textured.sum(dim=(1, 2)) / count.clamp(min=1)
    return torch.stack([registration, agreement, blocks, count / SIDE**2, share])


def _laid_over(pictures: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures through matrices, mirrored outside, and which of the pixels are inside."""
    places = (shown.reshape(-1, 3) @ frame(SIDE, pictures.device)).view(-1, 2, SIDE, SIDE)
    inside = places.abs().amax(dim=1) <= SIDE / 2
    centre = (SIDE - 1) / 2
    # Mirrored at the first pixel, and then at the last one.
    mirrored = centre - ((places + centre).abs() - 2 * centre).abs()
    return sampled(pictures, mirrored), inside


def _correlation(t: Tensor, w: Tensor, inside: Tensor) -> Tensor:
    """The zero-mean normalised correlation over the pixels inside; 0 where one does not vary."""
    pixels = inside.sum(dim=(1, 2)).clamp(min=1)
    t, w = t * inside, w * inside
    products = ((t * t), (w * w), (t * w), t, w)
    tt, ww, tw, st, sw = (each.sum(dim=(1, 2)) for each in products)
    varying_t, varying_w = tt - st * st / pixels, ww - sw * sw / pixels
    spread = (varying_t.clamp(min=0) * varying_w.clamp(min=0)).sqrt()
    correlation = (tw - st * sw / pixels) / spread.clamp(min=1e-6)
    return torch.where(spread > 1e-6, correlation, 0.0)


def _agreement(own: Tensor, other: Tensor, inside: Tensor) -> Tensor:
    """How much better derivatives along the weaker direction agree here than at other shifts.

    own, other: (k, 5, side, side), their structures.
    """
    xx, xy, yy = (own[:, 2:] + other[:, 2:]).unbind(dim=1)
    length = torch.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    double = torch.where(length > 0, (xx - yy) / length, 1.0)
    # The direction at right angles to that of largest variation.
    along_x = -torch.copysign((0.5 * (1 - double)).clamp(min=0).sqrt(), xy)
    along_y = (0.5 * (1 + double)).clamp(min=0).sqrt()
    within = _well_inside(inside).float()
    derivative = own[:, 0] * along_x + own[:, 1] * along_y
    here = _shifted_agreement(derivative, along_x, along_y, other, within, (0, 0))
    elsewhere = torch.zeros_like(here)
    for shift in SHIFTS:
        there = _shifted_agreement(derivative, along_x, along_y, other, within, shift)
        elsewhere = torch.maximum(elsewhere, there)
    return torch.where(here < LEAST_AGREEMENT, here, here - elsewhere)


def _shifted_agreement(
    derivative: Tensor,
    along_x: Tensor,
    along_y: Tensor,
    other: Tensor,
    within: Tensor,
    shift: tuple[int, int],
) -> Tensor:
    """The correlation of derivatives along directions, those of the other pictures shifted."""
    dy, dx = shift
    side = within.shape[-1]
    rows, moved_rows = slice(0, side - dy), slice(dy, side)
    columns, moved_columns = (
        slice(max(0, -dx), side - max(0, dx)),
        slice(max(0, dx), side - max(0, -dx)),
    )
    both = within[:, rows, columns] * within[:, moved_rows, moved_columns]
    hx, hy = (other[:, part, moved_rows, moved_columns] for part in (0, 1))
    u = both * derivative[:, rows, columns]
    v = both * (along_x[:, rows, columns] * hx + along_y[:, rows, columns] * hy)
    uu, vv, uv = (each.sum(dim=(1, 2)) for each in (u * u, v * v, u * v))
    energy = uu * vv
    enough = (both.sum(dim=(1, 2)) >= LEAST_COMMON) & (energy > 1e-12)
    return torch.where(enough, uv / energy.clamp(min=1e-12).sqrt(), 0.0)


def _well_inside(inside: Tensor) -> Tensor:
    """The pixels inside whose neighbours at a distance of two pixels are inside as well."""
    side, within = inside.shape[-1], torch.zeros_like(inside)
    inner, low, high = (
        slice(_EDGE, side - _EDGE),
        slice(0, side - 2 * _EDGE),
        slice(2 * _EDGE, side),
    )
    within[:, inner, inner] = (
        inside[:, inner, inner]
        & inside[:, low, inner] & inside[:, high, inner]
        & inside[:, inner, low] & inside[:, inner, high]
    )  # fmt: skip
    return within
