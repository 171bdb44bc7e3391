"""Weights files of two short trainings: of images as they are, and of standardised images."""

from __future__ import annotations

import pytest

from tests.support.autoencoders import train
from udfs.autoencoder.weights import weights_bytes


@pytest.fixture(scope="session")
def weights() -> bytes:
    return weights_bytes(train().model)


@pytest.fixture(scope="session")
def normalised() -> bytes:
    return weights_bytes(train(normalise=True).model)
