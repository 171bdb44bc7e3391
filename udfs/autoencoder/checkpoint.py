"""The state of an unfinished training: taken between two steps, as bytes, and put back.

A training that goes on from such a state ends with the weights of an undisturbed one, bit for bit,
if `environment` is the same. The bytes are a safetensors file whose header also holds JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from udfs.autoencoder.device import encoding_platform

FORMAT = 1  # raised when the file, or the order of random numbers, changes
ABOUT, DIGEST = "checkpoint", "sha256"  # the entries of the header
MODEL, ADAM, RANDOM = "objective.", "adam.", "random."
# torch's own generators: no step draws from them now, but a later layer may.
CPU, GPU, OBJECTIVE = f"{RANDOM}cpu", f"{RANDOM}gpu", f"{RANDOM}objective"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images; losses are means over images, on the scale [-1, 1].

    number: from 1. loss: the mean squared error of the reconstruction during the epoch; with a
    contrastive term the images are rebuilt from augmented views. held_out_loss: the same error of
    images that are never learnt from, not augmented, after the epoch; None if none are held out.
    seconds: how long the epoch took. instance_loss: the mean NT-Xent, not weighted; None without a
    contrastive term.
    """

    number: int
    loss: float
    held_out_loss: float | None
    seconds: float
    instance_loss: float | None = None


@dataclass
class Position:
    """Where a training stands: after so many batches of the epoch that follows the finished ones.

    sums: of both losses over the images of these batches. seconds: that they took.
    """

    finished: list[Epoch] = field(default_factory=list)
    batches: int = 0
    sums: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of the epoch that is under way, or is the next one."""
        return len(self.finished) + 1

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the position that `dataclasses.asdict` turned into JSON."""
        finished = [Epoch(**epoch) for epoch in content["finished"]]
        return cls(finished, content["batches"], tuple(content["sums"]), content["seconds"])


@dataclass(frozen=True)
class Checkpoint:
    """A state of a training.

    tensors: the objective's weights, Adam's state and the generators' states, on the CPU. about:
    what else the caller wants to find again, as JSON.
    """

    position: Position
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)


def environment(device: str, precision: str) -> dict[str, Any]:
    """Return all but pixels and settings that the bits of the weights depend on, as JSON.

    Sums are split among threads, so their number counts too.
    """
    return {
        "device": encoding_platform(device, os.environ.get("ONEDNN_MAX_CPU_ISA")),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "format": FORMAT,
    }


def captured(
    objective: nn.Module, optimizer: torch.optim.Optimizer, position: Position
) -> Checkpoint:
    """Return a copy of the state of a training, between two steps of Adam."""
    tensors = {f"{MODEL}{name}": value for name, value in objective.state_dict().items()}
    for name, parameter in objective.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{ADAM}{key}.{name}"] = value
    tensors |= {name: generator.get_state() for name, generator in _generators(objective).items()}
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return Checkpoint(Position.from_json(asdict(position)), copies)


def restore(
    checkpoint: Checkpoint, objective: nn.Module, optimizer: torch.optim.Optimizer
) -> Position:
    """Put a state back into a new objective and its Adam; return where the training stands."""
    tensors = checkpoint.tensors
    names = objective.state_dict().keys()
    objective.load_state_dict({name: tensors[f"{MODEL}{name}"] for name in names})
    for name, parameter in objective.named_parameters():
        # In the parameter's own layout: Adam's sums in another one may round differently.
        optimizer.state[parameter] = {
            "step": tensors[f"{ADAM}step.{name}"].clone(),
            "exp_avg": torch.zeros_like(parameter).copy_(tensors[f"{ADAM}exp_avg.{name}"]),
            "exp_avg_sq": torch.zeros_like(parameter).copy_(tensors[f"{ADAM}exp_avg_sq.{name}"]),
        }
    for name, generator in _generators(objective).items():
        generator.set_state(tensors[name])
    return Position.from_json(asdict(checkpoint.position))


def _generators(objective: nn.Module) -> dict[str, torch.Generator]:
    """Return the generators of random numbers that a training may draw from, by their names."""
    device = next(objective.parameters()).device
    generators = {CPU: torch.default_generator}
    if device.type == "cuda":
        generators[GPU] = torch.cuda.default_generators[device.index or 0]
    own = getattr(objective, "generator", None)
    return generators if own is None else generators | {OBJECTIVE: own}


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """Return a state as the bytes of a safetensors file."""
    from safetensors.torch import save

    text = json.dumps({"position": asdict(checkpoint.position), "about": dict(checkpoint.about)})
    tensors = dict(checkpoint.tensors)
    return save(tensors, {ABOUT: text, DIGEST: _digest(text, tensors)})


def load_checkpoint(data: bytes) -> Checkpoint:
    """Return the state of a file. Raises ValueError if a byte of it was changed or is missing."""
    from safetensors.torch import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])["__metadata__"]
        text, digest = header[ABOUT], header[DIGEST]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"it is no file of a checkpoint: {error}") from error
    if digest != _digest(text, tensors):
        raise ValueError("its sha256 differs from the one that was written")
    content = json.loads(text)
    return Checkpoint(Position.from_json(content["position"]), tensors, content["about"])


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the JSON and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(cast(Any, value.contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
