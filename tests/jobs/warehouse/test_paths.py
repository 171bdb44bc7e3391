"""Paths and URIs: which lie on this machine, and how they are written."""

from __future__ import annotations

from jobs.warehouse import paths


def test_remote_paths_are_recognised_by_their_scheme() -> None:
    assert paths.scheme("s3://bucket/a#b") == "s3"
    assert not paths.is_mounted("s3://bucket/images")
    assert paths.is_mounted("a:b/c://d")
