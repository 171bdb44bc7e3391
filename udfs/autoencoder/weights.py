"""Weights as bytes: a model to a safetensors file and back, and the id of such a file.

Use these functions to store a trained model and to load one that was trained elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from safetensors import SafetensorError

if TYPE_CHECKING:  # torch takes seconds to import, and the id of a model needs none
    from udfs.autoencoder.model import Autoencoder

# The header's entry "architecture"; NORMALISED if the model is shown standardised images. There is
# one entry alone, since safetensors writes several in an order that changes from file to file.
ARCHITECTURE = "latent-dedup autoencoder 1"
NORMALISED = f"{ARCHITECTURE}, standardised images"


def weights_bytes(model: Autoencoder) -> bytes:
    """Return the weights as the bytes of a safetensors file; equal weights give equal bytes.

    The header says whether images are standardised for the model, so that a file is complete.
    """
    from safetensors.torch import save as save_tensors

    state = {name: value.contiguous() for name, value in sorted(model.state_dict().items())}
    return save_tensors(state, {"architecture": NORMALISED if model.normalise else ARCHITECTURE})


def normalises(data: bytes) -> bool:
    """Return whether the model of a weights file is shown standardised images.

    Only the header is read: 8 bytes hold the length of the JSON that follows, little-endian (the
    safetensors format).
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return bool((header.get("__metadata__") or {}).get("architecture") == NORMALISED)


def model_id(data: bytes) -> str:
    """Return the id of a model: the sha256 of its weights file, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def load_model(data: bytes) -> Autoencoder:
    """Return the model of a weights file, in evaluation mode on the CPU.

    Raises:
        ValueError: the bytes are no safetensors file, or a tensor is missing, unexpected, of
            another shape or not finite; the message names every such tensor.

    """
    import torch
    from safetensors.torch import load as load_tensors

    from udfs.autoencoder.model import Autoencoder

    try:
        state = load_tensors(data)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"the weights are no safetensors file: {error}") from error
    with torch.random.fork_rng():  # fresh weights are drawn and overwritten: keep torch's state
        model = Autoencoder(normalises(data))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    faults = [f"{name}: missing" for name in expected.keys() - shapes.keys()]
    faults += [f"{name}: not of this architecture" for name in shapes.keys() - expected.keys()]
    common = expected.keys() & shapes.keys()
    faults += [
        f"{name}: shape {shapes[name]}, must be {expected[name]}"
        for name in common
        if shapes[name] != expected[name]
    ]
    for name in common:
        if not state[name].isfinite().all():
            faults.append(f"{name}: holds NaN or infinity")
    if faults:
        raise ValueError("the weights do not fit the autoencoder: " + "; ".join(sorted(faults)))
    model.load_state_dict(state)
    return model.eval()
