"""The layers of the autoencoder are those of the paper."""

from __future__ import annotations

import torch
from torch import nn

from udfs.autoencoder.model import Autoencoder

TABLE = [
    ("Conv2d", (32, 32, 32), 896),
    ("ReLU", (32, 32, 32), 0),
    ("Conv2d", (64, 16, 16), 18_496),
    ("ReLU", (64, 16, 16), 0),
    ("Conv2d", (128, 8, 8), 73_856),
    ("ReLU", (128, 8, 8), 0),
    ("Conv2d", (256, 4, 4), 295_168),
    ("ReLU", (256, 4, 4), 0),
    ("Conv2d", (256, 2, 2), 590_080),
    ("ReLU", (256, 2, 2), 0),
    ("ConvTranspose2d", (256, 4, 4), 590_080),
    ("ReLU", (256, 4, 4), 0),
    ("ConvTranspose2d", (128, 8, 8), 295_040),
    ("ReLU", (128, 8, 8), 0),
    ("ConvTranspose2d", (64, 16, 16), 73_792),
    ("ReLU", (64, 16, 16), 0),
    ("ConvTranspose2d", (32, 32, 32), 18_464),
    ("ReLU", (32, 32, 32), 0),
    ("ConvTranspose2d", (3, 64, 64), 867),
    ("Tanh", (3, 64, 64), 0),
]


def test_layers_are_the_papers_table_1() -> None:
    model = Autoencoder()
    rows = []
    value = torch.zeros(1, 3, 64, 64)
    for layer in [*model.encoder, *model.decoder]:
        assert isinstance(layer, nn.Module)
        value = layer(value)
        count = sum(parameter.numel() for parameter in layer.parameters())
        rows.append((type(layer).__name__, tuple(value.shape[1:]), count))
    assert rows == TABLE
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_956_739
