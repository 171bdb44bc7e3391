"""An export is replaced as a whole, and nothing of others is ever deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.duplicates.export_folder import ExportFolder
from jobs.errors import JobError
from jobs.maintenance import leftovers
from jobs.warehouse.files import LocalFiles
from jobs.warehouse.store import open_store
from tests.support.exports import Published, files, hashes, index


def folder_of(root: Path, warehouse: str = "") -> ExportFolder:
    return ExportFolder(LocalFiles(root), "export/", "some", warehouse)


def made(folder: ExportFolder, *names: str, fingerprint: str = "mark") -> None:
    folder.begin()
    for name in names:
        folder.files.write(f"{folder.aside}/{name}", name.encode())
    folder.finish({"fingerprint": fingerprint})


def test_a_new_export_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert (folder.index(), folder.sizes()) == (None, {})
    folder.check_ours(None, {})
    made(folder, "a", "b/c")
    told = folder.index()
    assert told == {"fingerprint": "mark", "warehouse": ""}
    assert folder.sizes().keys() == {"a", "b/c", "index.json"}
    folder.check_ours(told, {"a": 1, "b/c": 3})
    made(folder, "d", fingerprint="other")
    assert folder.sizes().keys() == {"d", "index.json"}
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["some"]


def test_a_run_that_lost_the_warehouse_changes_nothing(tmp_path: Path) -> None:
    """Its lease was taken over while it exported to a folder outside of the warehouse."""
    made(folder_of(tmp_path), "a")

    def lost() -> None:
        raise JobError("another run took it over")

    late = replace(folder_of(tmp_path), check=lost)
    with pytest.raises(JobError, match="took it over"):
        late.begin()
    late.files.write(f"{late.aside}/b", b"b")
    with pytest.raises(JobError, match="took it over"):
        late.finish({"fingerprint": "late"})
    assert late.sizes().keys() == {"a", "index.json"}


def test_an_index_of_others_is_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for text in ("", "[1]", "{}", json.dumps({"mine": 1})):
        folder.files.write(folder.named("index.json"), text.encode())
        assert folder.index() is None
        with pytest.raises(JobError, match=r"that were not exported there: index\.json\. An exp"):
            folder.check_ours(None, {})


def test_many_files_of_others_are_named_shortly(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    made(folder, "a")
    for number in range(5):
        folder.files.write(folder.named(f"mine/.{number}"), b"")
    with pytest.raises(JobError, match=r"there: mine/\.0, mine/\.1, mine/\.2 and 2 more\. An"):
        folder.check_ours(folder.index(), {"a": 1})


def test_another_warehouse_has_another_export(tmp_path: Path) -> None:
    made(folder_of(tmp_path, "hdfs://host/w"), "a")
    folder = folder_of(tmp_path, "/w")
    with pytest.raises(JobError, match="is an export of another warehouse, hdfs://host/w: name"):
        folder.check_ours(folder.index(), {"a": 1})


def test_what_was_set_aside_is_put_back(tmp_path: Path) -> None:
    """As a run leaves it that died between two renames."""
    folder = folder_of(tmp_path)
    made(folder, "a")
    (tmp_path / "export/some").rename(tmp_path / "export/.some.old")
    folder.files.write(f"{folder.aside}/b", b"")
    folder.begin()
    assert folder.sizes().keys() == {"a", "index.json"}
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["some"]


@pytest.mark.spark
@pytest.mark.parametrize("moment", ["before the renames", "between them", "after them"])
def test_a_killed_run_leaves_a_whole_export_or_none(
    own: Published, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = own.shards()
    before = hashes(folder)
    own.publish(weights=dict.fromkeys(files(), 2))
    with monkeypatch.context() as patch:
        _stop(patch, moment)
        with pytest.raises(KeyboardInterrupt):
            own.shards()
    if moment == "between them":
        assert not folder.exists()
    else:
        listed = {shard["file"]: shard["sha256"] for shard in index(folder)["shards"]}
        assert hashes(folder) == listed
        assert (listed == before) == (moment == "before the renames")
    store = open_store(own.spark, str(own.warehouse))
    left = {f"export/{name}" for name in store.files.entries("export")} - {"export/webdataset"}
    assert set(leftovers.temporary(store)) == left != set()
    whole = index(folder)["run"] if moment == "after them" else ""
    own.shards()
    assert hashes(folder) != before
    if whole:  # there was nothing to do, and maintain deletes the old one
        assert index(folder)["run"] == whole
        assert leftovers.temporary(store) == ["export/.webdataset.old"]
    else:
        assert [path.name for path in folder.parent.iterdir()] == ["webdataset"]


def _stop(patch: pytest.MonkeyPatch, moment: str) -> None:
    """Stop the run at the first or second rename of the folder, or when it deletes the old one."""
    rename, delete = LocalFiles.rename, LocalFiles.delete
    folders = {"before the renames": ".old", "between them": "export/webdataset"}

    def stopping_rename(self: LocalFiles, old: str, new: str) -> None:
        if new.endswith(folders.get(moment, "nowhere")):
            raise KeyboardInterrupt
        rename(self, old, new)

    def stopping_delete(self: LocalFiles, name: str) -> None:
        if moment == "after them" and self.exists(name) and name.endswith(".old"):
            raise KeyboardInterrupt
        delete(self, name)

    patch.setattr(LocalFiles, "rename", stopping_rename)
    patch.setattr(LocalFiles, "delete", stopping_delete)


@pytest.mark.spark
def test_what_others_put_there_is_never_deleted(own: Published, tmp_path: Path) -> None:
    folder = own.shards()
    (folder / "notes").mkdir()
    (folder / "notes/mine.txt").write_text("mine")
    own.publish()
    with pytest.raises(JobError, match=r"that were not exported there: notes/mine\.txt\. An exp"):
        own.shards()
    assert (folder / "notes/mine.txt").read_text() == "mine"
    (folder / "notes/mine.txt").unlink()
    own.shards()
    taken = tmp_path / "taken/webdataset"
    taken.mkdir(parents=True)
    (taken / "index.json").write_text(json.dumps({"mine": 1}))
    elsewhere = f"publish.export_folder={taken.parent}"
    with pytest.raises(JobError, match=r"holds files that were not exported there: index\.json"):
        own.shards(elsewhere)
    (taken / "index.json").unlink()
    own.shards(elsewhere)
    assert hashes(taken) == hashes(folder)
    moved = own.warehouse.rename(tmp_path / "moved")
    other = Published(own.spark, own.images, moved)
    other.publish()
    with pytest.raises(JobError, match="is an export of another warehouse"):
        other.shards(elsewhere)
    other.shards()  # that in the warehouse moved with it
    assert hashes(moved / "export/webdataset") == hashes(taken)
