"""What encodes is the model with its own header, seen from as many sides as the settings ask."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs.autoencoder import encode, learning, train
from jobs.autoencoder.encoder_udf import Encoding
from jobs.density import generate
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.autoencoder import Train
from tests.conftest import picture, settings_for
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.model import Autoencoder
from udfs.autoencoder.training import reproducible
from udfs.autoencoder.weights import load_model, model_id, weights_bytes

Encoded = Callable[..., Run]  # by a model's weights and further settings


def drawn(normalise: bool) -> bytes:
    """A model as it is before training."""
    with reproducible(0):
        return weights_bytes(Autoencoder(normalise))


def pixels(n: int) -> NDArray[np.uint8]:
    return np.stack([picture(i, 64).reshape(-1) for i in range(n)])


def test_a_worker_keeps_an_encoder_for_each_number_of_orientations() -> None:
    data = drawn(False)
    name = model_id(data)
    for orientations in (1, 8, 1):
        found = Encoding(data, name, 8, "cpu", orientations).encoder()
        wanted = encoder(data, device="cpu", batch=8, orientations=orientations)
        assert np.array_equal(found(pixels(3)), wanted(pixels(3)))


def test_the_settings_name_the_second_term() -> None:
    assert learning.contrastive_term(Train(objective="reconstruction")) is None
    asked = Train(objective="reconstruction+instance", temperature=0.2, instance_weight=0.5)
    assert learning.contrastive_term(asked) == ContrastiveTerm(weight=0.5, temperature=0.2)


@pytest.fixture
def encoded(spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path) -> Encoded:
    """Encodes by a given model, in a copy of a warehouse."""
    warehouse, file = tmp_path / "warehouse", tmp_path / "given.safetensors"
    shutil.copytree(finished.warehouse.root, warehouse)

    def by(data: bytes, *flags: str) -> Run:
        file.write_bytes(data)
        given = settings_for(pictures, warehouse, f"train.model={file}", *flags)
        run = Run(spark, given, "pipeline")
        run.execute(train.STAGE)
        run.execute(encode.STAGE)
        run.close()
        return run

    return by


@pytest.mark.spark
def test_a_given_model_is_normalised_by_its_own_header_and_seen_from_all_sides(
    finished: Run, encoded: Encoded
) -> None:
    data = drawn(True)
    images = {row.image_id: row.pixels for row in finished.warehouse.read("images").collect()}
    for orientations, exchange in ((8, "arrow"), (1, "pandas")):
        flags = f"encode.orientations={orientations}", f"encode.exchange={exchange}"
        run = encoded(data, *flags)
        rows = run.warehouse.read("latents").collect()
        ids = [row.image_id for row in rows]
        seen = encoder(data, device="cpu", batch=32, orientations=orientations)
        given = np.stack([np.frombuffer(images[name], np.uint8) for name in ids])
        assert set(ids) == set(images)
        assert np.array_equal(seen(given), np.array([row.latent for row in rows], np.float32))
        (on,) = {row.encoded_on for row in rows}
        assert on.endswith(", 8 orientations") == (orientations == 8)
        if orientations == 8:
            asked = replace(run.settings, generate=replace(run.settings.generate, count=1))
            with pytest.raises(JobError, match="means over eight orientations"):
                Run(run.spark, asked, "generate").execute(generate.STAGE)
    model = Path(run.warehouse.root, "models", model_id(data))
    assert json.loads((model / "model.json").read_text())["normalise"] is True


@pytest.mark.spark
def test_images_without_a_finite_latent_are_rejects_until_a_model_gives_one(
    finished: Run, encoded: Encoded
) -> None:
    images = {row.image_id for row in finished.warehouse.read("images").collect()}
    others = {row.path for row in finished.warehouse.read("rejects").collect()}

    def rejected(model: Autoencoder) -> set[tuple[str, str]]:
        warehouse = encoded(weights_bytes(model)).warehouse
        rejects = warehouse.read("rejects").collect()
        rows = [row for row in rejects if row.stage == "encode"]
        assert warehouse.count("latents") == len(images) - len(rows)
        assert {row.path for row in rejects if row.stage != "encode"} == others
        return {(row.image_id, row.error_code) for row in rows}

    model = load_model(drawn(False))
    assert rejected(model) == set()
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(1e38)
    assert rejected(model) == {(name, "not_finite") for name in images}
    assert rejected(load_model(drawn(True))) == set()
