"""The Gauss–Newton steps of `udfs.registration.kernels.refinement` for many transforms at a time.

A transform is (a, b, tx, ty) of v = [[a, b], [−b, a]]·u + t in units of equal length, as in
`udfs.registration.kernels.refinement`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from udfs.registration.gpu.pictures import PictureBatch, frame, gradients, sampled
from udfs.registration.kernels.refinement import (
    COARSE_TOLERANCE,
    FINALISTS,
    FINE_TOLERANCE,
    LEAST_GAIN,
    LEAST_VARIANCE,
    LONGEST,
    OF_OVERLAP,
)
from udfs.registration.limits import (
    FIRST_STEPS,
    HALF_STEPS,
    HOPELESS,
    HOPELESS_FIRST,
    LARGEST_STEP,
    LEAST_OVERLAP,
    STEPS,
)
from udfs.registration.pictures import SIDE

_PAIRS = 4096  # whose pixels are counted at a time: 32 kB each


@dataclass(frozen=True)
class Level:
    """What steps need of the first pictures (n) and of the other ones (m), at one size.

    features: (n, 6, side²), 1, the normalised picture t, and its derivatives by the scale, the
    rotation and the shifts. others: (m, side, side), normalised. roots, other_roots: (n,), (m,).
    """

    features: Tensor
    others: Tensor
    roots: Tensor
    other_roots: Tensor

    @classmethod
    def of(cls, own: Tensor, roots: Tensor, others: Tensor, other_roots: Tensor) -> Level:
        """The features of normalised pictures (n, side, side)."""
        side = own.shape[-1]
        x, y = frame(side, own.device)[:2].view(2, side, side)
        gx, gy = gradients(own)
        root = roots[:, None, None]
        gx, gy = gx / root, gy * root
        ux, uy = x * root, y / root
        parts = [torch.ones_like(own), own, gx * ux + gy * uy, gx * uy - gy * ux, gx, gy]
        return cls(torch.stack(parts, dim=1).flatten(2), others, roots, other_roots)


def matrices(transforms: Tensor, roots: Tensor, other_roots: Tensor) -> Tensor:
    """Transforms (k, 4) as matrices (k, 2, 3) from pixels to pixels of the other pictures."""
    a, b, tx, ty = transforms.unbind(dim=1)
    ratio, product = roots / other_roots, roots * other_roots
    rows = [a * ratio, b / product, tx / other_roots, -b * product, a / ratio, ty * other_roots]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def climb(
    level: Level, own: Tensor, other: Tensor, transforms: Tensor, steps: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Raise the correlations of k transforms by inverse compositional Gauss–Newton steps.

    own, other: (k,), the pictures of each. transforms: (k, 4). Returns the transforms that were
    reached, their correlations and overlaps. A correlation is −1 where less than LEAST_OVERLAP of
    the pixels overlap, or the scale leaves its range. Those that have ended are computed no more.
    """
    side = level.others.shape[-1]
    reached = transforms.clone()
    correlations = transforms.new_full((len(transforms),), -1.0)
    overlaps = transforms.new_zeros(len(transforms))
    active = torch.arange(len(transforms), device=transforms.device)
    last = torch.zeros_like(active, dtype=torch.bool)
    for step in range(steps + 1):
        p = reached[active]
        sums = _sums(level, own[active], other[active], p)
        overlaps[active] = sums[:, 0, 0] / side**2
        sums, deviation, correlation = _scored(sums, side)
        correlations[active] = correlation
        if step == steps:
            break
        moves, regular = _moves(sums, deviation, correlation)
        p, length = _moved(p, moves, LONGEST * side, side / 2)
        scale = torch.hypot(p[:, 0], p[:, 1])
        within = (scale <= LARGEST_STEP) & (scale * LARGEST_STEP >= 1)
        going = (correlation > -1) & regular & ~last
        correlations[active] = torch.where(going & ~within, -1.0, correlations[active])
        kept = (going & within).nonzero()[:, 0]
        if not len(kept):
            break
        active, last = active[kept], (length < tolerance)[kept]
        reached[active] = p[kept]
    return reached, correlations, overlaps


def _sums(level: Level, own: Tensor, other: Tensor, transforms: Tensor) -> Tensor:
    """Sums over the overlap of all products of the features and w, the other picture: (k, 7, 7)."""
    side = level.others.shape[-1]
    shown = matrices(transforms, level.roots[own], level.other_roots[other])
    places = (shown.view(-1, 3) @ frame(side, own.device)).view(-1, 2, side, side)
    inside = (places.abs().amax(dim=1) <= (side - 1) / 2).to(torch.float32)
    values = level.features.new_empty(len(own), 7, side * side)
    torch.mul(level.features[own], inside.flatten(1)[:, None], out=values[:, :6])
    torch.mul(sampled(level.others[other], places), inside, out=values[:, 6].view(-1, side, side))
    return values @ values.mT


def _scored(sums: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of products of deviations from the means; standard deviations (k, 2); correlations."""
    count = sums[:, 0, 0].clamp(min=1)
    enough = sums[:, 0, 0] >= LEAST_OVERLAP * side**2
    sums = sums - sums[:, :, :1] * sums[:, :1, :] / count[:, None, None]
    variance = sums.diagonal(dim1=1, dim2=2)[:, [1, 6]] / count[:, None]
    usable = enough & (variance >= LEAST_VARIANCE).all(dim=1)
    deviation = variance.clamp(min=LEAST_VARIANCE).sqrt()
    correlation = sums[:, 1, 6] / count / deviation.prod(dim=1)
    return sums, deviation, torch.where(usable, correlation, -1.0)


def _moves(sums: Tensor, deviation: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss–Newton steps (k, 4), slightly damped, and whether their systems can be solved."""
    hessian = sums[:, 2:6, 2:6]
    damping = torch.diag_embed(hessian.diagonal(dim1=1, dim2=2) * 1e-4 + 1e-9)
    gain = deviation[:, :1] / correlation[:, None].clamp(min=LEAST_GAIN)
    by_own, by_other = sums[:, 2:6, 1] / deviation[:, :1], sums[:, 2:6, 6] / deviation[:, 1:]
    right = gain * (by_other - correlation[:, None] * by_own)
    factor, failed = torch.linalg.cholesky_ex(hessian + damping)
    return torch.cholesky_solve(right[:, :, None], factor)[:, :, 0], failed == 0


def _moved(p: Tensor, moves: Tensor, longest: float, half: float) -> tuple[Tensor, Tensor]:
    """Transforms after inverse steps, which move no corner by more than `longest`; their length."""
    size = moves.abs()
    length = half * (size[:, 0] + size[:, 1]) + size[:, 2:].amax(dim=1)
    shorter = (longest / length.clamp(min=1e-12)).clamp(max=1)
    a, b, sx, sy = (shorter[:, None] * moves).unbind(dim=1)
    a = a + 1
    norm = a * a + b * b
    a, b = a / norm, -b / norm
    tx, ty = -(a * sx + b * sy), -(a * sy - b * sx)
    pa, pb, px, py = p.unbind(dim=1)
    moved = [pa * a - pb * b, pa * b + pb * a, px + pa * tx + pb * ty, py + pa * ty - pb * tx]
    return torch.stack(moved, dim=1), length


@dataclass(frozen=True)
class Refined:
    """Of p pairs: correlations (p,), and whether they were refined at full size, (p,).

    transforms: (p, 4), in pixels of full size; of those that were not refined they mean nothing.
    overlaps: (p,), the larger of both overlaps after the steps at half size, 0 of pairs that were
    refused there. given_up: (p,), whether these overlaps are too small.
    """

    correlations: Tensor
    complete: Tensor
    transforms: Tensor
    overlaps: Tensor
    given_up: Tensor


def refine(
    own: PictureBatch,
    own_rows: Tensor,
    other: PictureBatch,
    other_rows: Tensor,
    starts: Tensor,
    least: Tensor,
) -> Refined:
    """The best of the starts (p, count, 4), refined at half size and then at full size.

    own_rows, other_rows: (p,), the pairs' pictures. least: (p,), pairs whose larger overlap at half
    size is smaller are given up.
    """
    level = Level.of(own.half, own.roots, other.half, other.roots)
    transforms, correlations = _searched(level, own_rows, other_rows, starts)
    transforms[:, 2:] *= 2
    going = correlations >= HOPELESS
    shown = matrices(transforms, own.roots[own_rows], other.roots[other_rows])
    overlaps = torch.where(going, _larger_overlaps(transforms, shown), 0.0)
    given_up = going & (overlaps < least)
    hopeful = (going & ~given_up).nonzero()[:, 0]
    used, rows = torch.unique(own_rows[hopeful], return_inverse=True)
    level = Level.of(own.fine[used], own.roots[used], other.fine, other.roots)
    reached, correlation, _ = climb(
        level, rows, other_rows[hopeful], transforms[hopeful], STEPS, FINE_TOLERANCE
    )
    complete = torch.zeros_like(correlations, dtype=torch.bool)
    complete[hopeful] = correlation > -1
    transforms[hopeful], correlations[hopeful] = reached, correlation
    return Refined(correlations, complete, transforms, overlaps, given_up)


def _larger_overlaps(transforms: Tensor, shown: Tensor) -> Tensor:
    """The larger of both pictures' overlaps, of transforms (p, 4) as matrices (p, 2, 3): (p,)."""
    shares = torch.empty_like(transforms[:, 0])
    for part in torch.split(torch.arange(len(shown), device=shown.device), _PAIRS):
        places = (shown[part].reshape(-1, 3) @ frame(SIDE, shown.device)).view(-1, 2, SIDE**2)
        shares[part] = (places.abs().amax(dim=1) <= SIDE / 2).to(shares.dtype).mean(dim=1)
    areas = (transforms[:, :2] ** 2).sum(dim=1)
    return torch.maximum(shares, (shares * areas).clamp(max=1))


def _searched(level: Level, own: Tensor, other: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The best of the starts (p, count, 4) after steps at half size: transforms, correlations."""

    def climbed(starts: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        count = starts.shape[1]
        i, j = own.repeat_interleave(count), other.repeat_interleave(count)
        found = climb(level, i, j, starts.flatten(0, 1), steps, COARSE_TOLERANCE)
        transforms, correlations, overlaps = (
            torch.unflatten(each, 0, (-1, count)) for each in found
        )
        # Transforms of unlike overlaps are compared: a large overlap counts for a little.
        return transforms, correlations, correlations * overlaps**OF_OVERLAP

    transforms, reached, significance = climbed(starts, FIRST_STEPS)
    highest, first = reached.max(dim=1, keepdim=True)
    refused = highest[:, 0] < HOPELESS_FIRST
    best = significance.topk(min(FINALISTS, starts.shape[1]), dim=1).indices
    begun = _taken(transforms, first)[:, 0]
    transforms, correlations, significance = climbed(_taken(transforms, best), HALF_STEPS)
    best = significance.argmax(dim=1, keepdim=True)
    found = torch.where(refused[:, None], begun, _taken(transforms, best)[:, 0])
    return found, torch.where(refused, highest[:, 0], correlations.gather(1, best)[:, 0])


def _taken(transforms: Tensor, places: Tensor) -> Tensor:
    """Of the transforms of each pair (p, count, 4) those at some places (p, k)."""
    return transforms.gather(1, places[:, :, None].expand(-1, -1, 4))
