"""Ranges of values are fitted once for each class, and later files are shown with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest, value_ranges
from jobs.acquisition.value_ranges import ValueRanges
from jobs.autoencoder import encode, train
from jobs.runtime.run import Run
from tests.support.deep_pictures import expected, png, scene, tiff, whole_numbers
from tests.support.hostile_files import write
from tests.support.pictures import encoded, picture
from tests.support.session import settings_for
from udfs.autoencoder import training, weights
from udfs.autoencoder.model import Autoencoder

SIDE = 64


def grey(seed: int) -> NDArray[np.float64]:
    return scene(seed, side=SIDE)


def ingested(
    spark: SparkSession, root: Path, warehouse: Path, *flags: str, **given: Any
) -> dict[str, Any]:
    """Run the stage; return the rows of `images` by id."""
    run = Run(spark, settings_for(root, warehouse, *flags, **given), "ingest")
    run.execute(ingest.STAGE)
    return {row["image_id"]: row for row in run.warehouse.query("images")}


def metadata(spark: SparkSession, root: Path, warehouse: Path) -> dict[str, Any]:
    commit = Run(spark, settings_for(root, warehouse), "ingest").warehouse.newest(
        "images", "ingest"
    )
    assert commit is not None
    return commit.metadata


def pixels(row: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(row["pixels"], np.uint8).reshape(SIDE, SIDE, 3)


def is_shown(row: dict[str, Any], values: NDArray[Any], low: float, high: float) -> bool:
    return (row["range_low"], row["range_high"]) == (low, high) and np.array_equal(
        pixels(row), expected(values, low, high)
    )


# The values of four pictures of each class, and the range that they are shown with.
CLASSES: dict[str, tuple[Callable[[int], NDArray[Any]], tuple[float, float]]] = {
    "10 bits": (lambda seed: whole_numbers(grey(seed), 1023), (0, 1023)),
    "12 bits": (lambda seed: whole_numbers(grey(seed), 4095), (0, 4095)),
    "16 bits": (lambda seed: whole_numbers(grey(seed), 65535), (0, 65535)),
    "heights": (lambda seed: (grey(seed) * 400 + 812 + seed).astype("f4"), (812, 1215)),
    "hounsfield": (lambda seed: whole_numbers(grey(seed), 3000).astype("i2") - 1000, (-1000, 2000)),
    "floats to 255": (lambda seed: (grey(seed) * 255).astype("f4"), (0, 255)),
}


def test_unlike_pictures_stay_unlike_whatever_their_values_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    content = {
        f"{label}/{seed}.tif": tiff(values(seed))
        for label, (values, _) in CLASSES.items()
        for seed in range(4)
    }
    eight = encoded(Image.fromarray(picture(1, SIDE)), "PNG")
    root = write(tmp_path / "images", content | {"8 bits/0.png": eight})
    rows = ingested(spark, root, tmp_path / "warehouse")
    assert len(rows) == len(content) + 1
    for label, (values, shown) in CLASSES.items():
        for seed in range(4):
            assert is_shown(rows[f"{label}/{seed}.tif"], values(seed), *shown)
    assert rows["8 bits/0.png"]["range_low"] is None
    recorded = ValueRanges.recorded(metadata(spark, root, tmp_path / "warehouse"))
    assert recorded is not None
    assert {label: next(iter(kinds.values())) for label, kinds in recorded.by_class.items()} == {
        label: shown for label, (_, shown) in CLASSES.items()
    }


@pytest.mark.whole
def test_later_files_are_shown_with_the_range_of_the_first_ones_until_it_is_fitted_anew(
    spark: SparkSession, tmp_path: Path
) -> None:
    first, later = (whole_numbers(grey(seed), most) for seed, most in ((1, 4095), (2, 16383)))
    root = write(tmp_path / "images", {"cat/1.png": png(first)})
    warehouse = tmp_path / "warehouse"
    before = ingested(spark, root, warehouse)["cat/1.png"]
    write(root, {"cat/2.png": png(later), "dog/3.png": png(later)})
    rows = ingested(spark, root, warehouse)
    assert is_shown(rows["cat/1.png"], first, 0, 4095)
    assert is_shown(rows["cat/2.png"], later, 0, 4095)
    assert is_shown(rows["dog/3.png"], later, 0, 16383)  # a class of its own
    assert rows["cat/1.png"]["pixels"] == before["pixels"]
    read = metadata(spark, root, warehouse)
    assert "content" not in read
    # Another way of cutting reads all files again; the ranges stay.
    tiles = ingested(spark, root, warehouse, "ingest.tile=32")
    assert {(row["label"], row["range_high"]) for row in tiles.values()} == {
        ("cat", 4095),
        ("dog", 16383),
    }
    overwrite = {"overwrite": ("ingest",), "stages": ("ingest",)}
    anew = ingested(spark, root, warehouse, **overwrite)
    assert is_shown(anew["cat/1.png"], first, 0, 16383)
    assert is_shown(anew["dog/3.png"], later, 0, 16383)
    fitted = metadata(spark, root, warehouse)
    assert fitted["pixels"] != read["pixels"]  # so that latents of the earlier pixels are not valid
    assert fitted["content"]
    again = ingested(spark, root, warehouse, **overwrite)
    assert again["cat/1.png"]["pixels"] == anew["cat/1.png"]["pixels"]
    assert metadata(spark, root, warehouse)["pixels"] == fitted["pixels"]


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("ingest.range=full", (0, 65535)),
        ("ingest.range=[100, 3000]", (100, 3000)),
        ("ingest.range=percentile:0,100", (7, 4095)),
    ],
)
def test_the_setting_decides(
    spark: SparkSession, tmp_path: Path, flag: str, shown: tuple[float, float]
) -> None:
    values = np.maximum(whole_numbers(grey(3), 4095), 7)
    root = write(tmp_path / "images", {"cat/1.png": png(values)})
    assert is_shown(ingested(spark, root, tmp_path / "w", flag)["cat/1.png"], values, *shown)


def test_pictures_of_8_bits_leave_what_was_computed_of_them_valid(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version recorded no ranges. Where there are deep pictures, they change."""
    eight = encoded(Image.fromarray(picture(1, SIDE)), "PNG")
    deep = png(whole_numbers(grey(1), 4095))
    for name, data, same in (("eight", eight, True), ("deep", deep, False)):
        root = write(tmp_path / name, {"cat/1.png": data})
        with monkeypatch.context() as earlier:
            earlier.setattr(ingest, "VERSION", 3)
            earlier.setattr(ValueRanges, "metadata", lambda self: {})
            ingested(spark, root, tmp_path / f"{name} w")
        before = metadata(spark, root, tmp_path / f"{name} w")
        ingested(spark, root, tmp_path / f"{name} w")
        after = metadata(spark, root, tmp_path / f"{name} w")
        assert (before["pixels"] == after["pixels"]) == same
        assert ("content" in after) != same


def table(folder: Path, rows: list[tuple[str, str, bytes]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("id", "label", "image")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "part.parquet")
    return folder


TABLE = ("ingest.source=parquet", "ingest.id_column=id")


def test_the_order_and_number_of_tasks_change_no_pixel(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only some files of a class are looked at."""
    monkeypatch.setattr(value_ranges, "FILES", 3)
    rows = [(f"{n}", "cat", tiff((grey(n) * 90 + 700 + 7 * n).astype("f4"))) for n in range(8)] + [
        ("x", "cat", b"no picture")
    ]
    one = table(tmp_path / "one", rows)
    other = table(tmp_path / "other", rows[::-1])
    found = [
        ingested(spark, root, tmp_path / f"w{n}", *TABLE, f"ingest.tasks={n}")
        for n, root in enumerate((one, other), 1)
    ]
    assert {name: row["pixels"] for name, row in found[0].items()} == {
        name: row["pixels"] for name, row in found[1].items()
    }
    (used,) = {(row["range_low"], row["range_high"]) for row in found[0].values()}
    ends = sorted([(700 + 7 * n, 790 + 7 * n) for n in range(8)])
    assert used[0] in [low for low, _ in ends]
    assert used[1] in [high for _, high in ends]
    assert used != (700, 839)  # three of eight files were looked at


def test_a_picture_that_gets_another_class_is_encoded_anew(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Its file is the same, and its pixels are not, since each class has a range of its own."""
    dim, bright = (png(whole_numbers(grey(seed), most)) for seed, most in ((1, 1023), (2, 65535)))
    colours = encoded(Image.fromarray(picture(1, SIDE)), "PNG")
    with training.reproducible(0):
        (tmp_path / "weights.safetensors").write_bytes(weights.weights_bytes(Autoencoder(False)))
    latents: list[dict[str, tuple[str, list[float]]]] = []
    for label in ("dim", "bright"):
        rows = [("moves", label, dim), ("dim", "dim", dim), ("bright", "bright", bright)]
        root = table(tmp_path / "t", [*rows, ("8 bits", label, colours)])
        os.utime(root / "part.parquet", (5, 5 + len(latents)))  # a change, whatever the clock says
        given = f"train.model={tmp_path / 'weights.safetensors'}"
        run = Run(spark, settings_for(root, tmp_path / "w", *TABLE, given), "pipeline")
        for stage in (ingest.STAGE, train.STAGE, encode.STAGE):
            run.execute(stage)
        run.close()
        read = run.warehouse.query("latents")
        latents.append({row["image_id"]: (row["label"], row["latent"]) for row in read})
    before, after = latents
    assert before["moves"] == ("dim", before["dim"][1])
    assert after["moves"][0] == "bright"
    assert after["moves"][1] != before["moves"][1]
    assert after["8 bits"] == ("bright", before["8 bits"][1])
    assert after["dim"] == before["dim"]
