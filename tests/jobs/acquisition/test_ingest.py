"""What a second run of `ingest` reads again, keeps, and reports as vanished."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.errors import SettingsError
from jobs.runtime.run import Run
from tests.support.hostile_files import REJECTED, hostile, write
from tests.support.pictures import encoded, picture
from tests.support.session import settings_for
from udfs.acquisition import decode as definition

Ingest = Callable[..., Run]


def test_rejected_files_are_read_again_only_if_they_changed(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    root = write(tmp_path / "images", hostile())
    first = run_ingest(root)
    (root / "bad/empty.jpg").write_bytes(hostile()["good/photo.JPG"])
    (root / "bad/text.jpg").unlink()
    again = run_ingest(root)
    assert "bad/empty.jpg" in {row.image_id for row in again.warehouse.read("images").collect()}
    codes = {row.image_id: row.error_code for row in again.warehouse.read("rejects").collect()}
    gone = {"bad/empty.jpg", "bad/text.jpg"}
    assert codes == {name: code for name, code in REJECTED.items() if name not in gone}
    assert first.run_id != again.run_id


def test_a_changed_column_type_is_refused(
    spark: SparkSession, run_ingest: Ingest, tmp_path: Path
) -> None:
    data = encoded(Image.fromarray(picture(8)), "PNG")
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    for name, value in (("one", 1), ("two", "1")):
        frame = spark.createDataFrame(
            [("a", "cat", data, value)], ["id", "label", "image", "score"]
        )
        frame.write.parquet(str(tmp_path / name))
    run_ingest(tmp_path / "one", *flags)
    with pytest.raises(SettingsError, match=r"'score' is string, but bigint in the table images"):
        run_ingest(tmp_path / "two", *flags)


def test_images_of_an_earlier_version_get_the_hash_of_their_pixels(
    run_ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files are read once more; latents that were made of the same pixels stay valid."""
    names = ["cat/1.png", "cat/2.png"]
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in (6, 7)]
    root = write(tmp_path / "images", dict(zip(names, data, strict=True)))
    with monkeypatch.context() as earlier:
        earlier.setattr(ingest, "VERSION", 1)
        first = run_ingest(root)
    rows = first.warehouse.read("images").drop("pixels_sha256")
    folder = first.warehouse.path("images")
    before = first.warehouse.newest("images", "ingest")
    assert before is not None
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").option(
        "userMetadata", before.json()
    ).save(folder)
    run = run_ingest(root)
    after = run.warehouse.newest("images", "ingest")
    assert after is not None
    assert after.metadata["pixels"] == before.metadata["pixels"]
    assert {row.image_id: row.pixels_sha256 for row in run.warehouse.read("images").collect()} == {
        name: definition.decode(content, max_pixels=10**6, tile=None, stride=None)[0].pixels_sha256
        for name, content in zip(names, data, strict=True)
    }


def test_a_row_without_a_class_does_not_replace_another_with_its_id(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    small, large = sorted(
        (encoded(Image.fromarray(picture(seed)), "PNG") for seed in (6, 7)), key=definition.sha256
    )
    table = pa.table({"id": ["1", "1"], "label": [None, "cat"], "image": [small, large]})
    (tmp_path / "t").mkdir()
    pq.write_table(table, tmp_path / "t/a.parquet")
    run = run_ingest(tmp_path / "t", "ingest.source=parquet", "ingest.id_column=id")
    assert [row.sha256 for row in run.warehouse.read("images").collect()] == [
        definition.sha256(large)
    ]
    assert [row.error_code for row in run.warehouse.read("rejects").collect()] == ["missing_label"]


def test_vanished_files_are_reported_even_if_all_files_are_read_again(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    data = encoded(Image.fromarray(picture(5)), "PNG")
    names = ["cat/1.png", "cat/2.png", "cat/3.png"]
    root = write(tmp_path / "images", dict.fromkeys(names, data))
    run_ingest(root)
    (root / "cat/1.png").unlink()
    run_ingest(root, "ingest.max_pixels=1000000")
    (root / "cat/2.png").unlink()
    run = run_ingest(root, "ingest.max_pixels=1000001")
    rejects = run.warehouse.read("rejects").orderBy("image_id").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [
        ("cat/1.png", "vanished"),
        ("cat/2.png", "vanished"),
    ]
    write(root, {"cat/1.png": data})
    run = run_ingest(root, "ingest.max_pixels=1000001")
    rejects = run.warehouse.read("rejects").collect()
    assert [row.image_id for row in rejects] == ["cat/2.png"]
    assert run.warehouse.read("images").count() == 2


def test_what_a_stopped_run_had_left_out_is_still_reported_as_vanished(
    run_ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops after the rows of a changed file have left `images`; then the file goes, too."""
    data = encoded(Image.fromarray(picture(5)), "PNG")
    root = write(tmp_path / "images", dict.fromkeys(["cat/1.png", "cat/2.png"], data))
    run_ingest(root)
    os.utime(root / "cat/2.png", (1, 1))

    def stops(*arguments: object) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "decoded", stops)
        with pytest.raises(RuntimeError, match="stopped"):
            run_ingest(root)
    (root / "cat/2.png").unlink()
    run = run_ingest(root)
    assert [row.image_id for row in run.warehouse.read("images").collect()] == ["cat/1.png"]
    (row,) = run.warehouse.read("rejects").collect()
    assert (row.image_id, row.error_code) == ("cat/2.png", "vanished")


def test_a_warehouse_inside_the_folder_of_images_is_not_read_as_images(
    spark: SparkSession, tmp_path: Path
) -> None:
    write(tmp_path, {"cat/1.png": encoded(Image.fromarray(picture(5)), "PNG")})
    for _ in range(2):
        run = Run(spark, settings_for(tmp_path, tmp_path / "build/warehouse"), "ingest")
        run.close_stale()
        run.execute(ingest.STAGE)
        run.close()
        assert run.warehouse.read("images").count() == 1
        assert run.warehouse.read("rejects").count() == 0
    states = [row.state for row in run.warehouse.read("runs").orderBy("started").collect()]
    assert states == ["done", "skipped"]


def test_a_limit_that_changes_concerns_the_files_beyond_it_alone(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    """The others are not read again, although the stage runs."""
    small, large = (encoded(Image.fromarray(picture(6, side)), "PNG") for side in (64, 128))
    root = write(tmp_path / "images", {"cat/small.png": small, "cat/large.png": large})
    assert images_of(run_ingest(root)) == {"cat/small.png", "cat/large.png"}
    state = (root / "cat/small.png").stat()
    (root / "cat/small.png").write_bytes(bytes(len(small)))  # an image no longer, if it is read
    os.utime(root / "cat/small.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    run = run_ingest(root, f"ingest.max_bytes={len(small)}")
    assert images_of(run) == {"cat/small.png"}
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("cat/large.png", "too_large")]
    run = run_ingest(root, f"ingest.max_bytes={len(large)}")
    assert images_of(run) == {"cat/small.png", "cat/large.png"}
    assert run.warehouse.read("rejects").count() == 0


def images_of(run: Run) -> set[str]:
    return {row.image_id for row in run.warehouse.read("images").collect()}


def test_levels_are_counted_and_flat_images_are_told(
    run_ingest: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = np.repeat(np.arange(8, dtype=np.uint8) * 30, 8)[:, None, None]
    pictures = {
        "a/black.png": np.zeros((50, 70, 3), np.uint8),
        "a/grey.png": np.full((64, 64, 3), 128, np.uint8),
        "a/seven.png": np.broadcast_to(bars % 210, (64, 64, 3)),
        "a/eight.png": np.broadcast_to(bars, (64, 64, 3)),
        "a/picture.png": picture(1),
    }
    files = {name: encoded(Image.fromarray(pixels), "PNG") for name, pixels in pictures.items()}
    run = run_ingest(write(tmp_path / "images", files))
    rows = run.warehouse.query("images", "SELECT image_id, levels, pixels FROM rows")
    assert {row["image_id"]: row["levels"] for row in rows} == {
        row["image_id"]: len(set(row["pixels"])) for row in rows
    }
    found = {row["image_id"]: row["levels"] for row in rows}
    assert (found["a/black.png"], found["a/grey.png"]) == (1, 1)
    assert (found["a/seven.png"], found["a/eight.png"]) == (7, 8)
    said = capsys.readouterr()
    assert "3 images show one colour or next to nothing" in said.out + said.err
