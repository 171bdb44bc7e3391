"""What an encoder is shown of images: standardised ones, and changed views to see past.

Views as of Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
ICML 2020, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LEVEL = 1 / 127.5  # one of 256, on the scale [-1, 1]


def standardised(images: Tensor) -> Tensor:
    """Each image and channel at mean 0 and unit spread: (n, c, s, s) to the same, channels-last.

    (x − mean)/σ, divisor s². σ is at least one level: a flat image becomes 0 and not its noise.
    Images that are channels-last on the way in are read where they lie, line by line.
    """
    n, channels, side, _ = images.shape
    lines = images.permute(0, 2, 3, 1).reshape(n, side, side * channels)

    def means(values: Tensor) -> Tensor:
        """Of each channel, once for each pixel of a line: (n, 1, s·c)."""
        of_channels = values.mean(dim=1).reshape(n, side, channels).mean(dim=1)
        return of_channels.repeat(1, side)[:, None]

    centred = lines - means(lines)
    spread = means(centred.square()).sqrt_().clamp_min_(LEVEL)
    return (centred / spread).reshape(n, side, side, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Changes:
    """How far a view may lie from its image; each of them is drawn anew for every image.

    shift: share of the side, either way, along each axis. scale: the factor lies between
    1/(1 + scale) and 1 + scale. rotation: degrees, either way. contrast: gain of all channels alike
    about the image's mean, a factor as scale. tone: gain of each channel, a factor as scale, and
    its offset, of half the range, either way. noise: the largest deviation, of half the range.
    border: the widest border around, or bar at two sides, and plate: the longest side of a plain
    plate put anywhere on it, in shares of the side. A share `framed` of the views get the one, a
    share `marked` the other. JPEG, blur, smaller sizes, mirroring and turning by 90° are left out:
    they serve to judge (see benchmarks/quality.py).
    """

    shift: float = 0.15
    scale: float = 0.25
    rotation: float = 10.0
    contrast: float = 0.3
    tone: float = 0.15
    noise: float = 0.1
    border: float = 0.15
    framed: float = 0.25
    plate: float = 0.3
    marked: float = 0.25


def changed(images: Tensor, changes: Changes, generator: torch.Generator) -> Tensor:
    """One changed view of each image: (n, 3, s, s) in [-1, 1] to the same, channels-last.

    All draws come of the generator, which is on the images' device. What a shift or rotation lets
    in is the image's own reflection; values beyond the range are cut off, as a camera does. Within
    a border the whole view is seen, smaller. Cost: 0.2 ms an image of 64 px on one core.
    """
    draw = _Draws(len(images), generator)
    inside = _insides(changes, draw)
    grid = nn.functional.affine_grid(
        _affine(changes, draw, inside), list(images.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    middle = moved.mean(dim=(2, 3), keepdim=True)
    gain = draw.factors(changes.contrast, 1) * draw.factors(changes.tone, 3)
    offset = draw.either_way(changes.tone, 3) + middle.mean(dim=1, keepdim=True) * (1 - gain)
    deviation = changes.noise * draw.shares(1)
    noise = torch.empty_like(moved).normal_(generator=generator)
    moved.mul_(gain).add_(offset).add_(noise.mul_(deviation)).clamp_(-1, 1)
    _cover(moved, ~_box(images.shape[-1], torch.zeros_like(inside), inside), draw.greys())
    half = draw.shares(2).mul(changes.plate) * (draw.shares(1) < changes.marked)
    _cover(moved, _box(images.shape[-1], draw.either_way(1.0, 2), half), draw.shares(3) * 2 - 1)
    return moved.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Draws:
    """Numbers for n images, (n, channels, 1, 1) each."""

    n: int
    generator: torch.Generator

    def shares(self, channels: int) -> Tensor:
        """Evenly in [0, 1)."""
        place = self.generator.device
        return torch.rand((self.n, channels, 1, 1), generator=self.generator, device=place)

    def either_way(self, most: float, channels: int) -> Tensor:
        """Evenly in [-most, most)."""
        return (self.shares(channels) * 2 - 1) * most

    def factors(self, most: float, channels: int) -> Tensor:
        """Between 1/(1 + most) and 1 + most, evenly in the logarithm."""
        return self.either_way(math.log1p(most), channels).exp()

    def greys(self) -> Tensor:
        """In [-1, 1], a sixth of them black and a sixth white."""
        return self.either_way(1.5, 1).clamp_(-1, 1)


def _insides(changes: Changes, draw: _Draws) -> Tensor:
    """(n, 2, 1, 1): across and down, how much of the view is not border: 1 without one."""
    width = 2 * changes.border * draw.shares(1)
    kind = draw.shares(1)  # half of them all around, a quarter each at the sides, above and below
    across, down = kind < 0.75, (kind < 0.5) | (kind >= 0.75)
    framed = draw.shares(1) < changes.framed
    return 1 - width * (torch.cat([across, down], dim=1) & framed)


def _box(side: int, centre: Tensor, half: Tensor) -> Tensor:
    """(n, 1, side, side): pixels in a box about a centre, from -1 to 1; (n, 2, 1, 1) both."""
    middles = (torch.arange(side, device=half.device) + 0.5) * (2 / side) - 1
    across = (middles - centre[:, :1]).abs() < half[:, :1]
    down = (middles[:, None] - centre[:, 1:]).abs() < half[:, 1:]
    return across & down


def _cover(views: Tensor, where: Tensor, colour: Tensor) -> None:
    """Write a colour (n, 1 or 3, 1, 1) over some pixels (n, 1, s, s) of each view, in place."""
    views.copy_(torch.where(where, colour, views))


def _affine(changes: Changes, draw: _Draws, inside: Tensor) -> Tensor:
    """(n, 2, 3): where in the image, from -1 to 1, each pixel of its view is taken from."""
    angle = draw.either_way(math.radians(changes.rotation), 1).reshape(-1)
    scale = draw.factors(changes.scale, 1).reshape(-1)
    shift = draw.either_way(2 * changes.shift, 2).reshape(-1, 2)  # the side is 2 long there
    along, across = scale * angle.cos(), scale * angle.sin()
    wide, high = inside.reshape(-1, 2).unbind(dim=1)
    rows = (along / wide, -across / high, shift[:, 0]), (across / wide, along / high, shift[:, 1])
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
