"""The scores of transforms, and their evidence: `kernels.evidence` for many pairs.

`udfs.registration.alignment.Alignments` defines what is computed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from udfs.registration.gpu.pictures import (
    PictureBatch,
    frame,
    gaussian_matrix,
    normalised,
    sampled,
    structure,
)
from udfs.registration.kernels.evidence import (
    BLOCK,
    ENOUGH,
    FEW_PIXELS,
    FULL_DEVIATION,
    LEAST_AGREEMENT,
    LEAST_COMMON,
    SHIFTS,
    WORST,
)
from udfs.registration.limits import UNPROVED
from udfs.registration.pictures import BROAD, FLOOR, NARROW, NEAR, SIDE

_PAIRS = 1024  # at a time: 0.5 MB each
_BLOCKS = SIDE // BLOCK  # along a side
_EDGE = 2  # pixels around those whose derivatives are compared
_PADDED = SIDE + 16  # the side of Fourier transforms: no shift meets a copy beyond the edge
_UNCERTAIN = 1e-5  # of a pair's sum of squares: with less, rounding decides about a shift


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
    blocks = (2 * _of_blocks(textured) >= BLOCK**2).sum(dim=1)
    agreement = torch.zeros_like(registration)
    strong = (registration >= UNPROVED).nonzero()[:, 0]
    if len(strong):  # there is no Fourier transform of no picture
        used, rows = torch.unique(own_rows[strong], return_inverse=True)
        own_structure = structure(own.fine[used], NARROW, BROAD)[rows]
        other_structure = structure(normal[strong], NARROW, BROAD)
        worst = _worst_blocks(
            _smooth(own.fine[used])[rows], _smooth(normal[strong]), inside[strong]
        )
        agreement[strong] = _agreement(own_structure, other_structure, inside[strong], worst)
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


def _smooth(normal: Tensor) -> Tensor:
    """Normalised pictures smoothed as for derivatives."""
    matrix = gaussian_matrix(NARROW, SIDE, normal.device)
    return matrix @ normal @ matrix.T


def _of_blocks(values: Tensor) -> Tensor:
    """The sums of each block: (k, side, side) → (k, blocks)."""
    return values.view(-1, _BLOCKS, BLOCK, _BLOCKS, BLOCK).sum(dim=(2, 4)).flatten(1)


def _worst_blocks(own: Tensor, other: Tensor, inside: Tensor) -> Tensor:
    """The mean correlation of the third of the blocks that agree least, by weight: (k,).

    own, other: (k, side, side), smoothed. See `kernels.evidence`.
    """
    own, other = own * inside, other * inside
    pixels = _of_blocks(inside)
    some = pixels.clamp(min=1)
    mean, other_mean = _of_blocks(own) / some, _of_blocks(other) / some
    varying = (_of_blocks(own * own) / some - mean * mean).clamp(min=0)
    other_varying = (_of_blocks(other * other) / some - other_mean * other_mean).clamp(min=0)
    spread = (varying * other_varying).sqrt()
    product = _of_blocks(own * other) / some - mean * other_mean
    correlation = torch.where(spread > 1e-6, product / spread.clamp(min=1e-6), 0.0)
    share = (pixels - FEW_PIXELS).clamp(min=0) / (BLOCK**2 - FEW_PIXELS)
    deviation = torch.minimum(varying, other_varying).sqrt()
    weight = share * (deviation / FULL_DEVIATION).clamp(max=1)
    correlation, order = correlation.sort(dim=1)
    weight = weight.gather(1, order)
    upto, total = weight.cumsum(dim=1), weight.sum(dim=1)
    before = upto - weight
    taken = (torch.minimum(upto, WORST * total[:, None]) - before).clamp(min=0)
    return 1 - (taken * (1 - correlation)).sum(dim=1) / (WORST * total.clamp(min=ENOUGH))


def _agreement(own: Tensor, other: Tensor, inside: Tensor, worst: Tensor) -> Tensor:
    """How much better derivatives along the weaker direction agree here than at other shifts.

    own, other: (k, 5, side, side), their structures. worst: (k,), of the blocks that agree least;
    the agreement is at most that.
    """
    directions = _weaker_directions(own[:, 2:] + other[:, 2:])
    within = _well_inside(inside).to(own.dtype)[:, None]
    gradient = other[:, :2] * within
    u = (own[:, :2] * directions).sum(dim=1, keepdim=True) * within
    v = (gradient * directions).sum(dim=1, keepdim=True)
    products = torch.cat([u * v, u * u, v * v, within], dim=1).sum(dim=(2, 3))
    agreement = _normalised_product(products, 0.0)
    rows = (agreement >= LEAST_AGREEMENT).nonzero()[:, 0]
    products = _shifted_products(u[rows], directions[rows], gradient[rows], within[rows])
    least = _UNCERTAIN * products[:, 1:3, :1].amin(dim=1)
    elsewhere = _normalised_product(products, least)
    better = agreement[rows] - elsewhere[:, 1:].amax(dim=1).clamp(min=0)
    agreement[rows] = torch.minimum(better, worst[rows])
    return agreement


def _weaker_directions(tensor: Tensor) -> Tensor:
    """The directions of least variation of tensors xx, xy, yy: (k, 3, …) → (k, 2, …), x and y."""
    xx, xy, yy = tensor.unbind(dim=1)
    length = torch.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    double = torch.where(length > 0, (xx - yy) / length, 1.0)
    # Sine and cosine of the direction of largest variation. The smaller of the two is not computed
    # as a root: that would lose half of its digits.
    larger = (0.5 * (1 + double.abs())).sqrt()
    smaller = torch.where(length > 0, xy.abs() / (length * larger), 0.0)
    cosine = torch.where(double >= 0, larger, smaller)
    sine = torch.copysign(torch.where(double >= 0, smaller, larger), xy)
    return torch.stack([-sine, cosine], dim=1)


def _shifted_products(u: Tensor, directions: Tensor, gradient: Tensor, within: Tensor) -> Tensor:
    """Sums of u·v, u², v² and 1 over what is common, of no shift and of others: (k, 4, 1 + shifts).

    v is the shifted gradient (k, 2, side, side) along the directions. So each sum is a
    cross-correlation, or several, and is computed by Fourier transforms.
    """
    cosines = directions * within
    first = torch.cat(
        [u * cosines, u * u, cosines**2, 2 * cosines.prod(dim=1, keepdim=True), within], 1
    )
    second = torch.cat([gradient, gradient**2, gradient.prod(dim=1, keepdim=True), within], 1)
    a = torch.fft.rfft2(first, s=(_PADDED, _PADDED)).conj()
    b = torch.fft.rfft2(second, s=(_PADDED, _PADDED))
    spectra = [
        (a[:, :2] * b[:, :2]).sum(dim=1), a[:, 2] * b[:, 5],
        (a[:, 3:6] * b[:, 2:5]).sum(dim=1), a[:, 6] * b[:, 5],
    ]  # fmt: skip
    sums: Tensor = torch.fft.irfft2(torch.stack(spectra, dim=1), s=(_PADDED, _PADDED))
    dy, dx = _shifts(u.device)
    return sums[:, :, dy, dx]


@functools.cache
def _shifts(device: torch.device) -> tuple[Tensor, Tensor]:
    """No shift, and those at which a pair must agree less: y and x."""
    dy, dx = torch.tensor([(0, 0), *SHIFTS], device=device).unbind(dim=1)
    return dy, dx


def _normalised_product(products: Tensor, least: Tensor | float) -> Tensor:
    """Σuv/√(Σu²·Σv²) of sums (k, 4, …); 0 where too little is common, or it varies too little."""
    uv, uu, vv, common = products.unbind(dim=1)
    known = (common > LEAST_COMMON - 0.5) & (uu > least) & (vv > least) & (uu * vv > 1e-12)
    return torch.where(known, uv / torch.where(known, uu * vv, 1.0).sqrt(), 0.0)


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
