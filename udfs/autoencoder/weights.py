"""Weights as bytes: writing, reading, and the id made of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from safetensors import SafetensorError

if TYPE_CHECKING:  # torch takes seconds to import, and the id of a model needs none
    from udfs.autoencoder.model import Autoencoder

# What a weights file's header says; the second where the model is shown standardised images. One
# entry: safetensors writes several in an order that changes from file to file.
ARCHITECTURE = "latent-dedup autoencoder 1"
NORMALISED = f"{ARCHITECTURE}, standardised images"


def weights_bytes(model: Autoencoder) -> bytes:
    """The weights as a safetensors file: equal weights, equal bytes.

    Its header says whether images are standardised for the model: one goes nowhere without it.
    """
    from safetensors.torch import save as save_tensors

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
    import torch
    from safetensors.torch import load as load_tensors

    from udfs.autoencoder.model import Autoencoder

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
