"""A table names files below its own folder, unless the user allows other folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.acquisition.allowed_paths import is_allowed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "t/sub").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    for name in ("t/1.png", "t/sub/2.png", "secret/badge.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "t/away").symlink_to(tmp_path / "secret")
    (tmp_path / "t/near").symlink_to(tmp_path / "t/sub")
    return tmp_path


@pytest.mark.parametrize("name", ["1.png", "sub/2.png", "sub/../1.png", "near/2.png", "gone.png"])
def test_what_lies_below_the_folder_is_allowed(root: Path, name: str) -> None:
    top = str(root / "t")
    assert is_allowed(f"{top}/{name}", [top])
    assert is_allowed(f"file://{top}/{name}", [top])


@pytest.mark.parametrize(
    "name", ["../secret/badge.png", "away/badge.png", "../t2/1.png", "..", "/etc/passwd", "a\0b"]
)
def test_what_leads_out_of_it_is_not(root: Path, name: str) -> None:
    top = str(root / "t")
    path = name if name.startswith("/") else f"{top}/{name}"
    assert not is_allowed(path, [top])
    assert not is_allowed(f"file://{path}", [top])


def test_further_folders_can_be_allowed(root: Path) -> None:
    roots = [str(root / "t"), str(root / "secret")]
    assert is_allowed(f"{root}/t/../secret/badge.png", roots)
    assert is_allowed(f"{root}/t/away/badge.png", roots)
    assert not is_allowed(f"{root}/other/1.png", roots)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("s3a://bucket/t/1.png", True),
        ("s3a:/t/1.png", True),
        ("s3a:///t/./sub//1.png", True),
        ("s3a://bucket/t/sub/../1.png", True),
        ("s3a://bucket/t/../secret/1.png", False),
        ("s3a://bucket/t2/1.png", False),
        ("s3a://other/t/1.png", False),
        ("s3://bucket/t/1.png", False),
        ("http://169.254.169.254/t/1.png", False),
        ("hdfs://127.0.0.1:9/t/1.png", False),
        ("s3a://user:word@bucket/t/1.png", False),
        ("/t/1.png", False),
    ],
)
def test_other_file_systems_are_told_by_their_uri(path: str, allowed: bool) -> None:
    assert is_allowed(path, ["s3a://bucket/t"]) is allowed
    assert is_allowed(path, ["s3a://bucket/t/"]) is allowed


def test_a_whole_bucket_can_be_allowed() -> None:
    assert is_allowed("s3a://bucket/x/1.png", ["s3a://bucket"])
    assert not is_allowed("s3a://bucket2/x/1.png", ["s3a://bucket"])
