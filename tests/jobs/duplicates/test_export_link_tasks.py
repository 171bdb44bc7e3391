"""Names and links of a task, without Spark."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.acquisition import listing
from jobs.duplicates.export_link_tasks import ANSWERS, Linker, name_of
from jobs.errors import JobError
from jobs.warehouse.arrow_frames import arrow_schema

NAMES = {
    ("cat/x.png", "/i/cat/x.png"): ("x", ".png"),
    ("train/cat/a/x.y.JPG", "/i/train/cat/a/x.y.JPG"): ("x.y", ".JPG"),
    ("17", "/i/17.webp"): ("17", ".webp"),
    ("17", "/i/none"): ("17", ""),
    ("a:b/..png", "/i/x.png"): ("%2E", ".png"),
    ("x.png", "file:///i/%FF.png"): ("x", ".png"),
    ("x", "/i/x.p%g"): ("x", ".p%25g"),
}


@pytest.mark.parametrize(("given", "parts"), NAMES.items())
def test_names_are_those_of_ids_with_the_ending_of_the_file(
    given: tuple[str, str], parts: tuple[str, str]
) -> None:
    assert name_of(*given) == parts


def row(path: Path, file: str, **more: Any) -> dict[str, Any]:
    status = listing.status(str(path))
    assert status is not None
    known = {"file": file, "path": str(path), "size_bytes": status[0], "modified_at": status[1]}
    return known | more


def answer(folder: Path, *rows: dict[str, Any]) -> dict[str, Any]:
    batches = [pa.RecordBatch.from_pylist(list(rows))]
    (batch,) = Linker(folder).rows(batches, arrow_schema(ANSWERS))
    (told,) = batch.to_pylist()
    return dict(told)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "out/all/cat").mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"images/{name}").write_text(name)
    (tmp_path / "images/link").symlink_to(tmp_path / "images/b")
    return tmp_path / "images"


def test_links_are_to_the_files_themselves(images: Path) -> None:
    """Not to a link to one; and a second attempt of a task finds what the first one made."""
    out = images.parent / "out"
    rows = (row(images / "a", "all/cat/a"), row(images / "link", "all/cat/link"))
    for _ in range(2):
        assert answer(out, *rows) == {"links": 2, "problem": None, "obstacle": None}
    assert (out / "all/cat/a").samefile(images / "a")
    assert (out / "all/cat/link").stat().st_ino == (images / "b").stat().st_ino
    assert not (out / "all/cat/link").is_symlink()
    with pytest.raises(FileExistsError):
        answer(out, row(images / "b", "all/cat/a"))
    with pytest.raises(JobError, match="do not share the folder"):
        answer(out, row(images / "a", "all/dog/a"))


def test_a_file_that_is_another_one_is_told(images: Path) -> None:
    out, before = images.parent / "out", datetime(2020, 1, 1, tzinfo=UTC)
    for changed in ({"size_bytes": 2}, {"modified_at": before}):
        told = answer(out, row(images / "a", "all/cat/a", **changed), row(images / "b", "x/b"))
        assert "changed since it was read" in told["problem"]
        assert told["links"] == 0
    assert "is gone" in answer(out, row(images / "a", "all/cat/a") | {"path": "/none"})["problem"]
    assert not any((out / "all/cat").iterdir())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_there_can_be_no_links_the_reason_is_told(
    images: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    told = answer(images.parent / "out", row(images / "a", "all/cat/a"))
    assert told["obstacle"] == f"{images / 'a'}: {os.strerror(number)}"
    monkeypatch.setattr(os, "link", lambda *_: Path("/none").stat())
    with pytest.raises(FileNotFoundError):
        answer(images.parent / "out", row(images / "a", "all/cat/a"))
