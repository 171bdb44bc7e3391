"""Images from folders by split and class, and from tables of paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
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
