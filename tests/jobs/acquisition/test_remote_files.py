"""Images that lie in HDFS: folders, tables of paths, and files that cannot be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.warehouse.hadoop import HadoopFileSystem
from tests.support.hostile_files import write
from tests.support.pictures import encoded, picture

pytestmark = [pytest.mark.cluster, pytest.mark.spark]
Ingest = Callable[..., Run]
NAMES = (
    "cat/plain.png", "cat/_under score.png", "_dogs/ü#1?.png", "_dogs/g[1]*{2}.png",
    "_dogs/100%/%41.png", "bird/deep/er/x.png",
)  # fmt: skip


def rows_of(run: Run, table: str) -> list[tuple[object, ...]]:
    """The rows of `images` or `rejects`, less where and when."""
    frame = run.warehouse.read(table)
    names = [name for name in frame.columns if name not in ("path", "modified_at", "error_message")]
    return sorted(tuple(row) for row in frame.select(names).collect())


def put(spark: SparkSession, uri: str, files: dict[str, bytes]) -> str:
    system = HadoopFileSystem(spark, uri)
    for name, data in files.items():
        system.write(f"{uri}/{name}", data)
    return uri


def test_a_folder_is_read_as_a_mounted_one(
    spark: SparkSession, run_ingest: Ingest, remote: str, tmp_path: Path
) -> None:
    files = {
        name: encoded(Image.fromarray(picture(seed)), "PNG") for seed, name in enumerate(NAMES)
    }
    files |= {"cat/broken.jpg": b"no", "cat/empty.png": b"", "lost.png": b"", "cat/.dot": b""}
    mounted = run_ingest(write(tmp_path / "mounted", files))
    images, rejects = rows_of(mounted, "images"), rows_of(mounted, "rejects")
    shutil.rmtree(tmp_path / "warehouse")
    run = run_ingest(put(spark, remote, files))
    assert rows_of(run, "images") == images
    assert rows_of(run, "rejects") == rejects
    assert len(images) == len(NAMES)
    paths = {row.path for row in run.warehouse.read("images").select("path").collect()}
    assert paths == {f"{remote}/{name}" for name in NAMES}


def test_only_new_and_changed_files_are_read_again(
    spark: SparkSession, run_ingest: Ingest, remote: str
) -> None:
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(4)]
    put(spark, remote, {"a/0.png": data[0], "a/1.png": data[1], "b/2.png": data[2]})
    first = run_ingest(remote)
    before = {row.image_id: row for row in first.warehouse.read("images").collect()}
    put(spark, remote, {"a/1.png": data[3], "b/3.png": data[3]})
    HadoopFileSystem(spark, remote).delete(f"{remote}/b/2.png")
    run = run_ingest(remote)
    after = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert after.keys() == {"a/0.png", "a/1.png", "b/3.png"}
    assert after["a/0.png"] == before["a/0.png"]
    assert after["a/1.png"].sha256 == after["b/3.png"].sha256 != before["a/1.png"].sha256
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("b/2.png", "vanished")]


def test_a_table_names_files_beside_it_and_elsewhere(
    spark: SparkSession, run_ingest: Ingest, remote: str, tmp_path: Path
) -> None:
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(3)]
    (tmp_path / "mounted.png").write_bytes(data[2])
    paths = {
        "beside": "sub/0.png",
        "dotted": "./sub/../sub/0.png",
        "elsewhere": f"{remote}/other/1.png",
        "short": f"{remote}/t/./1.png",
        "mounted": str(tmp_path / "mounted.png"),
        "gone": "sub/gone.png",
    }
    table = pa.table({"id": list(paths), "image": list(paths.values()), "label": ["cat"] * 6})
    pq.write_table(table, tmp_path / "a.parquet")
    files = {"t/sub/0.png": data[0], "other/1.png": data[1], "t/1.png": data[1]}
    files["t/a.parquet"] = (tmp_path / "a.parquet").read_bytes()
    put(spark, remote, files)
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    run = run_ingest(f"{remote}/t/a.parquet", *flags)
    outside = run.warehouse.read("rejects").where("error_code = 'outside'").collect()
    assert {(row.image_id, row.size_bytes) for row in outside} == {
        ("elsewhere", None),
        ("mounted", None),
    }
    allowed = f'ingest.allow_paths=["{remote}/other", "{tmp_path}"]'
    run = run_ingest(f"{remote}/t/a.parquet", *flags, allowed)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert rows.keys() == {"beside", "dotted", "elsewhere", "short", "mounted"}
    assert rows["dotted"].path == f"{remote}/t/sub/0.png"
    assert run.warehouse.read("images").count() == 5
    assert rows["beside"].path == f"{remote}/t/sub/0.png"
    sizes = [rows[name].size_bytes for name in ("beside", "elsewhere", "mounted")]
    assert sizes == [len(each) for each in data]
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("gone", "unreachable")]


def test_what_is_not_there_is_refused_with_advice(run_ingest: Ingest, remote: str) -> None:
    with pytest.raises(JobError, match="there is no such file or folder"):
        run_ingest(f"{remote}/nowhere")
    with pytest.raises(JobError, match="No FileSystem for scheme"):
        run_ingest("nosuch://host/images")
