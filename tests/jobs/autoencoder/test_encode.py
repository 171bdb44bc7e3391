"""Latents are what the model gives, as its own header and the settings say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.autoencoder import encode, train
from jobs.density import generate
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.load import build
from tests.support.pictures import picture
from tests.support.session import settings_for
from udfs.autoencoder import inference, shipped, training, weights
from udfs.autoencoder.model import Autoencoder

Encoded = Callable[..., Run]  # by a model's weights and further settings


def drawn(normalise: bool) -> bytes:
    """The weights of a model before training."""
    with training.reproducible(0):
        return weights.weights_bytes(Autoencoder(normalise))


@pytest.fixture
def encoded(spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path) -> Encoded:
    """Encode with given weights in a copy of a finished warehouse."""
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


def test_where_nothing_is_set_the_model_that_comes_along_encodes(
    spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path
) -> None:
    """In a warehouse whose model was trained, too; the second run has nothing to do."""
    warehouse = tmp_path / "warehouse"
    shutil.copytree(finished.warehouse.root, warehouse)
    settings = build({}, images=str(pictures))
    settings = replace(settings, warehouse=str(warehouse), quiet=True)
    for is_finished in (False, True):
        run = Run(spark, settings, "pipeline")
        found = [run.execute(stage).finished for stage in (train.STAGE, encode.STAGE)]
        assert found == [is_finished, is_finished]
        run.close()
    data = shipped.weights()
    ids = {row.model_id for row in run.warehouse.read("latents").collect()}
    assert ids == {weights.model_id(data)}
    about = json.loads((warehouse / f"models/{ids.pop()}/model.json").read_text())
    assert (about["given"], about["summary"], about["normalise"]) == ("shipped", "shipped", True)


@pytest.mark.whole
def test_a_given_model_decides_the_normalisation_and_settings_the_orientations(
    finished: Run, encoded: Encoded
) -> None:
    data = drawn(True)
    images = {row.image_id: row.pixels for row in finished.warehouse.read("images").collect()}
    for orientations, exchange in ((8, "arrow"), (1, "pandas")):
        flags = f"encode.orientations={orientations}", f"encode.exchange={exchange}"
        run = encoded(data, *flags)
        rows = run.warehouse.read("latents").collect()
        ids = [row.image_id for row in rows]
        seen = inference.encoder(data, device="cpu", batch=32, orientations=orientations)
        given = np.stack([np.frombuffer(images[name], np.uint8) for name in ids])
        assert set(ids) == set(images)
        assert np.array_equal(seen(given), np.array([row.latent for row in rows], np.float32))
        (on,) = {row.encoded_on for row in rows}
        assert on.endswith(", 8 orientations") == (orientations == 8)
        if orientations == 8:
            asked = replace(run.settings, generate=replace(run.settings.generate, count=1))
            with pytest.raises(JobError, match="means over eight orientations"):
                Run(run.spark, asked, "generate").execute(generate.STAGE)
    model = Path(run.warehouse.root, "models", weights.model_id(data))
    assert json.loads((model / "model.json").read_text())["normalise"] is True


def test_images_without_a_finite_latent_are_rejects_until_a_model_gives_one(
    finished: Run, encoded: Encoded
) -> None:
    images = {row.image_id for row in finished.warehouse.read("images").collect()}
    others = {row.path for row in finished.warehouse.read("rejects").collect()}

    def rejected(model: Autoencoder) -> set[tuple[str, str]]:
        warehouse = encoded(weights.weights_bytes(model)).warehouse
        rejects = warehouse.read("rejects").collect()
        rows = [row for row in rejects if row.stage == "encode"]
        assert warehouse.count("latents") == len(images) - len(rows)
        assert {row.path for row in rejects if row.stage != "encode"} == others
        return {(row.image_id, row.error_code) for row in rows}

    model = weights.load_model(drawn(False))
    assert rejected(model) == set()
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(1e38)
    assert rejected(model) == {(name, "not_finite") for name in images}
    assert rejected(weights.load_model(drawn(True))) == set()


def test_latents_are_what_the_encoder_gives(finished: Run) -> None:
    images = {row.image_id: row.pixels for row in finished.warehouse.read("images").collect()}
    latents = finished.warehouse.read("latents").collect()
    weights = Path(finished.warehouse.root, "models", latents[0].model_id, "weights.safetensors")
    encode = inference.encoder(weights.read_bytes(), device="cpu", batch=32, threads=1)
    pixels = np.stack([np.frombuffer(images[row.image_id], np.uint8) for row in latents])
    stored = np.array([row.latent for row in latents], np.float32)
    assert np.array_equal(encode(pixels), stored)


@pytest.mark.whole
def test_tiles_of_another_size_are_encoded_again(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    """The new tiles may have the ids and hashes of the old ones."""
    Image.fromarray(picture(1, 256)).save(_folder(tmp_path / "images/cat") / "1.png")
    model = next(Path(finished.warehouse.root, "models").iterdir())

    def latents(warehouse: str, tile: int) -> dict[str, list[float]]:
        flags = (f"train.model={model}", f"ingest.tile={tile}")
        for job in (ingest, train, encode):
            run = Run(spark, settings_for(tmp_path / "images", tmp_path / warehouse, *flags), "x")
            run.execute(job.STAGE)
        return {row.image_id: row.latent for row in run.warehouse.read("latents").collect()}

    latents("one", 64)
    assert latents("one", 128) == latents("other", 128)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
