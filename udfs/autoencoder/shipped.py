"""The model that comes along: the paper's encoder and decoder, trained on public pictures.

Use `weights` to encode without a training of one's own, and `about` for what the model was trained
on, the licences of that, and what it finds. The file holds float16, which is 4 MB; all is
computed in float32. benchmarks/shipped_model.py makes both files.
"""

from __future__ import annotations

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from udfs.autoencoder.weights import model_id

FOLDER = "shipped_model"  # beside this file
WEIGHTS, ABOUT = "weights.safetensors", "model.json"


def weights() -> bytes:
    """Return the bytes of the weights file.

    Raises:
        ValueError: the file is not the one that model.json describes.

    """
    data = _file(WEIGHTS).read_bytes()
    if model_id(data) != about()["sha256"]:
        raise ValueError(f"{_file(WEIGHTS)} is damaged: its sha256 is not that of {ABOUT}")
    return data


def about() -> dict[str, Any]:
    """Return the content of model.json."""
    found: dict[str, Any] = json.loads(_file(ABOUT).read_bytes())
    return found


def _file(name: str) -> Traversable:
    return resources.files(__package__).joinpath(FOLDER, name)
