"""The autoencoder: its layers, its training, an encoder and a decoder (paper, table 1).

This module, views.py, instance.py and cosine.py are the only ones that know torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from udfs.autoencoder.augmentation import Changes, changed, standardised
from udfs.autoencoder.contrastive import Head, Instance, nt_xent

SIDE = 64
PIXELS = SIDE * SIDE * 3
WIDTH = 1024  # of a latent: 256 channels of 2x2
CHANNELS = (3, 32, 64, 128, 256, 256)
FLOAT32, BFLOAT16 = "float32", "bfloat16"
ORIENTATIONS = (1, 8)  # as it is; with all turns by 90° and their mirror images
# What a weights file's header says; the second where the model is shown standardised images. One
# entry: safetensors writes several in an order that changes from file to file.
ARCHITECTURE = "latent-dedup autoencoder 1"
NORMALISED = f"{ARCHITECTURE}, standardised images"
DEVIATIONS = 3.0  # of a standardised image in the decoder's range, [-1, 1]; the rest is cut off
# Beside the second term every second image is rebuilt: the decoder is three fifths of a plain
# step's work, and the encoder's second view would otherwise lengthen the step by two fifths.
REBUILT = 2

Module = TypeVar("Module", bound=nn.Module)
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


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images: mean squared errors on the scale [-1, 1].

    loss: of what was learnt from, changed views where there is a second term. held_out_loss: of
    unchanged images. instance_loss: the mean NT-Xent, unweighted; None without that term.
    """

    number: int
    loss: float
    held_out_loss: float | None
    seconds: float
    instance_loss: float | None = None


@dataclass(frozen=True)
class Training:
    """A trained model and how it came about."""

    model: Autoencoder
    epochs: list[Epoch]
    images: int
    held_out: int


def train(
    pixels: NDArray[np.uint8],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    held_out: float,
    device: str,
    normalise: bool = False,
    instance: Instance | None = None,
    precision: str = FLOAT32,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Training:
    """Fit the autoencoder to images by Adam on the mean squared error of the reconstruction.

    pixels: (n, 64·64·3) uint8 RGB, rows first; held_out: share of the images that is never learnt
    from, its loss is taken after each epoch; normalise: as of the Autoencoder; instance: a second
    term, beyond the paper: then the clean image is rebuilt from a changed one, and two changed
    views of an image must recognise each other among the batch. precision: of the convolutions and
    products while learning, float32 or bfloat16; weights are float32 in any case. Same pixels, seed
    and machine: same weights, bit for bit. Raises ValueError for pixels of another shape, another
    precision, or a loss that is no number.
    """
    _check_pixels(pixels)
    if precision not in (FLOAT32, BFLOAT16):
        raise ValueError(f"precision: is {precision}, must be {FLOAT32} or {BFLOAT16}")
    if len(pixels) == 0:
        raise ValueError("pixels: there is no image to train on")
    order = np.random.default_rng(seed).permutation(len(pixels))
    kept_out = min(len(pixels) - 1, max(1, round(held_out * len(pixels)))) if held_out else 0
    aside, learnt = order[:kept_out], order[kept_out:]
    with _reproducible(seed):
        model = _placed(Autoencoder(normalise), device)
        objective = _Recognition(model, instance, seed) if instance else _Reconstruction(model)
        optimizer = torch.optim.Adam(objective.parameters(), lr=learning_rate)
        done = []
        for number in range(1, epochs + 1):
            clock = time.monotonic()
            shuffled = learnt[np.random.default_rng((seed, number)).permutation(len(learnt))]
            loss, second = _epoch(
                objective, optimizer, pixels, shuffled, batch_size, number, precision, on_batch
            )
            outside = _loss(model, pixels, aside, batch_size) if kept_out else None
            done.append(Epoch(number, loss, outside, time.monotonic() - clock, second))
            if on_epoch:
                on_epoch(done[-1])
    return Training(model.cpu().eval(), done, len(learnt), kept_out)


class _Reconstruction(nn.Module):
    """The paper's objective: the error of the reconstruction, and no second term."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of images (n, 3, 64, 64): what is minimised, the error, the second term or None."""
        error = nn.functional.mse_loss(self.model(images), self.model.target(images))
        return error, error, None


class _Recognition(nn.Module):
    """The error of clean images rebuilt from changed ones, and NT-Xent of two changed views."""

    def __init__(self, model: Autoencoder, instance: Instance, seed: int) -> None:
        super().__init__()
        self.model = model
        place = next(model.parameters()).device
        self.head = Head(WIDTH).to(place)
        self.instance = instance
        self.draws = torch.Generator(place).manual_seed(seed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As of the other; both views pass the encoder together, some of the first are rebuilt."""
        n, rebuilt = len(images), -(-len(images) // REBUILT)
        # In bfloat16 places would be off by up to a quarter of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            views = changed(torch.cat([images, images]), Changes(), self.draws)
        latents = self.model.encode(views)
        found = self.model.decode(latents[:rebuilt])
        error = nn.functional.mse_loss(found, self.model.target(images[:rebuilt]))
        seen = self.head(latents).float()
        with torch.autocast(images.device.type, enabled=False):  # its three digits are too few here
            second = nt_xent(seen[:n], seen[n:], self.instance.temperature)
        return error + self.instance.weight * second, error, second


def _epoch(
    objective: _Reconstruction | _Recognition,
    optimizer: torch.optim.Optimizer,
    pixels: NDArray[np.uint8],
    order: NDArray[np.int64],
    batch_size: int,
    number: int,
    precision: str,
    on_batch: OnBatch | None,
) -> tuple[float, float | None]:
    """One pass in the given order; both terms' means. Raises ValueError where one is no number."""
    device = next(objective.parameters()).device
    totals, batches = np.zeros(2), -(-len(order) // batch_size)
    for batch in range(batches):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        optimizer.zero_grad(set_to_none=True)
        images = _images(pixels[rows], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16):
            whole, error, second = objective(images)
        whole.backward()
        optimizer.step()
        if not np.isfinite(whole.item()):
            raise ValueError(
                f"the loss became {whole.item()} in epoch {number}: lower train.learning_rate"
            )
        totals += np.array([error.item(), 0.0 if second is None else second.item()]) * len(rows)
        if on_batch:
            on_batch(number, batch + 1, batches, error.item())
    loss, recognised = (totals / len(order)).tolist()
    return loss, recognised if isinstance(objective, _Recognition) else None


def _loss(
    model: Autoencoder, pixels: NDArray[np.uint8], rows: NDArray[np.int64], batch_size: int
) -> float:
    """Mean squared error of the reconstruction of the given rows."""
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            images = _images(
                pixels[rows[start : start + batch_size]], next(model.parameters()).device
            )
            error = nn.functional.mse_loss(model(images), model.target(images))
            total += error.item() * len(images)
    return total / len(rows)


def _images(pixels: NDArray[np.uint8], device: Any) -> Tensor:
    """(n, 64·64·3) uint8, rows first, to (n, 3, 64, 64) float32 x/127.5 − 1 in channels-last."""
    levels = torch.from_numpy(pixels).to(device)
    return levels.reshape(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _placed(module: Module, device: str) -> Module:
    """A module on its device, in channels-last: the faster layout on CPU and GPU alike."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _check_pixels(pixels: NDArray[Any]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise ValueError(f"pixels: is {pixels.dtype} {pixels.shape}, must be uint8 (n, {PIXELS})")


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Torch's generators seeded and its algorithms deterministic; as they were afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else its sums vary (cuBLAS docs)
    with torch.random.fork_rng(), _float32():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)


@contextmanager
def _float32() -> Iterator[None]:
    """No TF32 and no search for the fastest kernel: latents are float32 and repeatable."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic = (
        False,
        False,
        False,
        True,
    )
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


def weights_bytes(model: Autoencoder) -> bytes:
    """The weights as a safetensors file: equal weights, equal bytes.

    Its header says whether images are standardised for the model: one goes nowhere without it.
    """
    state = {name: value.contiguous() for name, value in sorted(model.state_dict().items())}
    return save_tensors(state, {"architecture": NORMALISED if model.normalise else ARCHITECTURE})


def normalises(data: bytes) -> bool:
    """Whether a weights file is of a model that is shown standardised images, by its header.

    data: 8 bytes, the length of the JSON that follows, little-endian (the safetensors format).
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return bool((header.get("__metadata__") or {}).get("architecture") == NORMALISED)


def model_id(data: bytes) -> str:
    """The sha256 of a weights file."""
    return hashlib.sha256(data).hexdigest()


def load(data: bytes) -> Autoencoder:
    """A model from its weights file's bytes.

    Raises ValueError naming every tensor that is missing, unexpected, misshaped or not finite.
    """
    try:
        state = load_tensors(data)
    except (SafetensorError, ValueError) as broken:
        raise ValueError(f"the weights are no safetensors file: {broken}") from broken
    with torch.random.fork_rng():  # the fresh weights are thrown away: draw nothing for them
        model = Autoencoder(normalises(data))
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [f"{name}: missing" for name in wanted.keys() - found.keys()]
    wrong += [f"{name}: not of this architecture" for name in found.keys() - wanted.keys()]
    both = wanted.keys() & found.keys()
    wrong += [
        f"{name}: shape {found[name]}, must be {wanted[name]}"
        for name in both
        if found[name] != wanted[name]
    ]
    wrong += [f"{name}: holds NaN or infinity" for name in both if not state[name].isfinite().all()]
    if wrong:
        raise ValueError("the weights do not fit the autoencoder: " + "; ".join(sorted(wrong)))
    model.load_state_dict(state)
    return model.eval()


def device(requested: str = "auto", task_gpu: str | None = None) -> str:
    """Where to compute: the GPU that the task was given, else any CUDA device, else the CPU.

    Raises ValueError where "cuda" is asked for and there is none.
    """
    if requested == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return f"cuda:{task_gpu or 0}" if requested in ("auto", "cuda") else requested
    if requested != "auto":
        raise ValueError(f"device {requested}: torch sees no GPU here; use auto or cpu")
    return "cpu"


def fast_precision(place: str) -> str:
    """bfloat16 where the device has units for its products (AMX; NVIDIA from Ampere), else float32.

    On processors without them it takes longer.
    """
    if place.startswith("cuda"):
        return BFLOAT16 if torch.cuda.get_device_capability(place) >= (8, 0) else FLOAT32
    return BFLOAT16 if torch.cpu.get_capabilities().get("amx_bf16") else FLOAT32


def encoded_on(place: str, isa_limit: str | None = None) -> str:
    """Device and instruction set: latents of different ones differ in the last bits.

    isa_limit: the value of ONEDNN_MAX_CPU_ISA, by which unlike machines are made alike.
    """
    if place.startswith("cuda"):
        return f"cuda {torch.cuda.get_device_name(place)}"
    return f"cpu {isa_limit or torch.backends.cpu.get_cpu_capability()}"


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
