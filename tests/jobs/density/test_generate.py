"""New images: drawn, decoded, written to files, and listed with the nearest real image."""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.density import generate
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.store import open_store
from tests.support.session import settings_for
from tests.support.vectors import nearest_by_definition
from udfs.autoencoder import inference
from udfs.density import generation, histogram
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable


def test_unlike_labels_have_unlike_folders() -> None:
    names = {
        "field": "field",
        "Öde Fläche (2)": "Öde Fläche (2)",
        "a/b": "a%2Fb",
        "a%2Fb": "a%252Fb",
        "..": "%2E.",
        ".": "%2E",
        "v1.0": "v1.0",
        "n\n": "n%0A",
        "contact_sheet.png": "contact_sheet%2Epng",
    }
    assert {label: generate.folder_name(label) for label in names} == names
    long = ["x" * 300, "x" * 299 + "y", "😀" * 80, "ß" * 101]
    short = [generate.folder_name(label) for label in long]
    assert len(set(short)) == len(long)
    assert all(len(name.encode()) <= 255 for name in short)


def test_given_vectors_cannot_be_decoded() -> None:
    flags = ("ingest.vector_column=v", "ingest.source=parquet", "ingest.id_column=id")
    with pytest.raises(SettingsError, match=r"generate\.count: images are decoded by the model"):
        build({}, (*flags, "generate.count=2"))


@pytest.fixture(scope="module")
def warehouse(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("generate") / "w"
    shutil.copytree(finished.warehouse.root, place)
    return place


def generated(spark: SparkSession, finished: Run, warehouse: Path, *flags: str) -> Run:
    images = Path(finished.settings.images)
    run = Run(spark, settings_for(images, warehouse, *flags), "generate")
    try:
        run.execute(generate.STAGE)
    finally:
        run.close()
    return run


def files_of(warehouse: Path) -> dict[str, bytes]:
    folder = warehouse / generate.FOLDER
    return {str(path.relative_to(warehouse)): path.read_bytes() for path in folder.rglob("*.png")}


def test_generated_images_are_what_the_table_says(
    spark: SparkSession, finished: Run, warehouse: Path
) -> None:
    run = generated(spark, finished, warehouse, "generate.count=5", "generate.components=2")
    rows = run.warehouse.read("generated").collect()
    assert run.warehouse.read("generated").schema == tables.TABLES["generated"].schema
    numbers = itertools.product(("field", "town"), range(1, 6))
    assert [(row.label, row.number) for row in rows] == list(numbers)
    files = files_of(warehouse)
    assert files.keys() == {row.path for row in rows} | {f"{generate.FOLDER}/{generate.SHEET}"}
    model = next(warehouse.glob("models/*/weights.safetensors")).read_bytes()
    decode = inference.decoder(model, device="cpu", batch=8)
    for label in ("field", "town"):
        axes = run.warehouse.read("axes").where(f"label = '{label}'").orderBy("component").collect()
        cells = run.warehouse.read("density").where(f"label = '{label}' AND rule = 'none'")
        density = Separable(
            [
                Marginal(histogram.Histogram(row.origin, row.step, np.array(row.counts)))
                for row in cells.orderBy("component").collect()
            ]
        )
        real = run.warehouse.read("latents").where(f"label = '{label}'").collect()
        ids, matrix = [row.image_id for row in real], np.array([r.latent for r in real], np.float32)
        of_label = [row for row in rows if row.label == label]
        points = np.array([row.components for row in of_label])
        assert (points[:, :2] != 0).all()
        assert (points[:, 2] == 0).all()
        assert [row.log_density for row in of_label] == density.log_density(points).tolist()
        unit = np.array([axis.axis for axis in axes])
        latents = generation.latents(points, np.array(axes[0].mean), unit)
        for row, latent, pixels in zip(of_label, latents, decode(latents), strict=True):
            picture = np.asarray(Image.open(io.BytesIO(files[row.path])))
            assert np.array_equal(picture.ravel(), pixels)
            found = row.nearest_id, row.similarity
            assert found == nearest_by_definition(latent, ids, matrix)


def test_the_same_seed_gives_the_same_bytes(
    spark: SparkSession, finished: Run, warehouse: Path
) -> None:
    """A second run does nothing, a lost file is written again, another count removes files."""

    def version(*flags: str) -> int:
        generated(spark, finished, warehouse, *flags)
        return open_store(spark, str(warehouse)).version("generated")

    flags = ("generate.count=4", "generate.labels=town")
    first = version(*flags)
    before = files_of(warehouse)
    assert len(before) == 5
    assert version(*flags) == first
    (warehouse / generate.FOLDER / "town/003.png").unlink()
    assert version(*flags) == first + 1
    assert files_of(warehouse) == before
    version(*flags, "generate.seed=1")
    assert files_of(warehouse) != before
    version("generate.count=4")
    both = files_of(warehouse)
    assert len(both) == 9
    assert all(both[name] == before[name] for name in before if name.startswith("town"))


def test_generate_refuses_what_it_cannot_do(
    spark: SparkSession, finished: Run, warehouse: Path
) -> None:
    for flags, error, told in (
        ((), SettingsError, "set generate.count, such as 20"),
        (
            ("generate.count=1", "generate.labels=sea"),
            JobError,
            "no axes of sea: .* of field, town",
        ),
        (("generate.count=1", "train.epochs=3"), JobError, "no model of these settings"),
    ):
        with pytest.raises(error, match=told):
            generated(spark, finished, warehouse, *flags)
