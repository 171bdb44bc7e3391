"""Listing and reading of files, with what people's folders hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import paths
from jobs.acquisition import listing
from udfs.acquisition.unusable import Unusable

MOST = 1 << 20


def listed(root: Path | str) -> list[str]:
    return sorted(file.relative for file in listing.walk(str(root)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "a#b ?c;d%20"
    (place / "cat").mkdir(parents=True)
    (place / "cat/1.png").write_bytes(b"one")
    return place


def test_paths_may_hold_the_characters_that_urls_reserve(root: Path) -> None:
    assert paths.absolute(str(root)) == str(root)
    assert listed(root) == ["cat/1.png"]
    assert listing.read(str(root / "cat/1.png"), MOST) == b"one"


@pytest.mark.parametrize("prefix", ["file:", "file://"])
def test_uris_are_paths(root: Path, prefix: str) -> None:
    escaped = str(root).replace("%", "%25").replace(" ", "%20").replace("#", "%23")
    assert listing.read(f"{prefix}{escaped}/cat/1.png", MOST) == b"one"
    assert paths.absolute(prefix + escaped) == str(root)


def test_links_are_followed_and_loops_are_not(root: Path) -> None:
    (root / "dog").symlink_to(root / "cat")
    (root / "cat/up").symlink_to(root)
    (root / "cat/self").symlink_to(root / "cat/self")
    (root / "cat/lost.png").symlink_to(root / "nowhere")
    both = ["1.png", "lost.png", "self"]
    assert listed(root) == [f"{label}/{name}" for label in ("cat", "dog") for name in both]


def test_a_pipe_is_refused_instead_of_waited_for(root: Path) -> None:
    os.mkfifo(root / "cat/pipe")
    assert "cat/pipe" in listed(root)
    with pytest.raises(OSError, match="no regular file"):
        listing.read(str(root / "cat/pipe"), MOST)


def test_no_file_is_waited_for_that_took_the_place_of_another(root: Path) -> None:
    """A link to a pipe, which a reader would wait for as well; and a device."""
    os.mkfifo(root / "pipe")
    (root / "cat/link").symlink_to(root / "pipe")
    (root / "cat/zero").symlink_to("/dev/zero")
    for name in ("link", "zero"):
        with pytest.raises(OSError, match="no regular file"):
            listing.read(str(root / "cat" / name), MOST)
        with pytest.raises(OSError, match="no regular file"):
            listing.head(str(root / "cat" / name), MOST)


def test_no_more_is_read_than_is_allowed(root: Path) -> None:
    (root / "cat/large").write_bytes(bytes(MOST + 1))
    assert len(listing.read(str(root / "cat/large"), MOST + 1)) == MOST + 1
    with pytest.raises(Unusable, match=r"more than ingest\.max_bytes"):
        listing.read(str(root / "cat/large"), MOST)


def test_names_that_are_no_utf_8_are_distinct_and_lead_back(root: Path) -> None:
    names = [b"\xff.png", b"\xfe.png", "\ufffd.png".encode(), b"%FF.png", b"a%\xff.png"]
    for number, name in enumerate(names):
        (root / "cat" / os.fsdecode(name)).write_bytes(str(number).encode())
    files = {file.relative: file.path for file in listing.walk(str(root))}
    expected = ["cat//%FF.png", "cat//%FE.png", "cat/\ufffd.png", "cat/%FF.png", "cat//a%25%FF.png"]
    assert files.keys() == {*expected, "cat/1.png"}
    for number, relative in enumerate(expected):
        assert listing.read(files[relative], MOST) == str(number).encode()
        files[relative].encode()  # a table can hold it
        assert listing.status(files[relative]) is not None


def test_a_reason_names_a_file_as_the_table_does(root: Path) -> None:
    """Of a name that is no UTF-8 it would hold what no table and no console can show."""
    (root / "cat" / os.fsdecode(b"gone\xff.png")).symlink_to("/nowhere")
    (file,) = [file for file in listing.walk(str(root)) if "gone" in file.relative]
    for read in (listing.read, listing.head):
        with pytest.raises(FileNotFoundError) as caught:
            read(file.path, MOST)
        assert str(caught.value).endswith(f"No such file or directory: '{file.path}'")
        str(caught.value).encode()
        assert "cat/gone%FF.png" in str(caught.value)


def test_status_is_the_size_and_time_of_a_file(root: Path) -> None:
    state = listing.status(str(root / "cat/1.png"))
    assert state is not None
    assert state[0] == 3
    assert state[1].timestamp() == pytest.approx((root / "cat/1.png").stat().st_mtime, abs=1e-5)
    assert listing.status(str(root / "nowhere")) is None


def test_a_single_file_can_be_listed(root: Path) -> None:
    assert listed(root / "cat/1.png") == ["1.png"]
    assert paths.folder(str(root / "cat/1.png")) == str(root / "cat")
