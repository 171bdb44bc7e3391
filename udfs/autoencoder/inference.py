"""Encoder and decoder of a weights file as functions of NumPy arrays.

Use these on executors and drivers alike: the same pixels give the same latents, bit for bit on one
machine, whatever else is encoded in the same call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from udfs.autoencoder.device import repeatable_float32, to_device
from udfs.autoencoder.model import (
    CHANNELS,
    PIXELS,
    SIDE,
    WIDTH,
    Decoder,
    Encoder,
    check_pixels,
    images_from_pixels,
)
from udfs.autoencoder.weights import load_model

ORIENTATIONS = (1, 8)  # the image as it is, or all eight by rotations of 90° and mirroring


def encoder(
    data: bytes, *, device: str, batch: int, threads: int = 1, orientations: int = 1
) -> Encoder:
    """Return the encoder of a weights file: pixels (n, 64·64·3) uint8 → latents (n, 1024) float32.

    Images are encoded in batches of one size, the last one padded, so that a latent does not depend
    on the other images of a call, nor on their order. Cost: 34 million multiplications an image.

    Args:
        data: the bytes of a weights file.
        device: as torch spells it; see `udfs.autoencoder.device.select_device`.
        batch: images at a time.
        threads: of torch on the CPU. The setting holds for the whole process.
        orientations: 1, or 8 for the mean of the latents of the eight images that rotations by 90°
            and mirroring make of one. Such copies have equal latents then, at 8 times the cost.

    Raises:
        ValueError: another number of orientations, or weights that do not fit; the encoder itself
            raises it for pixels of another shape or type.

    """
    torch.set_num_threads(threads)
    model = to_device(load_model(data), device)

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        check_pixels(pixels)
        latents = np.empty((len(pixels), WIDTH), np.float32)
        padded = np.zeros((batch, PIXELS), np.uint8)
        with torch.inference_mode(), repeatable_float32():
            for start in range(0, len(pixels), batch):
                rows = min(batch, len(pixels) - start)
                padded[:rows] = pixels[start : start + rows]
                padded[rows:] = 0
                layers = model.encoder(model.shown(images_from_pixels(padded, device)))
                # `contiguous` restores the paper's order of channels, which channels-last changes.
                encoded = layers.contiguous().flatten(1)
                latents[start : start + rows] = encoded[:rows].cpu().numpy()
        return latents

    def encode_orientations(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        check_pixels(pixels)
        # In float64 the order of eight float32 numbers hardly ever matters, so that all eight
        # images have equal latents.
        total = np.zeros((len(pixels), WIDTH))
        for turned in _orientations(pixels):
            total += encode(turned)
        return (total / ORIENTATIONS[-1]).astype(np.float32)

    if orientations not in ORIENTATIONS:
        raise ValueError(f"orientations: is {orientations}, must be one of {ORIENTATIONS}")
    return encode if orientations == 1 else encode_orientations


def _orientations(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the eight orientations of images (n, 64·64·3): the dihedral group of the square."""
    squares = pixels.reshape(-1, SIDE, SIDE, 3)
    for mirrored in (squares, squares[:, :, ::-1]):
        for quarters in range(4):
            turned = np.rot90(mirrored, quarters, axes=(1, 2))
            yield np.ascontiguousarray(turned).reshape(len(pixels), PIXELS)


def decoder(data: bytes, *, device: str, batch: int) -> Decoder:
    """Return the decoder of a weights file: latents (n, 1024) float32 → pixels (n, 64·64·3) uint8.

    The output x ∈ [−1, 1] becomes the level round((x + 1)·127.5), halves rounded to even. Latents
    are decoded in batches of one size, the last one padded, by one thread, so that an image does
    not depend on the other latents of a call, nor on what else the machine computes. The decoder
    raises ValueError for latents of another shape or type.
    """
    layers = to_device(load_model(data).decoder, device)

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        if latents.dtype != np.float32 or latents.ndim != 2 or latents.shape[1] != WIDTH:
            raise ValueError(
                f"latents: is {latents.dtype} {latents.shape}, must be float32 (n, {WIDTH})"
            )
        pixels = np.empty((len(latents), PIXELS), np.uint8)
        padded = np.zeros((batch, WIDTH), np.float32)
        with torch.inference_mode(), repeatable_float32(), _one_thread():
            for start in range(0, len(latents), batch):
                rows = min(batch, len(latents) - start)
                padded[:rows] = latents[start : start + rows]
                padded[rows:] = 0
                squares = torch.from_numpy(padded).to(device).reshape(-1, CHANNELS[-1], 2, 2)
                rounded = layers(squares).permute(0, 2, 3, 1).add(1).mul_(127.5).round_()
                levels = rounded.clamp_(0, 255).to(torch.uint8).reshape(batch, PIXELS)
                pixels[start : start + rows] = levels[:rows].cpu().numpy()
        return pixels

    return decode


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
