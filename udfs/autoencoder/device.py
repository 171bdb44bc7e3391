"""Where torch computes and how exactly: the choice of a device, float32 without shortcuts, names.

Latents of one model computed on unlike devices or instruction sets differ in their last bits.
`encoding_platform` names what they were computed on, so that unlike ones are never compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

FLOAT32, BFLOAT16 = "float32", "bfloat16"

Module = TypeVar("Module", bound=nn.Module)


def to_device(module: Module, device: str) -> Module:
    """Move a module to a device, in the channels-last layout: the faster one on CPU and GPU."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@contextmanager
def repeatable_float32() -> Iterator[None]:
    """Turn off TF32 and the search for the fastest kernel while the block runs.

    Without this a GPU would round products to 10 bits and might choose another kernel in the next
    run; with it latents are float32 and repeatable. The former state is restored afterwards.
    """
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


def select_device(requested: str = "auto", task_gpu: str | None = None) -> str:
    """Return the name of the device to compute on, as torch spells it ("cpu", "cuda:0").

    Args:
        requested: "auto" takes a GPU if there is one, "cuda" insists on one, "cpu" takes none;
            another name, such as "cuda:1", is returned as it is.
        task_gpu: the number of the GPU that Spark assigned to the task; None for the first one.

    Raises:
        ValueError: a GPU is asked for and torch sees none.

    """
    if requested == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return f"cuda:{task_gpu or 0}" if requested in ("auto", "cuda") else requested
    if requested != "auto":
        raise ValueError(f"device {requested}: torch sees no GPU here; use auto or cpu")
    return "cpu"


def fast_precision(device: str) -> str:
    """Return the precision in which the device multiplies fastest: bfloat16 or float32.

    It is bfloat16 if the device has units for such products (AMX on a CPU; on NVIDIA's GPUs from
    Ampere on). Other processors emulate them and take longer than in float32.
    """
    if device.startswith("cuda"):
        return BFLOAT16 if torch.cuda.get_device_capability(device) >= (8, 0) else FLOAT32
    return BFLOAT16 if torch.cpu.get_capabilities().get("amx_bf16") else FLOAT32


def encoding_platform(device: str, isa_limit: str | None = None) -> str:
    """Return a string naming the device's model or the CPU's instruction set.

    Args:
        device: as torch spells it.
        isa_limit: the value of ONEDNN_MAX_CPU_ISA, which limits the instruction set so that unlike
            machines compute alike; it is named in place of the machine's own.

    """
    if device.startswith("cuda"):
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"cpu {isa_limit or torch.backends.cpu.get_cpu_capability()}"
