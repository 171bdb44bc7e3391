"""The model that comes along is small, is what its description says, and tells pictures apart."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load

from deploy.app_zip import write_zip
from udfs.acquisition.synthetic import survey
from udfs.autoencoder import shipped
from udfs.autoencoder.inference import decoder, encoder
from udfs.autoencoder.weights import normalises
from udfs.vectors.whitening import Moments, Whitening

SIDE = 64
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def originals() -> Pixels:
    """Sixty different places: (n, 64, 64, 3)."""
    scenes = survey.plan(labels=6, scenes=10, side=SIDE, seed=5)
    files = [survey.photograph(scene, SIDE, seed=5)[0][1] for scene in scenes]
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    return np.stack([np.asarray(image) for image in images])


def rows(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels.reshape(len(pixels), -1))


def test_it_is_small_and_in_half_precision() -> None:
    data = shipped.weights()
    assert len(data) <= 4_000_000
    assert {str(value.dtype) for value in load(data).values()} == {"torch.float16"}


def test_a_package_holds_it(tmp_path: Path) -> None:
    """The code is a zip there, from which the driver imports it."""
    write_zip(tmp_path / "app.zip")
    program = "from udfs.autoencoder import shipped; print(len(shipped.weights()))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "app.zip")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(answer.stdout) == len(shipped.weights())


def test_its_description_says_what_it_was_made_of() -> None:
    about = shipped.about()
    assert about["settings"]["normalise"] == normalises(shipped.weights())
    assert {part["license"] for part in about["trained on"].values()} == {
        "public domain",
        "CC0 1.0",
    }
    assert about["made by"].startswith("benchmarks/shipped_model.py at ")
    assert len(about["losses"]) == about["settings"]["epochs"]
    losses = [epoch["held_out_loss"] for epoch in about["losses"]]
    assert losses[-1] < losses[0]


def test_a_copy_of_another_tone_is_nearer_than_any_other_place(originals: Pixels) -> None:
    encode = encoder(shipped.weights(), device="cpu", batch=32)
    darker = (originals * 0.7 + 20).astype(np.uint8)
    latents, copies = encode(rows(originals)), encode(rows(darker))
    space = Whitening.fitted(Moments.of(np.concatenate([latents, copies])), 64)
    left, right = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for vectors in (space(latents), space(copies))
    )
    nearest = np.argmax(left @ right.T, axis=1)
    assert np.mean(nearest == np.arange(len(originals))) == 1


def test_it_rebuilds_a_picture_better_than_its_mean_does(originals: Pixels) -> None:
    data = shipped.weights()
    latents = encoder(data, device="cpu", batch=32)(rows(originals))
    rebuilt = decoder(data, device="cpu", batch=32)(latents).reshape(originals.shape)
    pictures = originals.astype(np.float64)
    wanted = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    wanted /= np.maximum(wanted.std(axis=(1, 2), keepdims=True), 1)
    shown = (rebuilt - 127.5) / 42.5
    assert np.mean((shown - wanted) ** 2) < 0.8 * np.mean(wanted**2)
