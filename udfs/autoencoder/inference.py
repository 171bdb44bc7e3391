"""Encoder and decoder as functions of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from udfs.autoencoder.device import _float32, _placed
from udfs.autoencoder.model import (
    CHANNELS,
    PIXELS,
    SIDE,
    WIDTH,
    Decoder,
    Encoder,
    _check_pixels,
    _images,
)
from udfs.autoencoder.weights import load

ORIENTATIONS = (1, 8)  # as it is; with all turns by 90° and their mirror images


def encoder(
    data: bytes, *, device: str, batch: int, threads: int = 1, orientations: int = 1
) -> Encoder:
    """The encoder of a weights file: (n, 64·64·3) uint8 to latents (n, 1024) float32.

    orientations: 8 for the mean of the latents of an image turned by 0, 90, 180 and 270° and of its
    mirror image so turned: the same for all eight of them, at eight times the cost.

    The images pass in pieces of `batch`, the last one padded, so a latent is the same, bit for bit,
    whatever comes with it in a call and in whatever order. Cost: 34 million multiplications an
    image.
    """
    torch.set_num_threads(threads)
    model = _placed(load(data), device)

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        _check_pixels(pixels)
        latents = np.empty((len(pixels), WIDTH), np.float32)
        piece = np.zeros((batch, PIXELS), np.uint8)
        with torch.inference_mode(), _float32():
            for start in range(0, len(pixels), batch):
                rows = min(batch, len(pixels) - start)
                piece[:rows] = pixels[start : start + rows]
                piece[rows:] = 0
                # A copy in the paper's order of channels: channels-last would flatten otherwise.
                found = model.encoder(model.shown(_images(piece, device))).contiguous().flatten(1)
                latents[start : start + rows] = found[:rows].cpu().numpy()
        return latents

    def encode_all(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        _check_pixels(pixels)
        # In float64 the order of eight float32 hardly ever matters: then all eight are alike.
        total = np.zeros((len(pixels), WIDTH))
        for turned in _orientations(pixels):
            total += encode(turned)
        return (total / ORIENTATIONS[-1]).astype(np.float32)

    if orientations not in ORIENTATIONS:
        raise ValueError(f"orientations: is {orientations}, must be one of {ORIENTATIONS}")
    return encode if orientations == 1 else encode_all


def _orientations(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The eight orientations of images (n, 64·64·3): the dihedral group of the square."""
    squares = pixels.reshape(-1, SIDE, SIDE, 3)
    for faced in (squares, squares[:, :, ::-1]):
        for quarters in range(4):
            turned = np.rot90(faced, quarters, axes=(1, 2))
            yield np.ascontiguousarray(turned).reshape(len(pixels), PIXELS)


def decoder(data: bytes, *, device: str, batch: int) -> Decoder:
    """The decoder of a weights file: latents (n, 1024) float32 to (n, 64·64·3) uint8 RGB.

    The output x ∈ [−1, 1] becomes the level round((x + 1)·127.5), halves to the even one. In pieces
    of `batch`, the last one padded, by one thread: the same bytes on one machine, whatever else it
    does and whatever is decoded along. Raises ValueError for latents of another shape or type.
    """
    layers = _placed(load(data).decoder, device)

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        if latents.dtype != np.float32 or latents.ndim != 2 or latents.shape[1] != WIDTH:
            raise ValueError(
                f"latents: is {latents.dtype} {latents.shape}, must be float32 (n, {WIDTH})"
            )
        pixels = np.empty((len(latents), PIXELS), np.uint8)
        piece = np.zeros((batch, WIDTH), np.float32)
        with torch.inference_mode(), _float32(), _one_thread():
            for start in range(0, len(latents), batch):
                rows = min(batch, len(latents) - start)
                piece[:rows] = latents[start : start + rows]
                piece[rows:] = 0
                squares = torch.from_numpy(piece).to(device).reshape(-1, CHANNELS[-1], 2, 2)
                found = layers(squares).permute(0, 2, 3, 1).add(1).mul_(127.5).round_()
                levels = found.clamp_(0, 255).to(torch.uint8).reshape(batch, PIXELS)
                pixels[start : start + rows] = levels[:rows].cpu().numpy()
        return pixels

    return decode


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch's; as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
