"""The stage `describe`: vectors of gradients, a fit that batches use again, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import describe, spaces
from jobs.duplicates import prune
from jobs.errors import JobError
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.support.folders import Once
from tests.support.given_latents import GivenLatents, prepared, rows_of
from tests.support.given_pictures import PROOF_FLAGS, GivenPictures
from udfs.registration import grey_of
from udfs.registration.gradients import gradient_vectors
from udfs.vectors.whitening import Moments, Whitening

SIZES = {"large": 60, "small": 30, "one": 1}
FLAGS = (*PROOF_FLAGS, "prune.space=gradients", "prune.candidates=[0.3]")


@pytest.fixture
def pictured(spark: SparkSession, tmp_path: Path, once: Once) -> GivenPictures:
    images = GivenPictures(spark, tmp_path, SIZES)
    prepared(images, "given_pictures", once)
    return images


def expected(images: GivenPictures, names: list[str], fit: Whitening | None = None) -> np.ndarray:
    pixels = np.stack([images.pixels(name) for name in names])
    vectors = gradient_vectors(grey_of(pixels))
    return (fit or Whitening.fitted(Moments.of(vectors)))(vectors)


def test_vectors_are_those_of_the_pixels_and_prune_compares_them(pictured: GivenPictures) -> None:
    run = pictured.job(describe.STAGE, *FLAGS)
    rows = {row["image_id"]: row for row in rows_of(pictured, "gradients")}
    names = sorted(pictured.images)
    assert sorted(rows) == names
    found = np.array([rows[name]["vector"] for name in names], np.float32)
    np.testing.assert_allclose(found, expected(pictured, names), rtol=1e-4, atol=1e-4)
    for name in names:
        image = pictured.images[name]
        assert (rows[name]["label"], rows[name]["sha256"]) == (image["label"], image["sha256"])
        assert rows[name]["model_id"] == describe.MODEL
    (fit,) = (row for row in rows_of(pictured, "spaces") if row["space"] == "gradients")
    assert fit["images"] == len(names)
    assert {row["fit_id"] for row in rows.values()} == {fit["fit_id"]}
    assert "axes" in str(run.warehouse.read("runs").collect())

    pictured.prune(*FLAGS)
    pictured.latents = {name: found[i] for i, name in enumerate(names)}
    assert pictured.selection() == pictured.proved_selection(candidates=0.3)
    assert {row["space"] for row in rows_of(pictured, "selection")} == {"gradients"}


def test_a_batch_is_whitened_by_the_fit_of_before(pictured: GivenPictures) -> None:
    names = sorted(pictured.images)
    append = (*FLAGS, "prune.mode=append")
    pictured.write(names[:50])
    pictured.job(describe.STAGE, *append)
    fit = spaces.stored_fit(open_store(pictured.spark, str(pictured.folder)), "gradients")
    assert fit is not None
    pictured.write()
    pictured.job(describe.STAGE, *append)
    rows = {row["image_id"]: row["vector"] for row in rows_of(pictured, "gradients")}
    found = np.array([rows[name] for name in names], np.float32)
    np.testing.assert_allclose(found, expected(pictured, names, fit), rtol=1e-4, atol=1e-4)
    pictured.job(describe.STAGE, *FLAGS)  # all anew
    again = spaces.stored_fit(open_store(pictured.spark, str(pictured.folder)), "gradients")
    assert again is not None
    assert spaces.fit_id(again) != spaces.fit_id(fit)


def test_a_fit_on_few_images_is_refused_for_many(pictured: GivenPictures) -> None:
    """Along so few axes most images would have nearly the same vector."""
    append = (*FLAGS, "prune.mode=append")
    pictured.write(sorted(pictured.images)[:4])
    pictured.job(describe.STAGE, *append)
    pictured.write()
    with pytest.raises(JobError, match=r"fitted on few images, \d where all images now have \d\d"):
        pictured.job(describe.STAGE, *append)


def test_an_image_without_a_latent_is_not_compared(pictured: GivenPictures) -> None:
    warehouse = open_store(pictured.spark, str(pictured.folder))
    some = warehouse.read("latents").where("label != 'one'")
    warehouse.write(some, "latents", CommitInfo("fewer", "encode", "fewer"))
    pictured.job(describe.STAGE, *FLAGS)
    found = {row["image_id"] for row in rows_of(pictured, "gradients")}
    assert found == {n for n, image in pictured.images.items() if image["label"] != "one"}


def test_vectors_without_pixels_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    given = GivenLatents(spark, tmp_path, {"a": 3})
    given.write()
    warehouse = open_store(spark, str(tmp_path))
    commit = CommitInfo("v", "ingest", "v", metadata={"vectors": True})
    warehouse.write(warehouse.read("images"), "images", commit)
    with pytest.raises(JobError, match="looks at pixels, and the table images was made of vec"):
        given.job(describe.STAGE, *FLAGS)


def test_prune_asks_for_the_stage(pictured: GivenPictures) -> None:
    with pytest.raises(JobError, match=r"run .*describe first"):
        pictured.job(prune.STAGE, *FLAGS)
