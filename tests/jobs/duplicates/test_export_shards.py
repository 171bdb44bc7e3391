"""Shards hold the very files, whoever writes them, and only what changed is written again."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from jobs.duplicates import export_shards
from jobs.errors import JobError, SettingsError
from jobs.warehouse import store as stores
from jobs.warehouse.store import open_store
from tests.support.deep_pictures import expected, scene, tiff, whole_numbers
from tests.support.exports import (
    SHARD_BYTES,
    Published,
    Sample,
    files,
    hashes,
    index,
    noise,
    samples,
)
from tests.support.pictures import encoded

pytestmark = pytest.mark.spark


def test_shards_hold_the_files_with_what_is_told_of_them(own: Published) -> None:
    given = files()
    own.publish(weights={"cat/000.png": 4})
    folder = own.shards()
    told = index(folder)
    found: dict[tuple[str, str], Sample] = {}
    for shard in told["shards"]:
        path = folder / shard["file"]
        content = samples(path)
        assert list(content) == sorted(content)
        assert shard["images"] == len(content)
        assert shard["bytes"] == path.stat().st_size <= SHARD_BYTES
        assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        found |= {(key, sample.told["image_id"]): sample for key, sample in content.items()}
    assert sorted(name for _, name in found) == sorted(given)
    assert told["classes"] == ["cat", "dog"]
    for (key, name), sample in found.items():
        assert key == hashlib.sha256(name.encode()).hexdigest()[:32]
        assert sample.data == given[name]
        label, ending = name[:3], name[-3:]
        assert sample.keys() == {ending, "json", "cls"}
        assert sample["cls"].decode() == str(told["classes"].index(label))
        size = 4 if name == "cat/000.png" else 1
        assert sample.told == {
            "image_id": name,
            "label": label,
            "split": "all",
            "weight": 1 / size,
            "group_size": size,
            "width": 64,
            "height": 64,
            "sha256": hashlib.sha256(given[name]).hexdigest(),
        }
    # Numbered without a gap, so that a pattern such as all-{000000..000009}.tar names them all.
    assert sorted(hashes(folder)) == [f"all-{n:06}.tar" for n in range(len(told["shards"]))]
    assert told["splits"] == {
        "all": {
            "shards": len(told["shards"]),
            "images": len(given),
            "bytes": sum(path.stat().st_size for path in folder.glob("*.tar")),
        }
    }
    # Shards are mixtures of the classes.
    assert len(told["shards"]) > 4
    classes = [
        {sample.told["label"] for sample in samples(folder / shard["file"]).values()}
        for shard in told["shards"]
    ]
    assert sum(len(labels) == 2 for labels in classes) > len(classes) / 2


@pytest.mark.whole
def test_the_shards_are_the_same_whoever_writes_them(
    own: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks on a mounted folder, and the driver where only Spark reaches the warehouse."""
    by_tasks = hashes(own.shards())
    monkeypatch.setenv(stores.FORCED, "spark")
    # Several partitions for each bucket, as where shards are large.
    monkeypatch.setattr(export_shards, "SENT_BYTES", 16_384)
    folder = tmp_path / "elsewhere"
    shutil.copytree(own.warehouse, folder, ignore=shutil.ignore_patterns("export"))
    other = Published(own.spark, own.images, folder)
    assert hashes(other.shards()) == by_tasks
    own.spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        assert hashes(other.shards("publish.export_folder=" + str(tmp_path / "x"))) == by_tasks
    finally:
        own.spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert hashes(tmp_path / "x/webdataset") == by_tasks


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Which files lie in a folder, and when each was written."""
    states = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


@pytest.mark.whole
def test_what_did_not_change_is_not_written_again(spark: SparkSession, tmp_path: Path) -> None:
    given = files()
    own = Published.of_files(spark, tmp_path, given)
    folder = own.shards()
    before = identities(folder)
    own.shards()
    assert own.states() == ["done", "skipped"]
    assert identities(folder) == before
    first = index(folder)
    (own.images / "cat/new.png").write_bytes(encoded(noise(99), "PNG"))
    own.publish()
    own.shards()
    told = index(folder)
    contents = {shard["content"] for shard in first["shards"]}
    same = [shard for shard in told["shards"] if shard["content"] in contents]
    assert len(told["shards"]) - 2 <= len(same) < len(told["shards"])
    inodes = {inode for inode, _ in before.values()}
    assert all((folder / shard["file"]).stat().st_ino in inodes for shard in same)
    names = [s.told["image_id"] for path in folder.glob("*.tar") for s in samples(path).values()]
    assert sorted(names) == sorted([*given, "cat/new.png"])
    # A shard that somebody deleted is made again.
    (folder / told["shards"][0]["file"]).unlink()
    own.shards()
    assert own.states()[-1] == "done"
    assert index(folder)["shards"] == told["shards"]
    # So is a smaller set, of which nothing is left over.
    (own.images / "cat/new.png").unlink()
    own.publish()
    assert hashes(own.shards()) == {shard["file"]: shard["sha256"] for shard in first["shards"]}


def test_splits_have_shards_of_their_own(own: Published) -> None:
    given = files()
    own.publish()
    own.split({name: ("train", "a/b")[number % 4 == 0] for number, name in enumerate(given)})
    folder = own.shards()
    told = index(folder)
    assert {name: split["images"] for name, split in told["splits"].items()} == {
        "a/b": 10,
        "train": 30,
    }
    for shard in told["shards"]:
        assert shard["file"].startswith({"a/b": "a%2Fb-", "train": "train-"}[shard["split"]])
        content = samples(folder / shard["file"]).values()
        assert {sample.told["split"] for sample in content} == {shard["split"]}
    # Where none are wanted publish empties the table.
    own.publish()
    own.split({})
    with pytest.raises(JobError, match=r"publish\.split: the table splits is empty: run"):
        own.shards("publish.split=['train:0.5', 'test:0.5']")
    assert list(index(own.shards())["splits"]) == ["all"]


def test_a_large_image_makes_a_shard_of_its_own(spark: SparkSession, tmp_path: Path) -> None:
    given = files(6) | {"cat/large.png": encoded(noise(7, 200), "PNG")}
    folder = Published.of_files(spark, tmp_path, given).shards()
    alone = [shard for shard in index(folder)["shards"] if shard["bytes"] > SHARD_BYTES]
    (sample,) = samples(folder / alone[0]["file"]).values()
    assert [shard["images"] for shard in alone] == [1]
    assert sample.data == given["cat/large.png"]


def test_tiles_are_cut_out_of_their_frames(spark: SparkSession, tmp_path: Path) -> None:
    """As PNGs in full size, which show what the images show, turned as EXIF says."""
    frame, exif = noise(3, 150).crop((0, 0, 150, 100)), Image.Exif()
    exif[0x0112] = 6
    given = {
        "cat/frame.png": encoded(frame, "PNG"),
        "cat/turned.png": encoded(frame, "PNG", exif=exif),
    }
    flags = ("ingest.tile=50", "ingest.stride=25")
    own = Published.of_files(spark, tmp_path, given, *flags)
    folder = own.shards()
    turned = frame.rotate(-90, expand=True)
    found = {}
    for path in sorted(folder.glob("*.tar")):
        content = samples(path)
        assert list(content) == sorted(content)
        for key, sample in content.items():
            name, corner = sample.told["image_id"].split("#")
            x, y = map(int, corner.split(","))
            assert key == f"{hashlib.sha256(name.encode()).hexdigest()[:32]}-{x}-{y}"
            whole = frame if name == "cat/frame.png" else turned
            image = Image.open(io.BytesIO(sample["png"]))
            assert image.tobytes() == whole.crop((x, y, x + 50, y + 50)).tobytes()
            found[sample.told["image_id"]] = sample
    rows = open_store(spark, str(own.warehouse)).query("curated", "SELECT image_id FROM rows")
    assert found.keys() == {row["image_id"] for row in rows}
    assert len(found) == 2 * 5 * 3


def test_tiles_of_more_than_8_bits_show_what_was_compared(
    spark: SparkSession, tmp_path: Path
) -> None:
    """With the range of values and the bands of ingest, and anew where these change."""
    values = whole_numbers(np.stack([scene(n, side=64) for n in range(4)], axis=2), 4095)
    flags = ("ingest.tile=32", "ingest.bands=[4, 2, 1]")
    own = Published.of_files(spark, tmp_path, {"cat/frame.tif": tiff(values)}, *flags)
    shown = expected(values[..., [3, 1, 0]], 0, 4095)
    assert tiles(own.shards()) == {f"{x},{y}": cut(shown, x, y) for x in (0, 32) for y in (0, 32)}
    own.flags = (*own.flags, "ingest.range=[0, 1000]")
    own.publish()
    shown = expected(values[..., [3, 1, 0]], 0, 1000)
    assert tiles(own.shards()) == {f"{x},{y}": cut(shown, x, y) for x in (0, 32) for y in (0, 32)}


def cut(pixels: NDArray[np.uint8], x: int, y: int) -> bytes:
    return pixels[y : y + 32, x : x + 32].tobytes()


def tiles(folder: Path) -> dict[str, bytes]:
    """The pixels of all tiles by their corner."""
    return {
        sample.told["image_id"].partition("#")[2]: Image.open(io.BytesIO(sample.data)).tobytes()
        for path in folder.glob("*.tar")
        for sample in samples(path).values()
    }


def table(folder: Path, given: dict[str, bytes], columns: dict[str, list[object]]) -> Path:
    folder.mkdir(parents=True)
    rows = {"label": [name[:3] for name in given], "id": [f"i.{name}" for name in given]}
    pq.write_table(pa.table(rows | columns), folder / "a.parquet")
    return folder


IN_TABLE = ("ingest.source=parquet", "ingest.id_column=id", "ingest.image_column=image")


@pytest.mark.parametrize("tile", [0, 32])
def test_bytes_of_a_table_are_read_from_it(spark: SparkSession, tmp_path: Path, tile: int) -> None:
    given = files(8)
    root = table(tmp_path / "t", given, {"image": list(given.values())})
    tiled = (f"ingest.tile={tile}",) if tile else ()
    own = Published(spark, root, tmp_path / "w", *IN_TABLE, *tiled)
    own.publish()
    own.with_images = False
    with pytest.raises(JobError, match="its bytes are in the table that it came from: give"):
        own.shards()
    own.with_images = True
    found = {
        sample.told["image_id"]: sample.data
        for path in own.shards().glob("*.tar")
        for sample in samples(path).values()
    }
    if tile:
        assert len(found) == 4 * len(given)
        left = Image.open(io.BytesIO(given["cat/000.png"])).crop((32, 0, 64, 32))
        assert Image.open(io.BytesIO(found["i.cat/000.png#32,0"])).tobytes() == left.tobytes()
    else:
        assert found == {f"i.{name}": data for name, data in given.items()}
    own.publish()  # a new version of curated
    other = table(tmp_path / "other", given, {"image": list(given.values())})
    own.images = other
    with pytest.raises(JobError, match="the images were ingested from"):
        own.shards("publish.shard_bytes=100000")


def test_images_beside_vectors_are_exported(spark: SparkSession, tmp_path: Path) -> None:
    """Their sha256 is that of the vector; paths must still lead below the table's folder."""
    given = files(8)
    outside = tmp_path / "outside.png"
    outside.write_bytes(given["cat/000.png"])
    for name, data in given.items():
        path = tmp_path / "t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    vectors = [[float(number), 1.0] for number in range(8)]
    rows = {"label": [n[:3] for n in given], "id": list(given), "image": list(given), "v": vectors}
    pq.write_table(pa.table(rows), tmp_path / "t/a.parquet")
    own = Published(spark, tmp_path / "t", tmp_path / "w", *IN_TABLE, "ingest.vector_column=v")
    own.publish()
    folder = own.shards()
    found = [sample for path in folder.glob("*.tar") for sample in samples(path).values()]
    assert {sample.told["image_id"]: sample.data for sample in found} == given
    (tmp_path / "t/cat/000.png").unlink()
    (tmp_path / "t/cat/000.png").symlink_to(outside)
    with pytest.raises(JobError, match="leads out of the table's folder"):
        own.shards("publish.shard_bytes=70000")


def test_vectors_alone_cannot_be_exported(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    rows = {"label": ["a", "b"], "id": ["1", "2"], "v": [[1.0, 2.0], [2.0, 1.0]]}
    pq.write_table(pa.table(rows), tmp_path / "t/a.parquet")
    flags = ("ingest.source=parquet", "ingest.id_column=id", "ingest.vector_column=v")
    own = Published(spark, tmp_path / "t", tmp_path / "w", *flags)
    own.publish()
    with pytest.raises(SettingsError, match=r"publish\.export: writes images, and with"):
        own.shards()
    own.with_images, own.flags = False, own.flags[:1]
    with pytest.raises(JobError, match="holds vectors without images"):
        own.shards()


def test_a_file_that_changed_stops_the_export_and_the_old_one_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    given = files(8)
    own = Published.of_files(spark, tmp_path, given)
    before = hashes(own.shards())
    own.publish()
    (own.images / "cat/000.png").write_bytes(given["cat/002.png"])
    with pytest.raises(JobError, match=r"cat/000\.png: its file changed since it was read: run"):
        own.shards("publish.shard_bytes=70000")
    (own.images / "cat/000.png").unlink()
    with pytest.raises(JobError, match=r"cat/000\.png cannot be read \(No such file"):
        own.shards("publish.shard_bytes=70000")
    folder = own.warehouse / "export/webdataset"
    assert hashes(folder) == before
    (own.images / "cat/000.png").write_bytes(given["cat/000.png"])
    own.publish()
    own.shards("publish.shard_bytes=70000")
    assert [path.name for path in folder.parent.iterdir()] == ["webdataset"]
