"""What the encoder is shown of images: standardised images, and augmented views for training.

Use `standardised` to make an encoder blind to brightness, contrast and tint, and `augment` to draw
the random views that the contrastive term compares. Views are drawn as in Chen et al., "A Simple
Framework for Contrastive Learning of Visual Representations", ICML 2020, section 3, but without
flips and large crops, since mirrored and cut-out images are other images here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LEVEL = 1 / 127.5  # the difference of two neighbouring levels of 256, on the scale [-1, 1]


def standardised(images: Tensor) -> Tensor:
    """Bring each channel of each image to mean 0 and deviation 1: (n, c, s, s) → (n, c, s, s).

    The result is (x − mean)/σ with σ = √(Σ(x − mean)²/s²), but σ at least one level, so that a flat
    image becomes 0 and not amplified noise. The images are read in channels-last order, and the
    result is in that layout.
    """
    n, channels, side, _ = images.shape
    lines = images.permute(0, 2, 3, 1).reshape(n, side, side * channels)

    def means(values: Tensor) -> Tensor:
        """Return the mean of each channel, repeated for each pixel of a line: (n, 1, s·c)."""
        of_channels = values.mean(dim=1).reshape(n, side, channels).mean(dim=1)
        return of_channels.repeat(1, side)[:, None]

    centred = lines - means(lines)
    spread = means(centred.square()).sqrt_().clamp_min_(LEVEL)
    return (centred / spread).reshape(n, side, side, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its image. Every amount is drawn anew for every image.

    shift: the largest shift in either direction along each axis, as a share of the side.
    scale: the scale factor lies between 1/(1 + scale) and 1 + scale.
    rotation: the largest rotation in either direction, in degrees.
    contrast: the gain of all channels about the image's mean is a factor as for scale.
    tone: each channel has a gain of its own, a factor as for scale, and an offset of up to this
        share of half the range in either direction.
    noise: the largest standard deviation of the noise, as a share of half the range.
    border: the widest border around the image, or bars at two sides, as a share of the side.
    framed: the share of the views that get a border.
    plate: the longest side of a plain plate that covers a part, as a share of the side.
    marked: the share of the views that get a plate.

    JPEG compression, blur, smaller sizes, mirroring and rotation by 90° are never drawn: the
    evaluation of copies uses them (benchmarks/quality.py) and must not measure what was taught.
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


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return one random view of each image: (n, 3, s, s) in [-1, 1] → (n, 3, s, s) in [-1, 1].

    All random numbers come from the generator, which must be on the images' device. Where a shift
    or rotation reaches beyond the image, its reflection is shown; values beyond the range are cut
    off, as a camera does. A border does not hide anything: the view inside it is smaller. The
    result is channels-last. Cost: 0.2 ms for an image of 64 px on one core.
    """
    draws = _Draws(len(images), generator)
    inner = _inner_shares(augmentation, draws)
    grid = nn.functional.affine_grid(
        _affine(augmentation, draws, inner), list(images.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    middle = moved.mean(dim=(2, 3), keepdim=True)
    gain = draws.factors(augmentation.contrast, 1) * draws.factors(augmentation.tone, 3)
    offset = draws.either_way(augmentation.tone, 3) + middle.mean(dim=1, keepdim=True) * (1 - gain)
    deviation = augmentation.noise * draws.shares(1)
    noise = torch.empty_like(moved).normal_(generator=generator)
    moved.mul_(gain).add_(offset).add_(noise.mul_(deviation)).clamp_(-1, 1)
    _cover(moved, ~_box(images.shape[-1], torch.zeros_like(inner), inner), draws.greys())
    half = draws.shares(2).mul(augmentation.plate) * (draws.shares(1) < augmentation.marked)
    _cover(moved, _box(images.shape[-1], draws.either_way(1.0, 2), half), draws.shares(3) * 2 - 1)
    return moved.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Draws:
    """Random numbers for n images, each array of the shape (n, channels, 1, 1)."""

    n: int
    generator: torch.Generator

    def shares(self, channels: int) -> Tensor:
        """Draw uniform numbers in [0, 1)."""
        device = self.generator.device
        return torch.rand((self.n, channels, 1, 1), generator=self.generator, device=device)

    def either_way(self, most: float, channels: int) -> Tensor:
        """Draw uniform numbers in [-most, most)."""
        return (self.shares(channels) * 2 - 1) * most

    def factors(self, most: float, channels: int) -> Tensor:
        """Draw factors between 1/(1 + most) and 1 + most whose logarithm is uniform."""
        return self.either_way(math.log1p(most), channels).exp()

    def greys(self) -> Tensor:
        """Draw grey levels in [-1, 1]; a sixth of them are black and a sixth white."""
        return self.either_way(1.5, 1).clamp_(-1, 1)


def _inner_shares(augmentation: Augmentation, draws: _Draws) -> Tensor:
    """Draw the share of the width and height inside the border, 1 without one: (n, 2, 1, 1)."""
    width = 2 * augmentation.border * draws.shares(1)
    # Half of the borders run all around, a quarter are bars at the sides, a quarter at top and
    # bottom.
    position = draws.shares(1)
    across, down = position < 0.75, (position < 0.5) | (position >= 0.75)
    framed = draws.shares(1) < augmentation.framed
    return 1 - width * (torch.cat([across, down], dim=1) & framed)


def _box(side: int, centre: Tensor, half: Tensor) -> Tensor:
    """Mark the pixels of a box: centre and half sides (n, 2, 1, 1) → (n, 1, side, side) bool.

    Coordinates run from -1 to 1 over the image, first across, then down.
    """
    middles = (torch.arange(side, device=half.device) + 0.5) * (2 / side) - 1
    across = (middles - centre[:, :1]).abs() < half[:, :1]
    down = (middles[:, None] - centre[:, 1:]).abs() < half[:, 1:]
    return across & down


def _cover(views: Tensor, mask: Tensor, colour: Tensor) -> None:
    """Paint the masked pixels (n, 1, s, s) of the views in a colour (n, 1 or 3, 1, 1), in place."""
    views.copy_(torch.where(mask, colour, views))


def _affine(augmentation: Augmentation, draws: _Draws, inner: Tensor) -> Tensor:
    """Draw the affine maps (n, 2, 3) from a pixel of the view to its source in the image.

    Coordinates run from -1 to 1, as torch.nn.functional.affine_grid takes them.
    """
    angle = draws.either_way(math.radians(augmentation.rotation), 1).reshape(-1)
    scale = draws.factors(augmentation.scale, 1).reshape(-1)
    shift = draws.either_way(2 * augmentation.shift, 2).reshape(-1, 2)  # the side is 2 long there
    along, across = scale * angle.cos(), scale * angle.sin()
    wide, high = inner.reshape(-1, 2).unbind(dim=1)
    rows = (along / wide, -across / high, shift[:, 0]), (across / wide, along / high, shift[:, 1])
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
