"""The convolutional autoencoder as a torch module (paper, table 1), and pixels as its input.

Use `Autoencoder` to train or inspect the model; use `udfs.autoencoder.inference` to encode and
decode arrays.
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
WIDTH = 1024  # numbers of a latent: 256 channels of 2x2 pixels
CHANNELS = (3, 32, 64, 128, 256, 256)

DEVIATIONS = 3.0  # of a standardised image that the decoder's range [-1, 1] shows; cut off beyond

OnBatch = Callable[[int, int, int, float], None]  # epoch, batch, batches, loss
Encoder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Decoder = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


class Autoencoder(nn.Module):
    """Five strided convolutions down to 256x2x2 and their mirror image back (paper, table 1).

    The model has 1,956,739 parameters. Kernel 3, stride 2 and padding 1 follow from the shapes in
    the paper. With `normalise` (beyond the paper) each channel of an image is brought to mean 0 and
    deviation 1 first, so that brightness, contrast and tint make no difference.
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
        """Return the latents t = Code(x) ≥ 0 (paper, eq. 1): (n, 3, 64, 64) → (n, 1024)."""
        return cast(Tensor, self.encoder(self.shown(images))).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images Decode(t): (n, 1024) → (n, 3, 64, 64) in [-1, 1]."""
        return cast(Tensor, self.decoder(latents.reshape(-1, CHANNELS[-1], 2, 2)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images (n, 3, 64, 64), to be compared with `target`."""
        return cast(Tensor, self.decoder(self.encoder(self.shown(images))))

    def shown(self, images: Tensor) -> Tensor:
        """Return the first layer's input for images (n, 3, 64, 64) in [-1, 1]."""
        return standardised(images) if self.normalise else images

    def target(self, images: Tensor) -> Tensor:
        """Return what the decoder is to reproduce: the images, or z/3 of standardised images z.

        The mean and deviation of a standardised image are not in its latent, so a decoded image has
        mean 127.5 and deviation 42.5 in each channel.
        """
        return (standardised(images) / DEVIATIONS).clamp(-1, 1) if self.normalise else images


def images_from_pixels(pixels: NDArray[np.uint8], device: Any) -> Tensor:
    """Return pixels as the model's input x/127.5 − 1: (n, 64·64·3) uint8 → (n, 3, 64, 64) float32.

    The pixels of an image are in rows, RGB; the result is in the channels-last layout.
    """
    levels = torch.from_numpy(pixels).to(device)
    return levels.reshape(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def check_pixels(pixels: NDArray[Any]) -> None:
    """Raise ValueError if pixels are not uint8 of the shape (n, 64·64·3)."""
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise ValueError(f"pixels: is {pixels.dtype} {pixels.shape}, must be uint8 (n, {PIXELS})")
