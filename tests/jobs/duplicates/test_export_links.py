"""A folder of links to the images' files, and the list where there can be none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.duplicates.export_links import LIST, distinct_names
from jobs.errors import JobError
from jobs.warehouse import store as stores
from tests.support.exports import Published, files, index

pytestmark = pytest.mark.spark

# Names that are the same, or nearly so, and names with what loaders and shells take amiss.
ODD = (
    "cat/a/x.png", "cat/b/x.png", "cat/b/X.png", "cat/a b%#?.png", "cat/no",
    "c.a*t/ü😀.png", "CAT/x.PNG", "dog/-rf.jpg", "dog/" + "l" * 200 + ".jpg",
)  # fmt: skip


@pytest.fixture
def own(spark: SparkSession, tmp_path: Path) -> Published:
    data = list(files(len(ODD)).values())
    return Published.of_files(spark, tmp_path, dict(zip(ODD, data, strict=True)))


def linked(folder: Path) -> dict[str, os.stat_result]:
    return {
        path.relative_to(folder).as_posix(): path.stat()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (LIST, "index.json")
    }


def test_every_image_has_a_link_in_the_folder_of_its_split_and_class(own: Published) -> None:
    own.split({name: ("train", "te/st")[number % 2] for number, name in enumerate(ODD)})
    folder = own.links()
    links, listed = linked(folder), pl.read_parquet(folder / LIST)
    assert (
        listed["image_id"].to_list()
        == listed.sort("split", "label", "image_id")["image_id"].to_list()
    )
    assert sorted(listed["file"]) == sorted(links)
    assert sorted(listed["image_id"]) == sorted(ODD)
    for row in listed.iter_rows(named=True):
        number = ODD.index(row["image_id"])
        assert row["split"] == ("train", "te/st")[number % 2]
        assert row["path"] == str(own.images / row["image_id"])
        assert links[row["file"]].st_ino == Path(row["path"]).stat().st_ino
        assert (row["weight"], row["group_size"]) == (1.0, 1)
        split, label, name = row["file"].split("/")
        assert split == {"train": "train", "te/st": "te%2Fst"}[row["split"]]
        assert label.lower() == row["label"].replace("*", "%2A").lower() or "~" in label
        assert not name.startswith(".")
        assert Path(name).suffix == Path(row["image_id"]).suffix
    # No two differ in capitals alone, and the rest are called as they were.
    assert len({name.lower() for name in links}) == len(links)
    names = dict(zip(listed["image_id"], listed["file"], strict=True))
    assert names["dog/-rf.jpg"] == "te%2Fst/dog/-rf.jpg"
    assert names["cat/a b%#?.png"].endswith("/a b%25%23%3F.png")
    assert index(folder)["splits"] == {"te/st": 4, "train": 5}
    assert distinct_names(["Cat", "cat", "dog"])["dog"] == "dog"


def test_a_new_set_replaces_the_links(own: Published) -> None:
    first = linked(own.links())
    own.links()
    assert own.states() == ["done", "skipped"]
    (own.images / "dog/-rf.jpg").unlink()
    (own.images / "dog/new.jpg").write_bytes((own.images / "cat/no").read_bytes())
    own.publish()
    folder = own.links()
    assert set(linked(folder)) == set(first) - {"all/dog/-rf.jpg"} | {"all/dog/new.jpg"}
    # The images are as they were, whatever is deleted here.
    shutil.rmtree(folder)
    assert sum(path.is_file() for path in own.images.rglob("*")) == len(ODD)
    own.links()
    (folder / "all/dog/new.jpg").unlink()
    own.links()
    assert own.states()[-2:] == ["done", "done"]
    (folder / "all/dog/mine.jpg").write_bytes(b"mine")
    with pytest.raises(JobError, match=r"were not exported there: all/dog/mine\.jpg"):
        own.links()
    assert (folder / "all/dog/mine.jpg").exists()


def test_a_file_that_changed_stops_the_export(own: Published) -> None:
    (own.images / "cat/no").write_bytes(b"other")
    with pytest.raises(JobError, match=r"cat/no changed since it was read: run the pipeline"):
        own.links()
    (own.images / "cat/no").unlink()
    with pytest.raises(JobError, match=r"cat/no is gone or cannot be reached"):
        own.links()


@pytest.fixture
def other_system(tmp_path: Path) -> Iterator[Path]:
    """A folder in another file system than the tests' own."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def check_list(own: Published, folder: Path) -> None:
    """The list alone: it names the files where they are."""
    names = {path.name for path in folder.iterdir()}
    checksums = {f".{LIST}.crc", ".index.json.crc"}  # of Hadoop's local file system
    assert names - checksums == {LIST, "index.json"}
    listed = pl.read_parquet(folder / LIST)
    assert listed["file"].null_count() == len(ODD)
    assert sorted(listed["path"]) == sorted(str(own.images / name) for name in ODD)
    assert index(folder)["linked"] is False


def test_another_file_system_gets_the_list(
    own: Published, other_system: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"publish.export_folder={other_system}"
    own.links(flag)
    assert "no hard links to the images can be made" in capsys.readouterr().out
    check_list(own, other_system / "imagefolder")
    own.links(flag)
    assert own.states() == ["done", "skipped"]


@pytest.mark.whole
def test_where_the_driver_alone_writes_there_is_the_list(
    own: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stores.FORCED, "spark")
    check_list(own, own.links())
    own.publish()
    check_list(own, own.links())


def test_what_is_no_file_cannot_be_linked(spark: SparkSession, tmp_path: Path) -> None:
    own = Published.of_files(spark, tmp_path, files(4), "ingest.tile=32")
    own.with_images, own.flags = False, own.flags[:1]
    with pytest.raises(JobError, match=r"of the images 16 are tiles of frames: take webdataset"):
        own.links()
    given = files(4)
    rows = {"label": [name[:3] for name in given], "image": list(given.values())}
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "t/a.parquet")
    in_table = Published(spark, tmp_path / "t", tmp_path / "w", "ingest.source=parquet")
    in_table.publish()
    with pytest.raises(JobError, match="of the images 4 are bytes in a table"):
        in_table.links()
