"""Images from folders by split and class, and from tables of paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import listing, sources
from jobs.errors import JobError, SettingsError
from jobs.paths import mounted
from jobs.runtime.run import Run
from tests.support.deep_pictures import png, scene, whole_numbers
from tests.support.hostile_files import write
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode as definition

Ingest = Callable[..., Run]


def test_splits_are_the_upper_folders(run_ingest: Ingest, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(picture(5)), "PNG")
    names = ["train/cat/1.png", "test/cat/deep/1.png", "train/dog/1.png", "test/lost.png"]
    run = run_ingest(
        write(tmp_path / "images", dict.fromkeys(names, data)), "ingest.layout=split/label"
    )
    rows = run.warehouse.read("images").orderBy("image_id").collect()
    assert [(row.image_id, row.split, row.label) for row in rows] == [
        ("test/cat/deep/1.png", "test", "cat"),
        ("train/cat/1.png", "train", "cat"),
        ("train/dog/1.png", "train", "dog"),
    ]
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [
        ("test/lost.png", "missing_label")
    ]


def test_a_wrong_path_is_refused_with_advice(run_ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        run_ingest(tmp_path / "nowhere")
    with pytest.raises(JobError, match="no files in folders by class"):
        run_ingest(write(tmp_path / "flat", {"a.jpg": b""}))
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "t/a.parquet")
    with pytest.raises(SettingsError, match="the table has no such column; it has"):
        run_ingest(tmp_path / "t", "ingest.source=parquet")


def test_a_table_of_paths_is_read_again_where_files_changed(
    spark: SparkSession, run_ingest: Ingest, tmp_path: Path
) -> None:
    """Size and time come from the files; a changed file is read again, a lost row is reported."""
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in (1, 2, 3)]
    root = write(tmp_path / "t", {"sub/0.png": data[0], "1.png": data[1]})

    def save(*rows: tuple[str, str]) -> None:
        table = pa.table({"id": [name for name, _ in rows], "image": [path for _, path in rows]})
        pq.write_table(table.append_column("label", [["cat"] * len(rows)]), root / "a.parquet")

    save(("relative", "sub/0.png"), ("absolute", f"file:{root}/1.png"))
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    run_ingest(root / "a.parquet", *flags)
    (root / "sub/0.png").write_bytes(data[2])
    run = run_ingest(root / "a.parquet", *flags)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert rows["relative"].sha256 == definition.sha256(data[2])
    assert rows["relative"].path == str(root / "sub/0.png")
    assert rows["absolute"].size_bytes == len(data[1])
    assert rows["absolute"].modified_at is not None

    save(("absolute", f"file:{root}/1.png"))
    run = run_ingest(root / "a.parquet", *flags)
    assert run.warehouse.read("images").count() == 1
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("relative", "vanished")]


def test_a_table_names_no_files_outside_of_its_folder_unless_they_are_allowed(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    data = encoded(Image.fromarray(picture(5)), "PNG")
    write(tmp_path, {"t/in.png": data, "secret/badge.png": data})
    (tmp_path / "t/link.png").symlink_to(tmp_path / "secret/badge.png")
    paths = {
        "in": "in.png",
        "up": "../secret/badge.png",
        "link": "link.png",
        "absolute": str(tmp_path / "secret/badge.png"),
        "uri": f"file://{tmp_path}/secret/badge.png",
        "http": "http://127.0.0.1:9/x.png?token=1",
    }
    table = {"id": list(paths), "image": list(paths.values()), "label": ["cat"] * len(paths)}
    pq.write_table(pa.table(table), tmp_path / "t/a.parquet")
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    run = run_ingest(tmp_path / "t/a.parquet", *flags)
    assert [row.image_id for row in run.warehouse.read("images").collect()] == ["in"]
    rejects = run.warehouse.read("rejects").collect()
    assert {row.error_code for row in rejects} == {"outside"}
    assert {row.image_id for row in rejects} == paths.keys() - {"in"}
    assert {row.size_bytes for row in rejects} == {None}
    allowed = f'ingest.allow_paths=["{tmp_path}/secret"]'
    run = run_ingest(tmp_path / "t/a.parquet", *flags, allowed)
    images = {row.image_id for row in run.warehouse.read("images").collect()}
    assert images == paths.keys() - {"http"}


def test_names_that_are_no_utf_8_stay_apart(run_ingest: Ingest, tmp_path: Path) -> None:
    images = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(3)]
    names = [os.fsdecode(b"cat/\xff.png"), os.fsdecode(b"cat/\xfe.png"), "cat/\ufffd.png"]
    root = write(tmp_path / "images", dict(zip(names, images, strict=True)))
    run = run_ingest(root)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert rows.keys() == {"cat//%FF.png", "cat//%FE.png", "cat/\ufffd.png"}
    assert {row.sha256 for row in rows.values()} == {definition.sha256(each) for each in images}
    assert {row.label for row in rows.values()} == {"cat"}
    assert mounted(rows["cat//%FF.png"].path).read_bytes() == images[0]


def test_rows_without_image_or_class_are_told_as_such(run_ingest: Ingest, tmp_path: Path) -> None:
    """pandas writes NaN for a class that is missing among numbers."""
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(3)]
    rows = {"image": [*data, None], "label": [1.0, float("nan"), None, 1.0]}
    (tmp_path / "t").mkdir()
    table = pa.table({"image": pa.array(rows["image"], pa.binary()), "label": rows["label"]})
    pq.write_table(table, tmp_path / "t/a.parquet")
    run = run_ingest(tmp_path / "t", "ingest.source=parquet")
    assert [row.label for row in run.warehouse.read("images").collect()] == ["1.0"]
    rejects = run.warehouse.read("rejects").orderBy("error_code").collect()
    assert [row.error_code for row in rejects] == ["empty", "missing_label", "missing_label"]
    assert "the row has no image" in rejects[0].error_message
    assert all("it has no class" in row.error_message for row in rejects[1:])


def test_first_bytes_tell_that_no_picture_of_a_folder_is_deep(tmp_path: Path) -> None:
    """Where there might be one, Spark looks through all files for it."""

    def may_be_deep() -> bool:
        return sources._may_be_deep(list(listing.walk(str(tmp_path))))

    narrow = {
        f"town/{kind}.{kind}": encoded(Image.new("L", (9, 9)), kind)
        for kind in ("jpeg", "png", "tiff")
    }
    write(tmp_path, {**narrow, "town/empty.png": b""})
    assert not may_be_deep()
    write(tmp_path, {"town/deep.png": png(whole_numbers(scene(1), 4095))})
    assert may_be_deep()
