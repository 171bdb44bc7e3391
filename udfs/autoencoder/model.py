"""The autoencoder: its layers, its training, an encoder and a decoder (paper, table 1).

This module, views.py, instance.py and cosine.py are the only ones that know torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from udfs.autoencoder.augmentation import standardised

SIDE = 64
PIXELS = SIDE * SIDE * 3
WIDTH = 1024  # of a latent: 256 channels of 2x2
CHANNELS = (3, 32, 64, 128, 256, 256)

DEVIATIONS = 3.0  # of a standardised image in the decoder's range, [-1, 1]; the rest is cut off

OnBatch = Callable[[int, int, int, float], None]
Encoder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Decoder = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


class Autoencoder(nn.Module):
    """Five strided convolutions down to 256x2x2 and their mirror image back (paper, table 1).

    1,956,739 parameters. Kernel 3, stride 2 and padding 1 follow from the paper's shapes.
    normalise: whether it is shown each image and channel at mean 0 and unit spread (beyond the
    paper), so that brightness, contrast and tint are nothing to it.
    """

    def __init__(self, normalise: bool = False) -> None:
        super().__init__()
        self.normalise = normalise
        self.encoder = nn.Sequential()
        for i, o in pairwise(CHANNELS):
            self.encoder.append(nn.Conv2d(i, o, 3, stride=2, padding=1))
            self.encoder.append(nn.ReLU(inplace=True))
        self.decoder = nn.Sequential()
        for i, o in pairwise(CHANNELS[::-1]):
            self.decoder.append(nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1))
            self.decoder.append(nn.Tanh() if o == CHANNELS[0] else nn.ReLU(inplace=True))

    def encode(self, images: Tensor) -> Tensor:
        """The latents t = Code(x) (paper, eq. 1): (n, 3, 64, 64) to (n, 1024), all ≥ 0."""
        return cast(Tensor, self.encoder(self.shown(images))).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """(n, 1024) to images (n, 3, 64, 64) in [-1, 1]."""
        return cast(Tensor, self.decoder(latents.reshape(-1, CHANNELS[-1], 2, 2)))

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of images (n, 3, 64, 64) in [-1, 1], to be compared with `target`."""
        return cast(Tensor, self.decoder(self.encoder(self.shown(images))))

    def shown(self, images: Tensor) -> Tensor:
        """What the first layer is given of images (n, 3, 64, 64) in [-1, 1]."""
        return standardised(images) if self.normalise else images

    def target(self, images: Tensor) -> Tensor:
        """What the decoder is to give back: the images, or standardised ones in its range.

        A standardised value z is the decoder's z/3, so its picture has mean 127.5 and spread 42.5
        in each channel: the image's own are not in the latent.
        """
        return (standardised(images) / DEVIATIONS).clamp(-1, 1) if self.normalise else images


def _images(pixels: NDArray[np.uint8], device: Any) -> Tensor:
    """(n, 64·64·3) uint8, rows first, to (n, 3, 64, 64) float32 x/127.5 − 1 in channels-last."""
    levels = torch.from_numpy(pixels).to(device)
    return levels.reshape(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _check_pixels(pixels: NDArray[Any]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise ValueError(f"pixels: is {pixels.dtype} {pixels.shape}, must be uint8 (n, {PIXELS})")
