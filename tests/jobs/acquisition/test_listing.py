"""Listing and reading of files, with what people's folders hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import paths
from jobs.acquisition import listing


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
    assert listing.read(str(root / "cat/1.png")) == b"one"


@pytest.mark.parametrize("prefix", ["file:", "file://"])
def test_uris_are_paths(root: Path, prefix: str) -> None:
    escaped = str(root).replace("%", "%25").replace(" ", "%20").replace("#", "%23")
    assert listing.read(f"{prefix}{escaped}/cat/1.png") == b"one"
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
        listing.read(str(root / "cat/pipe"))


def test_status_is_the_size_and_time_of_a_file(root: Path) -> None:
    state = listing.status(str(root / "cat/1.png"))
    assert state is not None
    assert state[0] == 3
    assert state[1].timestamp() == pytest.approx((root / "cat/1.png").stat().st_mtime, abs=1e-5)
    assert listing.status(str(root / "nowhere")) is None


def test_a_single_file_can_be_listed(root: Path) -> None:
    assert listed(root / "cat/1.png") == ["1.png"]
    assert paths.folder(str(root / "cat/1.png")) == str(root / "cat")
