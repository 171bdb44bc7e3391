"""Batches of pictures on a device, and what registration computes once for each picture.

Pictures are (n, side, side), float32. Places are in pixels from the centre of a picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from udfs.registration.pictures import FLOOR, NEAR, NEAR_HALF, WIDER, Floats, gaussian


@functools.cache
def gaussian_matrix(deviation: float, side: int, device: torch.device) -> Tensor:
    """The matrix (side, side) that convolves with a Gaussian; pixels outside are mirrored."""
    weights = gaussian(deviation)
    matrix = np.zeros((side, side), np.float32)
    rows = np.arange(side)
    for offset, weight in enumerate(weights, start=-(len(weights) // 2)):
        at = np.abs(rows + offset)
        matrix[rows, np.where(at < side, at, 2 * side - 2 - at)] += weight
    return torch.from_numpy(matrix).to(device)


def _blurred(pictures: Tensor, deviation: float) -> Tensor:
    matrix = gaussian_matrix(deviation, pictures.shape[-1], pictures.device)
    return matrix @ pictures @ matrix.T


def normalised(pictures: Tensor, deviation: float) -> tuple[Tensor, Tensor]:
    """Contrast normalisation h/√(G∗h² + floor²) with h = g − G∗g, and the contrast G∗h²."""
    high = pictures - _blurred(pictures, deviation)
    contrast = _blurred(high * high, WIDER * deviation)
    return high / (contrast.clamp(min=0) + float(FLOOR * FLOOR)).sqrt(), contrast


def gradients(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y; 0 at the edges."""
    gx, gy = torch.zeros_like(pictures), torch.zeros_like(pictures)
    gx[..., 1:-1] = 0.5 * (pictures[..., 2:] - pictures[..., :-2])
    gy[..., 1:-1, :] = 0.5 * (pictures[..., 2:, :] - pictures[..., :-2, :])
    return gx, gy


def structure(normal: Tensor, narrow: float, broad: float) -> Tensor:
    """Smoothed derivatives and structure tensor of normalised pictures: (n, 5, side, side)."""
    gx, gy = gradients(_blurred(normal, narrow))
    tensor = _blurred(torch.stack([gx * gx, gx * gy, gy * gy], dim=1), broad)
    return torch.cat([gx[:, None], gy[:, None], tensor], dim=1)


@functools.cache
def frame(side: int, device: torch.device) -> Tensor:
    """The pixels of a picture as places, row by row: (3, side²), x, y and 1."""
    line = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    y, x = np.meshgrid(line, line, indexing="ij")
    return torch.from_numpy(np.stack([x, y, np.ones_like(x)]).reshape(3, -1)).to(device)


def sampled(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures (n, side, side) at places (n, 2, rows, columns): bilinear, clamped at the edge."""
    grid = (places * (2 / (pictures.shape[-1] - 1))).permute(0, 2, 3, 1)
    found = grid_sample(
        pictures[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return found[:, 0]


@dataclass(frozen=True)
class PictureBatch:
    """Pictures of a batch, n of them, as the processor's `Prepared` has one.

    roots: (n,), √(width/height) of the originals. grey: (n, 64, 64) in [0, 1]. fine: their
    normalised pictures, contrast: (n, 64, 64). half: (n, 32, 32), normalised, at half size.
    """

    roots: Tensor
    grey: Tensor
    fine: Tensor
    contrast: Tensor
    half: Tensor

    @classmethod
    def of(cls, grey: Tensor, roots: Floats) -> PictureBatch:
        """Prepare pictures (n, 64, 64) of uint8 that are on the device."""
        values = grey.to(torch.float32) / 255
        rows = values[:, ::2] + values[:, 1::2]
        halved = 0.25 * (rows[:, :, ::2] + rows[:, :, 1::2])
        fine, contrast = normalised(values, NEAR)
        half, _ = normalised(halved, NEAR_HALF)
        return cls(torch.from_numpy(roots).to(grey.device), values, fine, contrast, half)

    def textured(self) -> Tensor:
        """The share of each picture's pixels whose contrast is above the floor: (n,)."""
        above = self.contrast > float(FLOOR * FLOOR)
        return above.mean(dim=(1, 2), dtype=torch.float32)
