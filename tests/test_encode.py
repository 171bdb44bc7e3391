"""What encodes is the model with its own header, seen from as many sides as the settings ask."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs import encode, generate, train
from jobs.common.encoding import Encoding
from jobs.common.run import Run
from jobs.common.settings import Train
from jobs.common.storage import JobError
from tests.conftest import picture, settings_for
from udfs import autoencoder
from udfs.autoencoder import Autoencoder
from udfs.instance import Instance


def drawn(normalise: bool) -> bytes:
    """A model as it is before training."""
    with autoencoder._reproducible(0):
        return autoencoder.weights_bytes(Autoencoder(normalise))


def pixels(n: int) -> NDArray[np.uint8]:
    return np.stack([picture(i, 64).reshape(-1) for i in range(n)])


def test_a_worker_keeps_an_encoder_for_each_number_of_orientations() -> None:
    data = drawn(False)
    name = autoencoder.model_id(data)
    for orientations in (1, 8, 1):
        found = Encoding(data, name, 8, "cpu", orientations).encoder()
        wanted = autoencoder.encoder(data, device="cpu", batch=8, orientations=orientations)
        assert np.array_equal(found(pixels(3)), wanted(pixels(3)))


def test_the_settings_name_the_second_term() -> None:
    assert train.instance_of(Train(objective="reconstruction")) is None
    asked = Train(objective="reconstruction+instance", temperature=0.2, instance_weight=0.5)
    assert train.instance_of(asked) == Instance(weight=0.5, temperature=0.2)


@pytest.mark.spark
def test_a_given_model_is_normalised_by_its_own_header_and_seen_from_all_sides(
    spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path
) -> None:
    warehouse, file = tmp_path / "warehouse", tmp_path / "given.safetensors"
    shutil.copytree(finished.warehouse.root, warehouse)
    data = drawn(True)
    file.write_bytes(data)
    images = {row.image_id: row.pixels for row in finished.warehouse.read("images").collect()}

    def latents(orientations: int) -> tuple[list[str], NDArray[np.float32], set[str]]:
        flags = (f"train.model={file}", f"encode.orientations={orientations}")
        run = Run(spark, settings_for(pictures, warehouse, *flags), "pipeline")
        train.main(run)
        encode.main(run)
        run.close()
        rows = run.warehouse.read("latents").collect()
        stored = np.array([row.latent for row in rows], np.float32)
        return [row.image_id for row in rows], stored, {row.encoded_on for row in rows}

    for orientations in (8, 1):
        ids, stored, place = latents(orientations)
        seen = autoencoder.encoder(data, device="cpu", batch=32, orientations=orientations)
        given = np.stack([np.frombuffer(images[name], np.uint8) for name in ids])
        assert set(ids) == set(images)
        assert np.array_equal(seen(given), stored)
        (on,) = place
        assert on.endswith(", 8 orientations") == (orientations == 8)
        if orientations == 8:
            flags = (f"train.model={file}", "generate.count=1")
            with pytest.raises(JobError, match="means over eight orientations"):
                generate.main(Run(spark, settings_for(pictures, warehouse, *flags), "generate"))
    about = json.loads(
        (warehouse / "models" / autoencoder.model_id(data) / "model.json").read_text()
    )
    assert about["normalise"] is True


@pytest.mark.spark
def test_images_without_a_finite_latent_are_rejects_until_a_model_gives_one(
    spark: SparkSession, finished: Run, pictures: Path, tmp_path: Path
) -> None:
    warehouse, file = tmp_path / "warehouse", tmp_path / "given.safetensors"
    shutil.copytree(finished.warehouse.root, warehouse)
    images = {row.image_id for row in finished.warehouse.read("images").collect()}

    def rejected(model: Autoencoder) -> set[tuple[str, str]]:
        file.write_bytes(autoencoder.weights_bytes(model))
        flags = (f"train.model={file}", "prune.space=raw")
        run = Run(spark, settings_for(pictures, warehouse, *flags), "pipeline")
        train.main(run)
        encode.main(run)
        run.close()
        rows = run.warehouse.read("rejects").where("stage = 'encode'").collect()
        assert run.warehouse.count("latents") == len(images) - len(rows)
        return {(row.image_id, row.error_code) for row in rows}

    model = autoencoder.load(drawn(False))
    assert rejected(model) == set()
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(1e38)
    assert rejected(model) == {(name, "not_finite") for name in images}
    assert rejected(autoencoder.load(drawn(True))) == set()
    others = run_rejects(finished) - {"encode"}
    assert run_rejects(Run(spark, settings_for(pictures, warehouse), "pipeline")) == others


def run_rejects(run: Run) -> set[str]:
    return {row.stage for row in run.warehouse.read("rejects").collect()}
