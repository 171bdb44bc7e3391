"""New images: drawn from the class's density, decoded, and beside the real ones nearest to them."""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from jobs.density import generate
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.local_store import Warehouse
from tests.conftest import settings_for
from tests.support.vectors import nearest_by_definition
from udfs.autoencoder import inference
from udfs.density import generation, histogram, pca
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable
from udfs.report import charts
from udfs.vectors.cosine import Matrix


def cloud(n: int = 60, width: int = 12, middle: float = 5.0) -> Matrix:
    return np.random.default_rng(3).normal(middle, 1.0, (n, width)).astype(np.float32)


def model_of(projections: NDArray[np.float64]) -> Separable:
    return Separable(
        [
            Marginal(histogram.from_cells(np.floor(column / 0.5 + 0.5), np.ones(len(column)), 0.5))
            for column in projections.T
        ]
    )


@pytest.mark.parametrize("sampled", [1, 2, 3, 9])
def test_points_are_drawn_on_the_leading_axes_and_0_on_the_others(sampled: int) -> None:
    rows = cloud()
    model = model_of(pca.project(rows, pca.principal_axes(rows, 3)))
    points = generation.points(model, 400, sampled, generation.draw_of(1, "town"))
    assert points.shape == (400, 3)
    assert (points[:, sampled:] == 0).all()
    for axis, column in list(zip(model.marginals, points.T, strict=True))[:sampled]:
        assert np.isfinite(axis.log_density(column)).all()
        assert abs(column.mean() - axis.mean) < 5 * np.sqrt(axis.variance / 400)


def test_a_class_has_random_numbers_of_its_own() -> None:
    first = generation.draw_of(0, "ünits").random(4)
    assert np.array_equal(generation.draw_of(0, "ünits").random(4), first)
    for seed, label in ((1, "ünits"), (0, "units")):
        assert not np.array_equal(generation.draw_of(seed, label).random(4), first)


def test_latents_lie_where_they_were_drawn_unless_an_entry_is_set_to_0() -> None:
    rows = cloud()
    axes = pca.principal_axes(rows, 3)
    points = np.random.default_rng(4).normal(size=(50, 3))
    latents = generation.latents(points, axes.mean, axes.axes)
    assert latents.dtype == np.float32
    assert (latents > 0).all()
    assert np.allclose(pca.project(latents, axes), points, atol=1e-5)
    near = cloud(middle=0.5)  # many entries would be below 0
    axes = pca.principal_axes(near, 3)
    latents = generation.latents(points, axes.mean, axes.axes)
    expected = np.array(
        [axes.mean + sum(c * a for c, a in zip(p, axes.axes, strict=True)) for p in points]
    )
    assert (expected < 0).any()
    assert np.allclose(latents, np.where(expected < 0, 0, expected), rtol=1e-6)


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


def test_a_sheet_shows_each_picture_in_the_row_of_its_class() -> None:
    rows = [
        ("sand", np.full((2, 64, 64, 3), (200, 150, 60), np.uint8)),
        ("поле $5 " + "x" * 90, np.full((3, 64, 64, 3), (10, 120, 30), np.uint8)),
    ]
    data = charts.contact_sheet(rows)
    assert data == charts.contact_sheet(rows)
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    step = 64 + charts.GAP
    assert sheet.shape[0] == charts.GAP + 2 * step
    for place, (_, pictures) in enumerate(rows):
        line = sheet[charts.GAP + place * step + 32]
        colour = (line == pictures[0, 0, 0]).all(axis=1)
        assert colour.sum() == 64 * len(pictures)
        assert (line[: np.flatnonzero(colour)[0]] < 128).any()  # the label's strokes


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for content in ("one", "two"):
        with generate.replaced(folder) as aside:
            (aside / content).touch()
        assert [path.name for path in folder.iterdir()] == [content]
    with pytest.raises(FileNotFoundError), generate.replaced(folder) as aside:
        (aside / "no folder/three").touch()
    assert [path.name for path in folder.iterdir()] == ["two"]
    with generate.replaced(folder):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_vectors_brought_along_cannot_be_decoded() -> None:
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


@pytest.mark.spark
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


@pytest.mark.spark
def test_the_same_seed_the_same_bytes(spark: SparkSession, finished: Run, warehouse: Path) -> None:
    """Nothing is done twice; a lost file comes back as it was, with another count none is left."""

    def version(*flags: str) -> int:
        generated(spark, finished, warehouse, *flags)
        return Warehouse(spark, str(warehouse)).version("generated")

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


@pytest.mark.spark
def test_what_generate_cannot_do(spark: SparkSession, finished: Run, warehouse: Path) -> None:
    for flags, error, told in (
        ((), SettingsError, "set generate.count, such as 20"),
        (
            ("generate.count=1", "generate.labels=sea"),
            JobError,
            "no axes of sea: .* of field, town",
        ),
        (("generate.count=1", "train.epochs=3"), JobError, "no model was trained with these"),
    ):
        with pytest.raises(error, match=told):
            generated(spark, finished, warehouse, *flags)
