"""The device that torch computes on, its precision, and what identifies it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

FLOAT32, BFLOAT16 = "float32", "bfloat16"

Module = TypeVar("Module", bound=nn.Module)


def _placed(module: Module, device: str) -> Module:
    """A module on its device, in channels-last: the faster layout on CPU and GPU alike."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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
